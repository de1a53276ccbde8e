import time
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
from mmengine.config import Config
from mmpretrain.datasets.transforms import RandomResizedCrop as PlainCrop
from PIL import Image, ImageOps

from mmhgkd.datasets import LoadImage, RandomResizedCrop
from mmhgkd.datasets.resized_crop import resize
from mmhgkd.registry import TRANSFORMS
from mmhgkd.utils import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def smooth_noise(height: int, width: int) -> np.ndarray:
    """Noise of many scales, as photographs have it."""
    rng = np.random.default_rng(0)
    total = rng.normal(size=(height, width, 3))
    for level in range(1, 7):
        size = (max(height >> level, 2), max(width >> level, 2), 3)
        total += (
            cv2.resize(
                rng.normal(size=size),
                (width, height),
                interpolation=cv2.INTER_CUBIC,
            )
            * 1.8**level
        )
    total = (total - total.mean()) / total.std()
    return np.clip(total * 50 + 128, 0, 255).astype(np.uint8)


def rings(side: int) -> np.ndarray:
    """All frequencies, up to the highest that an image can hold."""
    y, x = np.mgrid[:side, :side] - side / 2
    values = 127.5 * (1 + np.cos(np.pi * (y**2 + x**2) / side))
    return np.repeat(values[..., None], 3, 2).astype(np.uint8)


def pillow(image: np.ndarray, height: int, width: int) -> np.ndarray:
    resized = Image.fromarray(image).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.asarray(resized)


def decibels(image: np.ndarray, reference: np.ndarray) -> float:
    assert image.shape == reference.shape and image.dtype == reference.dtype
    error = np.square(image.astype(float) - reference).mean()
    return float(20 * np.log10(255 / max(error, 1e-12) ** 0.5))


@pytest.mark.parametrize('scale', [1.5, 1.75, 2.0, 2.2, 2.9, 3.5, 5.0])
def test_shrinks_without_aliasing(scale: float) -> None:
    side = round(96 * scale)
    reference = pillow(rings(side), 96, 96)
    aliased = mmcv.imresize(rings(side), (96, 96), interpolation='bicubic')
    found = decibels(resize(rings(side), (96, 96)), reference)
    assert found > 22
    assert found > decibels(aliased, reference) + 5
    photo = smooth_noise(side, side)
    assert decibels(resize(photo, (96, 96)), pillow(photo, 96, 96)) > 35


@pytest.mark.parametrize(
    'shape', [(96, 96), (70, 81), (96, 300), (60, 300), (301, 45), (97, 95)]
)
def test_any_shape_looks_as_with_pillow(shape: tuple[int, int]) -> None:
    photo = smooth_noise(*shape)
    found = resize(photo, (96, 96))
    assert found.flags.c_contiguous
    assert decibels(found, pillow(photo, 96, 96)) > 33


def test_same_size_is_the_same_image() -> None:
    photo = smooth_noise(40, 50)
    np.testing.assert_array_equal(resize(photo, (40, 50)), photo)


@pytest.mark.parametrize('value', [0, 255])
@pytest.mark.parametrize('side', [50, 96, 150, 400])
def test_ends_of_the_range_stay(value: int, side: int) -> None:
    flat = np.full((side, side, 3), value, np.uint8)
    np.testing.assert_array_equal(
        resize(flat, (96, 96)), np.full((96, 96, 3), value)
    )
    # Bicubic filters overshoot at an edge: values must not wrap around.
    edge = np.zeros((side, side, 3), np.uint8)
    edge[:, side // 2 :] = 255
    found = resize(edge, (96, 96))
    assert (found[:, :40] < 30).all() and (found[:, -40:] > 225).all()


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_of_the_camera(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / 'photo.jpg'
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = np.zeros((120, 160, 3), np.uint8)
    photo[:60, :80] = (250, 20, 20)
    photo[60:, :80] = (20, 250, 20)
    photo[:60, 80:] = (20, 20, 250)
    Image.fromarray(photo).save(path, exif=exif, quality=95)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
    results = LoadImage()(dict(img_path=str(path)))
    crop = RandomResizedCrop(64, crop_ratio_range=(1.0, 1.0))
    found = crop(results)['img'][..., ::-1]
    assert decibels(np.ascontiguousarray(found), pillow(upright, 64, 64)) > 28


def test_crops_as_mmpretrain_does() -> None:
    photo = smooth_noise(120, 160)
    for plain, options in (
        (dict(backend='pillow', interpolation='bicubic'), {}),
        (dict(backend='cv2', interpolation='bicubic'), dict(antialias=False)),
    ):
        np.random.seed(0)
        expected = PlainCrop(48, (0.3, 1.0), **plain)(dict(img=photo))
        np.random.seed(0)
        mine = RandomResizedCrop(48, (0.3, 1.0), **plain, **options)
        found = mine(dict(img=photo))
        np.testing.assert_array_equal(found['img'], expected['img'])
        assert found['img_shape'] == (48, 48, 3)
    np.random.seed(0)
    fast = RandomResizedCrop((48, 32), (0.3, 1.0))(dict(img=photo))['img']
    np.random.seed(0)
    slow = RandomResizedCrop((48, 32), (0.3, 1.0), backend='pillow')
    assert decibels(fast, slow(dict(img=photo))['img']) > 33


def test_pillow_never_aliases() -> None:
    with pytest.raises(ConfigError, match='leave out `antialias=False`'):
        RandomResizedCrop(48, backend='pillow', antialias=False)


@pytest.mark.parametrize('name', ['imagenet_224', 'small_96'])
def test_configs_take_the_fast_one(name: str) -> None:
    cfg = Config.fromfile(CONFIGS / '_base_' / 'datasets' / f'{name}.py')
    step = cfg.train_pipeline[1]
    crop = TRANSFORMS.build(step)
    assert isinstance(crop, RandomResizedCrop)
    assert crop.antialias and crop.backend == 'cv2'
    assert 'antialias=True' in repr(crop)


def test_it_is_much_faster_than_pillow() -> None:
    photo = smooth_noise(440, 500)

    def seconds(backend: str) -> float:
        crop = RandomResizedCrop(224, (1.0, 1.0), backend=backend)
        best = float('inf')
        for _ in range(10):
            start = time.process_time()
            crop(dict(img=photo))
            best = min(best, time.process_time() - start)
        return best

    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        # Five to ten times, and the time of the process is not that of others.
        assert seconds('cv2') < seconds('pillow') / 2
    finally:
        cv2.setNumThreads(threads)
