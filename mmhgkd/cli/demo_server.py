"""The server behind the page of ``mmhgkd demo``."""

import base64
import io
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from PIL import Image, UnidentifiedImageError

from mmhgkd.visualization.explorer import Explorer

PAGE = Path(__file__).with_name('demo.html')
MAX_BYTES = 50_000_000
THUMBNAIL = 160


class DemoServer(ThreadingHTTPServer):
    """Serves the page and the answers of an explorer.

    Of port 0 it takes any that is free.
    """

    def __init__(self, explorer: Explorer, port: int) -> None:
        self.explorer = explorer
        super().__init__(('127.0.0.1', port), DemoHandler)


class DemoHandler(BaseHTTPRequestHandler):
    """Answers the requests of the page."""

    server: DemoServer

    def do_GET(self) -> None:
        """Send the page, its settings, or an image of the folder."""
        url = urlsplit(self.path)
        explorer = self.server.explorer
        if url.path == '/':
            self.answer(200, 'text/html; charset=utf-8', PAGE.read_bytes())
        elif url.path == '/settings':
            num = len(explorer.paths)
            self.answer_json(
                dict(mask_ratio=explorer.mask_ratio, num_samples=num)
            )
        elif url.path == '/sample' and explorer.paths:
            number = dict(parse_qsl(url.query)).get('number', '0')
            if not number.isdecimal():
                self.answer_json(dict(error='number must be an integer'), 400)
                return
            path = explorer.paths[int(number) % len(explorer.paths)]
            self.answer(200, 'image/*', path.read_bytes())
        else:
            self.answer_json(dict(error='no such page'), 404)

    def do_POST(self) -> None:
        """Show the image that is sent to the model."""
        length = int(self.headers.get('Content-Length') or 0)
        query = dict(parse_qsl(urlsplit(self.path).query))
        try:
            if not 0 < length <= MAX_BYTES:
                raise ValueError(f'send an image of at most {MAX_BYTES} bytes')
            data = self.rfile.read(length)
            content = explore(self.server.explorer, data, query)
        except UnidentifiedImageError:
            self.answer_json(dict(error='this file is no image'), 400)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            self.answer_json(dict(error=' '.join(str(error).split())), 400)
        else:
            self.answer_json(content)

    def answer_json(self, content: dict, status: int = 200) -> None:
        """Send an object."""
        self.answer(status, 'application/json', json.dumps(content).encode())

    def answer(self, status: int, kind: str, body: bytes) -> None:
        """Send a body."""
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
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
        view = explorer.view(
            image,
            float(query.get('mask_ratio', explorer.mask_ratio)),
            int(query.get('draw', 0)),
            query.get('saliency'),
        )
    neighbors = []
    for path, similarity in view.neighbors:
        with Image.open(path) as picture:
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            image_url = data_url(picture.convert('RGB'))
        name = '/'.join(path.parts[-2:])
        neighbors.append(
            dict(name=name, similarity=similarity, image=image_url)
        )
    panel = data_url(Image.fromarray(view.panel))
    return dict(panel=panel, errors=view.errors, neighbors=neighbors)


def data_url(image: Image.Image) -> str:
    """A picture that an HTML page can hold."""
    file = io.BytesIO()
    image.save(file, 'PNG')
    data = base64.b64encode(file.getvalue()).decode()
    return f'data:image/png;base64,{data}'
