"""Images of other than three channels."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmengine.dataset import Compose
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from PIL import Image
from torch.utils.data import default_collate

from mmhgkd.datasets import ImageFolder, LoadImage
from mmhgkd.registry import MODELS
from mmhgkd.teachers import MIMTeacher, PixelTeacher
from mmhgkd.utils import ConfigError
from mmhgkd.visualization.model_panel import model_columns

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
RNG = np.random.default_rng(0)
STEPS = [
    dict(type='mmhgkd.RandomResizedCrop', scale=64),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs', meta_keys=()),
]


def teacher_config(**changes: Any) -> dict:
    arch = dict(
        embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=48
    )
    return dict(
        type='mmhgkd.MIMTeacher',
        backbone=dict(type='MAEViT', arch=arch, img_size=64, patch_size=16),
        allow_random=True,
        **changes,
    )


def build(
    channels: int, bands: Any, teacher: dict | None = None, **changes: Any
) -> Any:
    torch.manual_seed(0)
    preprocessor = dict(
        type='mmhgkd.BandsDataPreprocessor',
        mean=[100.0 + index for index in range(channels)],
        std=[50.0 + index for index in range(channels)],
    )
    width = 24 if teacher is None else 768
    config = dict(
        type='mmhgkd.HGKD',
        data_preprocessor=preprocessor,
        teacher=dict(teacher or teacher_config(), bands=bands),
        backbone=dict(
            type='mmhgkd.SparseResNet',
            depth=18,
            stem_channels=8,
            base_channels=8,
            in_channels=channels,
        ),
        neck=dict(
            type='mmhgkd.UNetNeck',
            in_channels=(8, 16, 32, 64),
            width=32,
            out_channels=width,
        ),
        head=dict(
            type='mmhgkd.DistillationHead',
            feature_loss=dict(type='mmhgkd.FeatureImitationLoss'),
        ),
    )
    config.update(changes)
    model: Any = MODELS.build(config)
    model.init_weights()
    return model


def write(path: Path, pixels: np.ndarray) -> Path:
    if path.suffix == '.npy':
        np.save(path, pixels)
    elif path.suffix == '.tif':
        tifffile.imwrite(
            path, pixels, photometric='minisblack', planarconfig='contig'
        )
    elif pixels.dtype == np.uint16:
        order = [2, 1, 0, *range(3, pixels.shape[2])]
        cv2.imwrite(str(path), pixels[..., order])
    else:
        Image.fromarray(pixels.squeeze()).save(path)
    return path


def load(path: Path, **options: Any) -> np.ndarray:
    return LoadImage(**options)(dict(img_path=str(path)))['img']


@pytest.mark.parametrize(
    ('suffix', 'channels', 'kind'),
    [
        ('.png', 1, np.uint8),
        ('.png', 2, np.uint8),
        ('.png', 3, np.uint8),
        ('.png', 4, np.uint8),
        ('.png', 4, np.uint16),
        ('.tif', 4, np.uint8),
        ('.tif', 10, np.uint8),
        ('.tif', 10, np.uint16),
        ('.npy', 1, np.uint8),
        ('.npy', 10, np.uint8),
        ('.npy', 4, np.float32),
    ],
)
def test_loads_all_channels(
    tmp_path: Path, suffix: str, channels: int, kind: Any
) -> None:
    pixels = RNG.integers(0, 256, (20, 30, channels)).astype(kind)
    path = write(tmp_path / f'a{suffix}', pixels)
    found = load(path, bands=channels, value_range=(0, 255))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels.astype(np.uint8))
    with pytest.raises(ConfigError, match=f'has {channels} channels, and'):
        load(path, bands=channels + 1, value_range=(0, 255))


def test_refuses(tmp_path: Path) -> None:
    path = tmp_path / 'a.npy'
    for array, message in (
        (np.zeros((4, 4, 2, 2)), 'is an array of the shape'),
        (np.zeros((4, 4, 2), np.float32), 'set `value_range` of LoadImage'),
        (np.array([{}], dtype=object), 'cannot read the image'),
    ):
        np.save(path, array, allow_pickle=True)
        with pytest.raises(ConfigError, match=message):
            load(path, bands=2)
    for options, message in (
        (dict(bands=0), '`bands` of LoadImage must be a positive'),
        (dict(bands=4, channels=(0, 1, 2)), 'set one of them'),
    ):
        with pytest.raises(ConfigError, match=message):
            LoadImage(**options)
    for bands in ((0, 1), (0, 1, -1), (0, 1, 2.0)):
        with pytest.raises(ConfigError, match='indices of three channels'):
            PixelTeacher(bands=bands)
    with pytest.raises(ConfigError, match=r'have 4 channels, .* sees three'):
        PixelTeacher()(torch.zeros(1, 4, 32, 32))
    with pytest.raises(ConfigError, match='but the images have 4 channels'):
        PixelTeacher(bands=(0, 1, 4))(torch.zeros(1, 4, 32, 32))
    with pytest.raises(ConfigError, match=r'`data_preprocessor.mean` is of 4'):
        build(4, (0, 1, 4))
    stem = dict(type='mmhgkd.SparseResNet', depth=18)
    with pytest.raises(ConfigError, match=r'`backbone.in_channels=4`'):
        build(4, (0, 1, 2), backbone=stem)
    for options, message in (
        (dict(mean=[1.0], std=[1.0, 2.0]), 'a number for each channel'),
        (dict(mean=[1.0], std=[0.0]), 'std` must be positive'),
        (dict(mean=[1.0] * 4, std=[1.0] * 4, to_rgb=True), 'to_rgb` turns'),
    ):
        with pytest.raises(ConfigError, match=message):
            MODELS.build(dict(type='BandsDataPreprocessor', **options))
    with pytest.raises(ConfigError, match='the images have 3 channels, but'):
        build(4, (0, 1, 2)).data_preprocessor(
            dict(inputs=torch.zeros(1, 3, 64, 64), data_samples=[])
        )


def test_grey_is_rgb_of_equal_channels() -> None:
    torch.manual_seed(0)
    grey = MIMTeacher(
        **{k: v for k, v in teacher_config().items() if k != 'type'},
        bands=(0, 0, 0),
    )
    torch.manual_seed(0)
    color = MIMTeacher(
        **{k: v for k, v in teacher_config().items() if k != 'type'}
    )
    grey.backbone.load_state_dict(color.backbone.state_dict())
    grey.set_image_norm([90.0], [40.0])
    color.set_image_norm([90.0] * 3, [40.0] * 3)
    images = torch.randn(2, 1, 64, 64)
    assert torch.equal(grey(images), color(images.expand(-1, 3, -1, -1)))


def test_bands_in_any_order() -> None:
    teacher = PixelTeacher(bands=(7, 1, 0))
    mean = [10.0 * index for index in range(10)]
    std = [20.0 + index for index in range(10)]
    teacher.set_image_norm(mean, std)
    reference = PixelTeacher()
    chosen = [7, 1, 0]
    reference.set_image_norm(
        [mean[band] for band in chosen], [std[band] for band in chosen]
    )
    images = torch.randn(2, 10, 32, 32)
    assert torch.equal(teacher(images), reference(images[:, chosen]))


@pytest.mark.parametrize(
    ('channels', 'bands', 'suffix'),
    [(1, (0, 0, 0), '.png'), (4, (0, 1, 2), '.png'), (10, (2, 1, 0), '.npy')],
)
def test_trains_on_files(
    tmp_path: Path, channels: int, bands: tuple[int, ...], suffix: str
) -> None:
    for index in range(2):
        pixels = RNG.integers(0, 256, (90, 80, channels)).astype(np.uint8)
        write(tmp_path / f'{index}{suffix}', pixels)
    init_default_scope('mmpretrain')
    load_step = dict(type='mmhgkd.LoadImage', bands=channels)
    dataset = ImageFolder(
        str(tmp_path), extensions=[suffix], pipeline=[load_step, *STEPS]
    )
    inputs = default_collate([dataset[index]['inputs'] for index in (0, 1)])
    assert inputs.shape == (2, channels, 64, 64)
    model = build(channels, bands)
    before = model.backbone.conv1.weight.clone()
    assert before.size(1) == channels
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    data = dict(inputs=inputs, data_samples=[None] * 2)
    losses = model.train_step(data, OptimWrapper(optimizer))
    assert losses['loss_feat'].isfinite()
    moved = (model.backbone.conv1.weight - before).abs().amax((0, 2, 3))
    assert (moved > 0).all()
    # The pictures show what the teacher sees.
    normalized = model.data_preprocessor(data)['inputs']
    columns = model_columns(model, normalized)
    shown = inputs[:, list(bands)].permute(0, 2, 3, 1) / 255
    np.testing.assert_allclose(next(iter(columns.values())), shown, atol=1e-5)


@torch.no_grad()
def test_pixels_are_drawn() -> None:
    model = build(4, (3, 1, 0), dict(type='mmhgkd.PixelTeacher'))
    images = torch.randn(1, 4, 64, 64)
    # Tokens of the images give them back, in the channels of the teacher.
    restored = model.teacher.to_images(model.teacher(images), images)
    torch.testing.assert_close(
        restored, images[:, [3, 1, 0]], rtol=1e-4, atol=1e-4
    )
    columns = model_columns(model, images)
    first = next(iter(columns.values()))
    assert first.shape == (1, 64, 64, 3)


def test_resizes_ten_channels() -> None:
    init_default_scope('mmpretrain')
    image = RNG.integers(0, 256, (300, 70, 10)).astype(np.uint8)
    crop = dict(type='mmhgkd.RandomResizedCrop', scale=64)
    found = Compose([crop])(dict(img=image))['img']
    assert found.shape == (64, 64, 10)
