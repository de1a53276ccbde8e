import argparse
import os
import pickle
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from safetensors.torch import save_file
from torch import Tensor
from vit_reference import (
    NUM_LAYERS,
    PATCH,
    arch,
    beit_state,
    mae_state,
    reference_tokens,
)

from mmhgkd.teachers import MIMTeacher

State = dict[str, Tensor]


def build(path: Path | str, **kwargs: object) -> MIMTeacher:
    """A tiny MAE teacher for images of 32 px."""
    backbone = {
        'type': 'MAEViT',
        'arch': arch(),
        'patch_size': PATCH,
        'img_size': 32,
        **kwargs,
    }
    return MIMTeacher(backbone, str(path), target_norm='none').double()


def assert_loads(path: Path | str, state: State) -> None:
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(
        build(path)(images), reference_tokens(state, images)
    )


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def training_logs() -> dict:
    """What MMEngine's runner puts into a checkpoint beside the weights."""
    hub = MessageHub('test_teacher_checkpoint')
    hub.update_scalar('train/loss', 0.5)
    hub.update_info('best_score', np.float64(0.7))
    return dict(meta=dict(epoch=3, cfg='a = 1'), message_hub=hub.state_dict())


@pytest.mark.parametrize('legacy', [False, True])
def test_reads_every_wrapping(tmp_path: Path, legacy: bool) -> None:
    state = mae_state(4, 4)
    for content in (
        state,
        dict(model=state),
        dict(model=state, args=argparse.Namespace(lr=1e-3), epoch=7),
        dict(model=dict(module=state)),
        prefixed(state, 'module.'),
        dict(state_dict=prefixed(state, 'backbone.'), **training_logs()),
        dict(
            state_dict={
                **prefixed(state, 'backbone.'),
                'neck.mask_token': torch.zeros(1),
            }
        ),
    ):
        torch.save(
            content,
            tmp_path / 'mae.pth',
            _use_new_zipfile_serialization=not legacy,
        )
        assert_loads(tmp_path / 'mae.pth', state)


def test_reads_what_mmpretrain_writes(tmp_path: Path) -> None:
    state = mae_state(4, 4)
    torch.save(state, tmp_path / 'mae.pth')
    backbone = build(tmp_path / 'mae.pth').backbone.state_dict()
    assert 'layers.0.ffn.layers.0.0.weight' in backbone
    torch.save(backbone, tmp_path / 'backbone.pth')
    assert_loads(tmp_path / 'backbone.pth', state)


def test_reads_safetensors(tmp_path: Path) -> None:
    state = mae_state(4, 4)
    save_file(state, tmp_path / 'mae.safetensors')
    assert_loads(tmp_path / 'mae.safetensors', state)


def test_downloads_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {name: mae_state(4, 4) for name in 'ab'}
    for name, state in states.items():
        torch.save(state, tmp_path / f'{name}.pth')
    downloads = []

    def download(url: str, target: str) -> None:
        downloads.append(url)
        shutil.copy(tmp_path / f'{url.split("/")[-2]}.pth', target)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    # Two files of the same name must not be taken for each other.
    urls = [f'https://weights.invalid/{name}/mae.pth' for name in 'ab']
    for url, state in [*zip(urls, states.values(), strict=True)] * 2:
        assert_loads(url, state)
    assert downloads == urls

    def fail(url: str, target: str) -> None:
        raise OSError('no route')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', fail)
    with pytest.raises(ValueError, match=r'cannot be downloaded \(no route\)'):
        build('https://weights.invalid/c/mae.pth')


def test_says_that_the_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r'no such file; set `teacher\.checkpoint`'
    ):
        build(tmp_path / 'mae.pth')


def test_says_that_the_file_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / 'mae.pth'
    torch.save(mae_state(4, 4), path)
    whole = path.read_bytes()
    for content in (
        whole[: len(whole) // 2],
        b'',
        b'<html>404</html>',
        os.urandom(999),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match='cannot be read as a checkpoint'):
            build(path)
    other = tmp_path / 'mae.safetensors'
    other.write_bytes(whole)
    with pytest.raises(ValueError, match='cannot be read as a checkpoint'):
        build(other)
    for wrong, found in (
        (dict(teacher={}, epoch=3), 'teacher, epoch'),
        ([1, 2], 'list'),
        (torch.zeros(3), 'Tensor'),
    ):
        torch.save(wrong, path)
        with pytest.raises(ValueError, match=f'no weights .*, but: {found}'):
            build(path)


class Payload:
    """Unpickles as a call of a function."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'pickle'])
def test_runs_no_code_of_the_file(tmp_path: Path, kind: str) -> None:
    path, victim = tmp_path / 'mae.pth', tmp_path / 'victim'
    for payload in (
        Payload(os.system, f'touch {victim}'),
        Payload(exec, f'open({str(victim)!r}, "w")'),
        Payload(victim.__class__.touch, victim),
    ):
        content = dict(mae_state(4, 4), extra=payload)
        if kind == 'pickle':
            path.write_bytes(pickle.dumps(content['extra'], protocol=2))
        else:
            torch.save(
                content, path, _use_new_zipfile_serialization=kind == 'zip'
            )
        with pytest.raises(ValueError, match='is not loaded because it can'):
            build(path)
        assert not victim.exists()
    # The same file does harm where code may run.
    path.write_bytes(pickle.dumps(Payload(os.system, f'touch {victim}')))
    pickle.loads(path.read_bytes())
    assert victim.exists()


def test_by_products_of_training_are_not_run_either(tmp_path: Path) -> None:
    # `getattr` and the others that the logs of MMEngine need stay inert.
    state = mae_state(4, 4)
    payload = Payload(getattr, 'abc', 'no_such_attribute')
    torch.save(dict(model=state, extra=payload), tmp_path / 'mae.pth')
    assert_loads(tmp_path / 'mae.pth', state)


def test_says_which_weights_do_not_fit(tmp_path: Path) -> None:
    state = mae_state(4, 4)
    path = tmp_path / 'mae.pth'
    del state['norm.bias'], state['blocks.1.mlp.fc1.weight']
    state['blocks.0.ls1.gamma'] = torch.zeros(24)
    state['cls_token'] = torch.zeros(1, 1, 12)
    torch.save(state, path)
    expected = (
        f'{path}: the weights do not fit MAEViT, choose its architecture as '
        'in the pre-training\n'
        '  2 missing: layers.1.ffn.layers.0.0.weight, ln1.bias\n'
        '  1 unexpected: layers.0.ls1.gamma\n'
        '  1 of another shape: cls_token (1, 1, 12), not (1, 1, 24)'
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        build(path)


def test_says_that_the_architecture_is_another(tmp_path: Path) -> None:
    path = tmp_path / 'weights.pth'
    torch.save(mae_state(4, 4), path)
    for change, message in (
        (
            dict(num_layers=NUM_LAYERS - 1),
            r'12 unexpected: layers.2.*, \.\.\.',
        ),
        (dict(num_layers=NUM_LAYERS + 1), r'12 missing: layers.3.*, \.\.\.'),
        (dict(embed_dims=12), r'shape: cls_token \(1, 1, 24\), not .*\.\.\.'),
    ):
        with pytest.raises(ValueError, match=message):
            build(path, arch={**arch(), **change})
    with pytest.raises(ValueError, match=r'shape: .*projection\.weight'):
        build(path, patch_size=16)
    torch.save(beit_state(4, 4, shared=False), path)
    beit = dict(type='BEiTViT', final_norm=True, arch=arch(), patch_size=PATCH)
    with pytest.raises(ValueError, match=r'shape: .*_table \(52, 3\), not'):
        MIMTeacher(
            dict(beit, img_size=48),
            str(path),
            mean=(127.5,) * 3,
            std=(127.5,) * 3,
        )


@pytest.mark.parametrize(
    'key', ['head.weight', 'fc_norm.weight', 'head.fc.weight']
)
def test_warns_that_labels_leak(tmp_path: Path, key: str) -> None:
    path = tmp_path / 'mae.pth'
    state = mae_state(4, 4)
    torch.save(state, path)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        build(path)
    torch.save({**state, key: torch.zeros(5, 24)}, path)
    with pytest.warns(UserWarning, match='labels, and these leak'):
        assert_loads(path, state)
