import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch

from mmhgkd.catalog import (
    TEACHERS,
    TeacherEntry,
    cached_teacher,
    fetch_teacher,
    find_teacher,
)
from mmhgkd.catalog import teachers as catalog
from mmhgkd.utils import ConfigError

LICENCES = {
    'apache-2.0': 'Apache-2.0',
    'cc-by-nc-4.0': 'CC BY-NC 4.0',
    'dinov3-license': 'DINOv3 License',
}


@pytest.mark.parametrize('entry', TEACHERS.values(), ids=list(TEACHERS))
def test_is_what_timm_says(entry: TeacherEntry) -> None:
    found = timm.get_pretrained_cfg(entry.name)
    assert found is not None
    assert found.hf_hub_id in ('timm/', entry.repository)
    assert LICENCES[found.license] == entry.licence
    assert found.num_classes == 0
    with torch.device('meta'):
        network = timm.create_model(entry.name, num_classes=0)
    if entry.one_size:
        (stage,) = (
            one
            for one in network.feature_info
            if one['reduction'] == entry.patch_size
        )
        assert stage['num_chs'] == entry.width
    else:
        assert network.embed_dim == entry.width
        assert network.patch_embed.patch_size[0] == entry.patch_size
    total = sum(weight.numel() for weight in network.parameters())
    assert total / 1e6 == pytest.approx(entry.millions, abs=0.06)


def test_none_has_seen_labels() -> None:
    assert not [
        name
        for name in TEACHERS
        if any(word in name for word in ('_ft_', 'clip', 'augreg', 'in1k'))
    ]


def test_names() -> None:
    name = 'vit_base_patch16_224.mae'
    assert find_teacher(name).non_commercial
    assert not find_teacher('vit_small_patch14_dinov2').non_commercial
    with pytest.raises(ConfigError, match=r'did you mean .*dinov2'):
        find_teacher('vit_smal_patch14_dinov2')
    with pytest.raises(ConfigError, match=r'did you mean .*dino'):
        # Two of them: the tag is needed.
        find_teacher('vit_base_patch16_224')
    assert catalog.AUTO_ORDER[-1] == 'vit_large_patch16_224.mae'
    assert set(catalog.AUTO_ORDER) == set(TEACHERS)


def test_by_hand_and_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    entry = TEACHERS['vit_small_patch14_dinov2.lvd142m']
    place = tmp_path / 'hub' / 'checkpoints' / f'{entry.name}.safetensors'
    assert catalog.place_for(entry) == place
    assert str(place.parent.parent) == torch.hub.get_dir()

    def offline(repository: str, file: str) -> str:
        assert (repository, file) == (entry.repository, 'model.safetensors')
        raise OSError('no network')

    monkeypatch.setattr('huggingface_hub.hf_hub_download', offline)
    monkeypatch.setattr(
        'huggingface_hub.try_to_load_from_cache', lambda *args: None
    )
    assert cached_teacher(entry) is None
    with pytest.raises(ConfigError) as caught:
        fetch_teacher(entry)
    for part in ('no network', entry.url, str(place)):
        assert part in str(caught.value)
    assert '\n' not in str(caught.value)
    place.parent.mkdir(parents=True)
    place.touch()
    assert fetch_teacher(entry) == place


FETCH = """
import sys
from mmhgkd.catalog import TEACHERS, fetch_teacher
from mmhgkd.utils import ConfigError
try:
    print(fetch_teacher(TEACHERS['vit_small_patch14_dinov2.lvd142m']))
except ConfigError as error:
    sys.exit(str(error))
"""


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download of one file asks for."""

    content = b'weights of a teacher'

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, with_content: bool) -> None:
        name = 'vit_small_patch14_dinov2.lvd142m'
        found = self.path == f'/timm/{name}/resolve/main/model.safetensors'
        self.send_response(200 if found else 404)
        body = self.content if found else b''
        self.send_header('Content-Length', str(len(body)))
        self.send_header('ETag', '"0123456789abcdef"')
        self.send_header('X-Repo-Commit', 40 * 'a')
        self.end_headers()
        if with_content:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def fetch(folder: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """Fetch in a process of its own: the hub reads its settings once."""
    environment = {
        **os.environ,
        'HF_ENDPOINT': endpoint,
        'HF_HOME': str(folder / 'hub'),
        'HF_HUB_DISABLE_XET': '1',
        'HF_HUB_DISABLE_TELEMETRY': '1',
        'TORCH_HOME': str(folder / 'torch'),
        'NO_PROXY': '*',
    }
    for name in ('HF_HUB_CACHE', 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE'):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, '-c', FETCH],
        env=environment,
        capture_output=True,
        text=True,
    )


def test_downloads_from_a_hub_on_this_machine(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    endpoint = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        done = fetch(tmp_path, endpoint)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.splitlines()[-1])
    assert path.read_bytes() == Hub.content
    # It is here now, and the server is gone.
    again = fetch(tmp_path, endpoint)
    assert again.stdout == done.stdout
    (tmp_path / 'empty').mkdir()
    failed = fetch(tmp_path / 'empty', endpoint)
    assert failed.returncode == 1
    line = failed.stderr.splitlines()[-1]
    name = 'vit_small_patch14_dinov2.lvd142m'
    place = tmp_path / 'empty/torch/hub/checkpoints' / f'{name}.safetensors'
    assert f'{endpoint}/timm/{name}/resolve/main/model.safetensors' in line
    assert str(place) in line
