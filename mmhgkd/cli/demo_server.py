"""The server behind the page of ``mmhgkd demo``."""

import base64
import io
import json
import re
import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from PIL import Image, ImageOps, UnidentifiedImageError

from mmhgkd.visualization.explorer import Explorer

PAGE = Path(__file__).with_name('demo.html')
MAX_BYTES = 50_000_000
MAX_PIXELS = 50_000_000
#: Clients that are answered at once, and seconds to wait for one.
MAX_CLIENTS = 64
MAX_SECONDS = 10
#: Seconds within which a whole request has to arrive, in however many parts.
MAX_REQUEST_SECONDS = 30
NUMBER = re.compile(r'[0-9]{1,9}')
BUSY = (
    b'HTTP/1.0 503 Service Unavailable\r\nContent-Type: application/json'
    b'\r\n\r\n{"error": "too many requests at once; try again"}'
)
THUMBNAIL = 160


class DemoServer(ThreadingHTTPServer):
    """Serves the page and the answers of an explorer.

    Of port 0 it takes any that is free.
    """

    daemon_threads = True
    # Connections that wait for a thread; the default of 5 drops the sixth.
    request_queue_size = 128

    def __init__(self, explorer: Explorer, port: int) -> None:
        self.explorer = explorer
        self.places = threading.BoundedSemaphore(MAX_CLIENTS)
        super().__init__(('127.0.0.1', port), DemoHandler)

    @property
    def hosts(self) -> tuple[str, str]:
        """Names under which a page of this server is opened."""
        return f'127.0.0.1:{self.server_port}', f'localhost:{self.server_port}'

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a client, as long as there are few."""
        if self.places.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with suppress(OSError):
            request.sendall(BUSY)
        self.shutdown_request(request)

    def process_request_thread(
        self, request: Any, client_address: Any
    ) -> None:
        """Answer a client, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that have left."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _TimedReader(io.RawIOBase):
    """Reads from a client up to a time, however slowly that sends."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self.connection = connection
        self.end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        patience = self.connection.gettimeout()
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError('the request has not arrived in time')
        self.connection.settimeout(min(patience or left, left))
        try:
            return self.connection.recv_into(buffer)
        finally:
            self.connection.settimeout(patience)


class DemoHandler(BaseHTTPRequestHandler):
    """Answers the requests of the page."""

    server: DemoServer
    timeout = MAX_SECONDS
    request_seconds = MAX_REQUEST_SECONDS

    def setup(self) -> None:
        """Give the request its time."""
        super().setup()
        self.end = time.monotonic() + self.request_seconds
        self.rfile = io.BufferedReader(_TimedReader(self.connection, self.end))

    def do_GET(self) -> None:
        """Send the page, its settings, or an image of the folder."""
        if not self.is_own():
            return
        url = urlsplit(self.path)
        explorer = self.server.explorer
        if url.path == '/':
            self.answer(200, 'text/html; charset=utf-8', PAGE.read_bytes())
        elif url.path == '/settings':
            self.answer_json(
                dict(
                    mask_ratio=explorer.mask_ratio,
                    num_samples=len(explorer.paths),
                    # Without one there are no tokens of what is hidden.
                    has_decoder=explorer.model.neck is not None,
                )
            )
        elif url.path == '/sample' and explorer.paths:
            number = dict(parse_qsl(url.query)).get('number', '0')
            if not NUMBER.fullmatch(number):
                problem = 'number must be an integer of at most 9 digits'
                self.answer_json(dict(error=problem), 400)
                return
            path = explorer.paths[int(number) % len(explorer.paths)]
            self.answer(200, 'image/*', path.read_bytes())
        else:
            self.answer_json(dict(error='no such page'), 404)

    def do_POST(self) -> None:
        """Show the image that is sent to the model."""
        if not self.is_own():
            return
        url = urlsplit(self.path)
        length = self.headers.get('Content-Length', '')
        if url.path != '/explore':
            self.answer_json(dict(error='no such page'), 404)
        elif not NUMBER.fullmatch(length):
            self.refuse(411, 'send an image with its length in bytes')
        elif not 0 < int(length) <= MAX_BYTES:
            self.refuse(413, f'send an image of at most {MAX_BYTES} bytes')
        else:
            self.explore(int(length), dict(parse_qsl(url.query)))

    def explore(self, length: int, query: dict[str, str]) -> None:
        """Answer a request about the image that follows."""
        try:
            data = self.rfile.read(length)
        except TimeoutError:
            data = b''
        if len(data) < length:
            self.refuse(408, 'less was sent than the request announced')
            return
        try:
            content = explore(self.server.explorer, data, query)
        except UnidentifiedImageError:
            self.answer_json(dict(error='this file is no image'), 400)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            self.answer_json(dict(error=' '.join(str(error).split())), 400)
        else:
            self.answer_json(content)

    def is_own(self) -> bool:
        """Whether a request comes from the page, else refuse it.

        A page of another site can send requests to this machine, and read
        the answers if its name is made to mean this machine.
        """
        hosts = self.server.hosts
        origin = self.headers.get('Origin')
        own = origin is None or origin in [f'http://{host}' for host in hosts]
        if self.headers.get('Host') in hosts and own:
            return True
        self.refuse(403, f'open the page as http://{hosts[0]}')
        return False

    def refuse(self, status: int, problem: str) -> None:
        """Answer, and read what is still sent, so that the answer arrives."""
        self.answer_json(dict(error=problem), status)
        self.wfile.flush()
        left = MAX_BYTES
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            while left > 0 and time.monotonic() < self.end:
                part = self.connection.recv(1 << 16)
                left -= len(part) or left

    def answer_json(self, content: dict, status: int = 200) -> None:
        """Send an object."""
        self.answer(status, 'application/json', json.dumps(content).encode())

    def answer(self, status: int, kind: str, body: bytes) -> None:
        """Send a body."""
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('X-Content-Type-Options', 'nosniff')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal quiet."""


def explore(explorer: Explorer, data: bytes, query: dict[str, str]) -> dict:
    """Answer a request of the page about an image file.

    The query may hold 'mask_ratio', 'draw', the number of the mask, and
    'saliency', 'output' or 'error'. Pictures are answered as data URLs.

    Raises:
        ValueError: If a value is no number or out of range.
        OSError: If the data is no image.
    """
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(
                f'the image has {image.width} x {image.height} pixels; send '
                f'one of at most {MAX_PIXELS // 10**6} megapixels'
            )
        view = explorer.view(
            image,
            float(query.get('mask_ratio', explorer.mask_ratio)),
            int(query.get('draw', 0)),
            query.get('saliency'),
        )
    neighbors = []
    for path, similarity in view.neighbors:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            upright.thumbnail((THUMBNAIL, THUMBNAIL))
            image_url = data_url(upright.convert('RGB'))
        name = '/'.join(path.parts[-2:])
        neighbors.append(
            dict(name=name, similarity=similarity, image=image_url)
        )
    tiles = [
        dict(title=title, image=data_url(Image.fromarray(pixels)))
        for title, pixels in view.tiles.items()
    ]
    return dict(
        tiles=tiles,
        scale=view.scale,
        mask_ratio=view.mask_ratio,
        units=view.units,
        errors=view.errors,
        neighbors=neighbors,
    )


def data_url(image: Image.Image) -> str:
    """A picture that an HTML page can hold."""
    file = io.BytesIO()
    image.save(file, 'PNG')
    data = base64.b64encode(file.getvalue()).decode()
    return f'data:image/png;base64,{data}'
