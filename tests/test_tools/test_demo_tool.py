import base64
import io
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
from PIL import Image
from toy_run import write_run

from mmhgkd.cli import demo, demo_server
from mmhgkd.report import RunRecord
from mmhgkd.visualization.explorer import Explorer
from mmhgkd.visualization.model_panel import model_columns
from mmhgkd.visualization.tile_grid import error_colors
from mmhgkd.visualization.trained_model import prepare_image, set_mask_ratio


@pytest.fixture(scope='module')
def explorer(
    tmp_path_factory: pytest.TempPathFactory, class_folders: Path
) -> Explorer:
    folder = write_run(tmp_path_factory.mktemp('work') / 'toy', class_folders)
    return Explorer(RunRecord(folder), folder=class_folders / 'val')


@pytest.fixture(scope='module')
def url(explorer: Explorer) -> Iterator[str]:
    server = demo_server.DemoServer(explorer, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    thread.join()
    server.server_close()


def picture(path: Path) -> Image.Image:
    return Image.open(path).convert('RGB')


def test_neighbors_against_a_loop(explorer: Explorer) -> None:
    image = prepare_image(explorer.model, picture(explorer.paths[3]), (64, 64))

    def embedding(inputs: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            features = explorer.model.backbone(inputs)[-1][0].double().numpy()
        return features.reshape(len(features), -1).mean(1)

    own = embedding(image)
    expected = {}
    for path in explorer.paths:
        other = embedding(
            prepare_image(explorer.model, picture(path), (64, 64))
        )
        expected[path] = own @ other / np.sqrt(own @ own * (other @ other))
    best = sorted(expected, key=lambda path: -expected[path])
    found = explorer.neighbors(image, 5)
    # The nearest one is the image itself, which is no neighbor.
    assert best[0] == explorer.paths[3]
    assert [path for path, _ in found] == best[1:6]
    for path, similarity in found:
        assert similarity == pytest.approx(expected[path], abs=1e-5)
    assert len(explorer.neighbors(image, 99)) == 7
    assert len(explorer.paths) == 8


def test_another_file_of_an_image_is_no_neighbor(explorer: Explorer) -> None:
    file = io.BytesIO()
    picture(explorer.paths[3]).save(file, 'JPEG', quality=90)
    copy = prepare_image(explorer.model, Image.open(file), (64, 64))
    found = [path for path, _ in explorer.neighbors(copy, 99)]
    assert len(found) == 7 and explorer.paths[3] not in found
    other = prepare_image(
        explorer.model, Image.new('RGB', (64, 64), 'red'), (64, 64)
    )
    assert len(explorer.neighbors(other, 99)) == 8


def test_folders_of_systems_are_passed_over(
    class_folders: Path, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / 'toy', class_folders)
    photos = tmp_path / 'photos'
    (photos / '@eaDir').mkdir(parents=True)
    for name in ('a.png', 'b', '@eaDir/a.png'):
        Image.new('RGB', (64, 64)).save(photos / name, 'PNG')
    os.mkfifo(photos / 'pipe.png')
    found = Explorer(RunRecord(folder), folder=photos).paths
    assert found == [photos / 'a.png', photos / 'b']


def test_photos_of_phones_stand_upright(explorer: Explorer) -> None:
    upright = picture(explorer.paths[0])
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    lying.save(file, 'PNG', exif=exif)
    with Image.open(file) as image:
        inputs = prepare_image(explorer.model, image, (64, 64))
    expected = prepare_image(explorer.model, upright, (64, 64))
    assert torch.equal(inputs, expected)


def test_transparent_pixels_lie_on_the_background(explorer: Explorer) -> None:
    hidden = Image.new('RGBA', (64, 64), (255, 0, 0, 0))
    plain = Image.new('RGB', (64, 64), (124, 117, 104))
    size = (64, 64)
    inputs = prepare_image(explorer.model, hidden, size)
    assert torch.equal(inputs, prepare_image(explorer.model, plain, size))


def test_view_follows_the_mask_ratio(explorer: Explorer) -> None:
    image = picture(explorer.paths[0])
    view = explorer.view(image, 0.75, draw=2, saliency='output')
    model = explorer.model
    inputs = prepare_image(model, image, (64, 64))
    set_mask_ratio(model, 0.75)
    expected = model_columns(model, inputs, 2, 'output')
    assert list(view.tiles) == list(expected)
    for title, tile in view.tiles.items():
        tiles = expected[title]
        if title == 'Squared error':
            assert view.scale == np.nanmax(tiles)
            tiles = error_colors(tiles)
        assert tile.dtype == np.uint8
        np.testing.assert_allclose(tile, 255 * tiles[0], atol=0.51)
    mask = model.mask.draw(1, 64, 64, 2)
    assert mask.num_visible == 1
    assert view.mask_ratio == 0.75 and view.units == (3, 4)
    with torch.no_grad():
        student = model.neck(model.backbone(inputs, mask))
    error = (student.flatten(2).transpose(1, 2) - model.teacher(inputs)).pow(2)
    seen = mask.visible(16).flatten()
    assert view.errors == dict(
        hidden=pytest.approx(error[0, ~seen].mean().item(), rel=1e-4),
        visible=pytest.approx(error[0, seen].mean().item(), rel=1e-4),
    )
    # Nothing is hidden any more.
    whole = explorer.view(image, 0)
    assert set(whole.errors) == {'visible'} and whole.units == (0, 4)


def test_large_folders_are_thinned_out(
    explorer: Explorer, class_folders: Path, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / 'toy', class_folders)
    few = Explorer(
        RunRecord(folder), folder=class_folders / 'val', max_images=3
    )
    assert few.paths == [explorer.paths[index] for index in (0, 2, 5)]
    assert few.embeddings is not None and len(few.embeddings) == 3


def post(url: str, query: str, data: bytes) -> dict[str, Any]:
    with urlopen(Request(f'{url}/explore?{query}', data)) as response:
        return json.load(response)


def decoded(data_url: str) -> np.ndarray:
    data = base64.b64decode(data_url.removeprefix('data:image/png;base64,'))
    return np.asarray(Image.open(io.BytesIO(data)))


def test_server_answers_the_page(explorer: Explorer, url: str) -> None:
    with urlopen(url) as response:
        page = response.read().decode()
    assert 'id="ratio"' in page
    assert 'http://' not in page and 'https://' not in page
    assert 'name="viewport"' in page and 'prefers-color-scheme: dark' in page
    assert '@media (max-width: 600px)' in page
    # Without hidden parts there are no others to hide.
    assert "get('draw').disabled = !Number(get('ratio').value)" in page
    with urlopen(f'{url}/settings') as response:
        assert json.load(response) == dict(
            mask_ratio=0.5, num_samples=8, has_decoder=True
        )
    with urlopen(f'{url}/sample?number=11') as response:
        data = response.read()
    assert data == explorer.paths[3].read_bytes()
    answer = post(url, 'mask_ratio=0.75&draw=1&saliency=error', data)
    expected = explorer.view(picture(explorer.paths[3]), 0.75, 1, 'error')
    assert [tile['title'] for tile in answer['tiles']] == list(expected.tiles)
    for tile in answer['tiles']:
        np.testing.assert_array_equal(
            decoded(tile['image']), expected.tiles[tile['title']]
        )
    # The page shows these figures, and no setting that may have moved on.
    assert answer['mask_ratio'] == 0.75 and answer['units'] == [3, 4]
    assert answer['scale'] == pytest.approx(expected.scale)
    assert answer['errors'] == pytest.approx(expected.errors)
    path, similarity = expected.neighbors[0]
    first = answer['neighbors'][0]
    assert first['name'] == f'{path.parent.name}/{path.name}'
    assert first['similarity'] == pytest.approx(similarity)
    np.testing.assert_array_equal(
        decoded(first['image']), np.asarray(picture(path))
    )


@pytest.mark.parametrize(
    ('query', 'data', 'message'),
    [
        ('', b'text', 'no image'),
        ('mask_ratio=1.5', None, 'mask_ratio'),
        ('mask_ratio=much', None, 'could not convert'),
        ('saliency=x', None, 'output or error'),
    ],
)
def test_server_refuses_in_words(
    explorer: Explorer, url: str, query: str, data: bytes | None, message: str
) -> None:
    data = data or explorer.paths[0].read_bytes()
    with pytest.raises(HTTPError) as error:
        post(url, query, data)
    assert error.value.code == 400
    assert message in json.load(error.value)['error']


def test_server_gives_out_no_other_file(url: str) -> None:
    for path in ('/demo.py', '/sample?number=../../x', '/../../etc/passwd'):
        with pytest.raises(HTTPError):
            urlopen(url + path)


def test_errors_are_one_line(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / 'toy', class_folders)
    (tmp_path / 'empty').mkdir()
    for arguments, message in (
        ([str(tmp_path / 'x')], 'there is no folder'),
        ([str(folder), '--images', str(tmp_path / 'x')], 'there is no folder'),
        ([str(folder), '--images', str(tmp_path / 'empty')], 'no image lies'),
        ([str(folder), '--checkpoint', 'x.pth'], 'there is no checkpoint'),
    ):
        assert demo.main(arguments) == 2
        text = capsys.readouterr().err
        assert message in text and text.count('\n') == 1


def test_port_in_use(
    class_folders: Path,
    tmp_path: Path,
    url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = write_run(tmp_path / 'toy', class_folders)
    port = url.rpartition(':')[2]
    assert demo.main([str(folder), '--port', port]) == 2
    assert '--port' in capsys.readouterr().err


def send(url: str, request: bytes, timeout: float = 30) -> bytes:
    """Send bytes as they are, and read the answer to its end."""
    host, port = url.removeprefix('http://').split(':')
    with socket.create_connection((host, int(port)), timeout) as connection:
        connection.sendall(request)
        answer = b''
        while part := connection.recv(1 << 16):
            answer += part
    return answer


@pytest.mark.parametrize('method', ['GET /settings', 'POST /explore'])
@pytest.mark.parametrize(
    'headers',
    [
        'Host: evil.example',
        '',
        'Host: {host}\r\nOrigin: http://evil.example',
        'Host: {host}\r\nOrigin: null',
    ],
)
def test_foreign_pages_are_refused(
    url: str, method: str, headers: str
) -> None:
    host = url.removeprefix('http://')
    lines = f'{method} HTTP/1.0\r\n{headers.format(host=host)}\r\n\r\n'
    answer = send(url, lines.replace('\r\n\r\n\r\n', '\r\n\r\n').encode())
    assert b' 403 ' in answer.splitlines()[0]
    assert b'open the page as' in answer


def test_own_page_under_both_names(url: str) -> None:
    for name in ('127.0.0.1', 'localhost'):
        host = f'{name}:{url.rpartition(":")[2]}'
        request = Request(
            f'{url}/settings',
            headers={'Host': host, 'Origin': f'http://{host}'},
        )
        with urlopen(request) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ('length', 'status'),
    [
        ('', 411),
        ('Content-Length: abc\r\n', 411),
        ('Content-Length: -5\r\n', 411),
        (f'Content-Length: {"9" * 5000}\r\n', 411),
        ('Content-Length: 0\r\n', 413),
        ('Content-Length: 999999999\r\n', 413),
        ('Content-Length: 100\r\n', 408),
    ],
)
def test_wrong_lengths(
    url: str, length: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_server.DemoHandler, 'timeout', 1)
    host = url.removeprefix('http://')
    request = f'POST /explore HTTP/1.0\r\nHost: {host}\r\n{length}\r\nabc'
    answer = send(url, request.encode())
    assert f' {status} '.encode() in answer.splitlines()[0]
    assert b'"error"' in answer


def test_large_numbers(url: str) -> None:
    for query in ('number=' + '9' * 5000, 'number=-1', 'number=%C2%B2'):
        with pytest.raises(HTTPError) as error:
            urlopen(f'{url}/sample?{query}')
        assert error.value.code == 400
        assert 'integer' in json.load(error.value)['error']


def test_many_pixels_are_not_decoded(url: str) -> None:
    file = io.BytesIO()
    Image.new('1', (13000, 13000)).save(file, 'PNG')
    with pytest.raises(HTTPError) as error:
        post(url, '', file.getvalue())
    assert '50 megapixels' in json.load(error.value)['error']


def test_many_at_once(explorer: Explorer, url: str) -> None:
    data = explorer.paths[0].read_bytes()
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: post(url, '', data), range(24)))
    assert all(answer == answers[0] for answer in answers)


def test_silent_clients(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_server.DemoHandler, 'timeout', 2)
    before = threading.active_count()
    host, port = url.removeprefix('http://').split(':')
    clients = [
        socket.create_connection((host, int(port)), 30) for _ in range(100)
    ]
    # The last ones are told so, and the first ones are hung up on.
    assert b'503' in clients[-1].recv(1 << 16)
    assert threading.active_count() <= before + demo_server.MAX_CLIENTS
    assert clients[0].recv(1) == b''
    for client in clients:
        client.close()
    with urlopen(f'{url}/settings') as response:
        assert response.status == 200


@pytest.mark.parametrize('part', ['head', 'body', 'refused'])
def test_clients_that_trickle(
    url: str, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """A byte now and then is no reason to wait for ever."""
    monkeypatch.setattr(demo_server.DemoHandler, 'request_seconds', 1.5)
    host, port = url.removeprefix('http://').split(':')
    head = b'POST /explore HTTP/1.0\r\nContent-Length: 1000\r\n'
    if part != 'refused':  # for its host
        head += f'Host: {host}:{port}\r\n'.encode()
    if part != 'head':
        head += b'\r\n'
    begin = time.monotonic()
    with socket.create_connection((host, int(port)), 0.2) as client:
        client.sendall(head)
        answer = b''
        while time.monotonic() < begin + 20:
            with suppress(TimeoutError):
                received = client.recv(1 << 16)
                answer += received
                if not received:
                    break
            with suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(b'x')
    assert time.monotonic() < begin + 10
    status = {'head': b'', 'body': b' 408 ', 'refused': b' 403 '}[part]
    assert status in answer
