"""A student of other than three channels, from its training to its use."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
import torchvision
from mmengine.config import Config
from mmpretrain import FeatureExtractor
from PIL import Image
from safetensors.torch import load_file

from mmhgkd.apis import extract_features, load_student
from mmhgkd.cli import export
from mmhgkd.registry import MODELS
from mmhgkd.report import model_complexity
from mmhgkd.transfer.converters.preprocessing import Preprocessing
from mmhgkd.visualization.trained_model import prepare_image

CONFIG = Path(__file__).parents[2] / 'configs' / 'hgkd' / 'r18_bands_folder.py'
RNG = np.random.default_rng(0)


def _config(bands: int) -> Config:
    cfg = Config.fromfile(CONFIG)
    cfg.model.teacher = dict(type='mmhgkd.PixelTeacher', bands=[0, 0, 0])
    cfg.model.backbone.in_channels = bands
    cfg.data_preprocessor.mean = [100.0 + 5 * index for index in range(bands)]
    cfg.data_preprocessor.std = [40.0 + 3 * index for index in range(bands)]
    cfg.train_dataloader.dataset.pipeline[0].bands = bands
    cfg.model.data_preprocessor = cfg.data_preprocessor
    del cfg.model.head.direct_loss.out_channels
    cfg.model.head.direct_loss.out_channels = 768
    return cfg


def _checkpoint(bands: int, path: Path) -> Path:
    """One as a training writes it, with running statistics that differ."""
    cfg = _config(bands)
    torch.manual_seed(0)
    model: Any = MODELS.build(cfg.model)
    model.init_weights()
    generator = torch.Generator().manual_seed(1)
    for name, value in model.backbone.named_buffers():
        if 'running' in name:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    torch.save(
        dict(meta=dict(cfg=cfg.pretty_text), state_dict=model.state_dict()),
        path,
    )
    return path


def _reference(path: Path, images: np.ndarray) -> torch.Tensor:
    """The embedding by torchvision's network, written out."""
    state = torch.load(path, weights_only=False)['state_dict']
    cfg = Config.fromstring(
        torch.load(path, weights_only=False)['meta']['cfg'], '.py'
    )
    bands = images.shape[1]
    network = torchvision.models.resnet18()
    network.conv1 = torch.nn.Conv2d(bands, 64, 7, 2, 3, bias=False)
    network.fc = torch.nn.Identity()
    own = {
        key.removeprefix('backbone.'): value
        for key, value in state.items()
        if key.startswith('backbone.')
    }
    network.load_state_dict(own)
    network.train(False)
    mean = torch.tensor(cfg.data_preprocessor.mean)[:, None, None]
    std = torch.tensor(cfg.data_preprocessor.std)[:, None, None]
    with torch.no_grad():
        return network((torch.from_numpy(images).float() - mean) / std)


@pytest.mark.parametrize('bands', [1, 4, 10])
def test_features(tmp_path: Path, bands: int) -> None:
    path = _checkpoint(bands, tmp_path / 'a.pth')
    student = load_student(path)
    images = RNG.integers(0, 256, (2, bands, 96, 96), dtype=np.uint8)
    expected = _reference(path, images)
    found = extract_features(student, torch.from_numpy(images)).embeddings
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    # Files, by the loader, in the order of their channels.
    folder = tmp_path / 'files'
    folder.mkdir()
    for index, image in enumerate(images):
        np.save(folder / f'{index}.npy', image.transpose(1, 2, 0))
    steps = student._config.test_dataloader.dataset.pipeline
    # 96 px to 96 px: what is resized on the way is not this test's matter.
    assert steps[1].type == 'ResizeEdge'
    assert steps[1].backend == 'cv2'
    found = extract_features(student, folder)
    assert [Path(file).name for file in found.files] == ['0.npy', '1.npy']
    torch.testing.assert_close(
        found.embeddings, expected, rtol=1e-4, atol=1e-4
    )
    # And by MMPretrain's own tool, which is given arrays.
    extractor = FeatureExtractor(student, device='cpu')
    arrays = [image.transpose(1, 2, 0) for image in images]
    maps = extractor(arrays)
    torch.testing.assert_close(
        torch.stack([one[-1] for one in maps]), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize('bands', [1, 4])
def test_wrong_number_of_channels(tmp_path: Path, bands: int) -> None:
    student = load_student(_checkpoint(bands, tmp_path / 'a.pth'))
    with pytest.raises(ValueError, match=rf'shape \(N, {bands}, H, W\)'):
        extract_features(student, torch.zeros(1, 3, 96, 96))


def test_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _checkpoint(4, tmp_path / 'a.pth')
    images = RNG.integers(0, 256, (2, 4, 96, 96), dtype=np.uint8)
    expected = _reference(path, images)
    cfg = _config(4)
    mean = torch.tensor(cfg.data_preprocessor.mean)[:, None, None]
    std = torch.tensor(cfg.data_preprocessor.std)[:, None, None]
    pixels = (torch.from_numpy(images).float() - mean) / std

    graph = tmp_path / 'a.onnx'
    assert export.main([str(path), str(graph)]) == 0
    session = onnxruntime.InferenceSession(str(graph))
    (found,) = session.run(['embedding'], {'images': images})
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    about = session.get_modelmeta().custom_metadata_map
    assert about['channel_order'] == '4 bands, as in the files'
    assert json.loads(about['mean']) == cfg.data_preprocessor.mean
    # What a program reads out of the file loads an image.
    photo = tmp_path / 'a.png'
    Image.fromarray(images[0].transpose(1, 2, 0)).save(photo)
    loaded = Preprocessing.read(about)(photo)
    np.testing.assert_array_equal(loaded, images[0])

    flat = tmp_path / 'a_timm.safetensors'
    assert export.main([str(path), str(flat), '--to', 'timm']) == 0
    network = timm.create_model(
        'resnet18', num_classes=0, in_chans=4, checkpoint_path=str(flat)
    )
    network.train(False)
    with torch.no_grad():
        torch.testing.assert_close(
            network(pixels), expected, rtol=1e-4, atol=1e-4
        )

    capsys.readouterr()
    flat = tmp_path / 'a_torchvision.safetensors'
    assert export.main([str(path), str(flat), '--to', 'torchvision']) == 0
    usage = capsys.readouterr().out.partition('\n\n')[2]
    assert "set_submodule('conv1', torch.nn.Conv2d(4, 64," in usage
    names = dict(torch=torch, torchvision=torchvision, safetensors=None)
    usage = usage.replace('safetensors.torch.load_file', 'load_file')
    exec(usage, {**names, 'load_file': load_file}, names)
    own: Any = names['model']
    own.fc = torch.nn.Identity()
    own.train(False)
    with torch.no_grad():
        torch.testing.assert_close(own(pixels), expected, rtol=1e-4, atol=1e-4)

    for layout in ('mmpretrain', 'mmdet'):
        out = tmp_path / f'a_{layout}.pth'
        assert export.main([str(path), str(out), '--to', layout]) == 0
    again = load_student(tmp_path / 'a_mmpretrain.pth')
    found = extract_features(again, torch.from_numpy(images)).embeddings
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_multiply_adds() -> None:
    found = {}
    for bands in (3, 4):
        model: Any = MODELS.build(_config(bands).model)
        found[bands] = model_complexity(model, 96, 96)[0]
    # The fourth channel is a product more for each tap of the stem.
    taps = 64 * 7 * 7
    assert found[4].params - found[3].params == taps
    assert found[4].dense - found[3].dense == taps * 48 * 48


def test_single_files_are_shown_for_colors() -> None:
    model: Any = MODELS.build(_config(4).model)
    with pytest.raises(ValueError, match='takes images of 4 channels'):
        prepare_image(model, Image.new('RGB', (96, 96)), (96, 96))
