import io
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from mmcv.transforms import LoadImageFromFile
from PIL import Image, ImageOps

from mmhgkd.datasets import LoadImage
from mmhgkd.utils import ConfigError
from mmhgkd.utils.image_headers import MAX_PIXELS, read_header

RNG = np.random.default_rng(0)


def noise(*shape: int, kind: Any = np.uint8, high: int = 256) -> np.ndarray:
    return RNG.integers(0, high, shape).astype(kind)


def load(path: Path, **options: Any) -> np.ndarray:
    """Load an image as RGB."""
    result = LoadImage(**options)(dict(img_path=str(path)))
    assert result['img_shape'] == result['img'].shape[:2]
    assert result['img'].dtype == np.uint8
    return result['img'][..., ::-1]


def refuse(path: Path, message: str, **options: Any) -> str:
    with pytest.raises(ConfigError, match=message) as error:
        load(path, **options)
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)
    return str(error.value)


def exact(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scaled value by value."""
    scaled = [(float(v) - low) / (high - low) * 255 for v in values.ravel()]
    rounded = [round(min(max(v, 0), 255)) for v in scaled]
    return np.array(rounded).reshape(values.shape)


def save_tiff(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, pixels, **options)
    return path


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'tif', 'avif'])
def test_orientation_of_each_format(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    path = tmp_path / f'a.{suffix}'
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.kron(noise(3, 4, 3), np.ones((16, 16, 1), np.uint8))
    stored = Image.fromarray(pixels)
    stored.save(path, exif=exif)
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored))
    turned = load(path).astype(int)
    assert turned.shape == upright.shape
    assert np.abs(turned - upright).mean() < 9
    left = load(path, color_type='color_ignore_orientation').astype(int)
    assert left.shape == pixels.shape
    assert np.abs(left - pixels).mean() < 9
    assert read_header(path).turned_size == upright.shape[1::-1]


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'bmp', 'webp', 'ppm', 'tif'])
def test_plain_images_are_as_before(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'a.{suffix}'
    Image.fromarray(noise(32, 24, 3)).save(path)
    base = LoadImageFromFile()(dict(img_path=str(path)))['img']
    np.testing.assert_array_equal(load(path), base[..., ::-1])


@pytest.mark.parametrize('suffix', ['png', 'pgm', 'tif'])
def test_twelve_bits_in_sixteen(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'a.{suffix}'
    pixels = noise(16, 12, kind=np.uint16, high=4096)
    pixels[0, :2] = 0, 4095
    cv2.imwrite(str(path), pixels)
    text = refuse(
        path, r'has 16 bits and 1 channel, with values from 0 to 4095; set '
    )
    assert '`value_range` of LoadImage' in text
    expected = exact(pixels, 0, 4095)
    for value_range in ((0, 4095), 'image'):
        image = load(path, value_range=value_range)
        assert len(np.unique(image)) > 100
        for channel in range(3):
            np.testing.assert_array_equal(image[..., channel], expected)


@pytest.mark.parametrize('suffix', ['png', 'ppm'])
def test_full_range_of_sixteen_bits_is_as_before(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f'a.{suffix}'
    pixels = noise(16, 12, 3, kind=np.uint16, high=65536)
    cv2.imwrite(str(path), pixels)
    np.testing.assert_array_equal(load(path), pixels[..., ::-1] >> 8)
    image = load(path, value_range=(1000, 30000))
    np.testing.assert_array_equal(image, exact(pixels, 1000, 30000)[..., ::-1])


@pytest.mark.parametrize(
    ('kind', 'bits'),
    [('float32', 32), ('float64', 64), ('int32', 32), ('uint32', 32)],
)
@pytest.mark.parametrize('shape', [(16, 12), (16, 12, 3)])
def test_deep_tiffs(
    tmp_path: Path, kind: str, bits: int, shape: tuple[int, ...]
) -> None:
    pixels = noise(*shape, kind=kind, high=1000)
    pixels.flat[:2] = 0, 999
    photometric = 'rgb' if len(shape) == 3 else 'minisblack'
    path = save_tiff(tmp_path / 'a.tif', pixels, photometric=photometric)
    channels = '3 channels' if len(shape) == 3 else '1 channel'
    refuse(path, f'has {bits} bits and {channels}, with values from 0 to 999;')
    image = load(path, value_range=(100, 900))
    expected = exact(pixels, 100, 900)
    if expected.ndim == 2:
        expected = np.stack([expected] * 3, axis=2)
    np.testing.assert_array_equal(image, expected)


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    pixels = np.array([[np.nan, 0.5], [1, np.inf]], np.float32)
    path = save_tiff(tmp_path / 'a.tif', pixels)
    refuse(path, r'values from 0\.5 to 1;')
    image = load(path, value_range=(0, 1))
    np.testing.assert_array_equal(image[..., 0], [[0, 128], [255, 255]])


def test_packed_deep_tiff(tmp_path: Path) -> None:
    """LZW is read by OpenCV, which always turns a TIFF."""
    path = tmp_path / 'a.tif'
    pixels = noise(16, 12, kind=np.uint16, high=4096)
    Image.fromarray(pixels).save(
        path, compression='tiff_lzw', tiffinfo={0x0112: 6}
    )
    expected = exact(pixels, 0, 4095)
    image = load(path, value_range=(0, 4095))
    np.testing.assert_array_equal(image[..., 0], np.rot90(expected, 3))
    image = load(
        path,
        value_range=(0, 4095),
        color_type='color_ignore_orientation',
    )
    np.testing.assert_array_equal(image[..., 0], expected)


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
@pytest.mark.parametrize('planes', [False, True])
def test_five_channels(tmp_path: Path, kind: Any, planes: bool) -> None:
    pixels = noise(16, 12, 5, kind=kind, high=np.iinfo(kind).max + 1)
    path = save_tiff(
        tmp_path / 'a.tif',
        np.moveaxis(pixels, -1, 0) if planes else pixels,
        photometric='minisblack',
        planarconfig='separate' if planes else 'contig',
    )
    bits = pixels.dtype.itemsize * 8
    refuse(path, f'has {bits} bits and 5 channels, and .* three of 0 to 4')
    image = load(path, channels=(4, 0, 2))
    shift = bits - 8
    np.testing.assert_array_equal(image, pixels[..., [4, 0, 2]] >> shift)
    refuse(path, 'three of 0 to 4', channels=(0, 1, 5))


def test_fourth_band_is_not_dropped(tmp_path: Path) -> None:
    pixels = noise(16, 12, 4)
    path = save_tiff(
        tmp_path / 'a.tif',
        pixels,
        photometric='rgb',
        extrasamples=['unspecified'],
    )
    refuse(path, 'has 8 bits and 4 channels, and which are red')
    image = load(path, channels=(0, 1, 2))
    np.testing.assert_array_equal(image, pixels[..., :3])


@pytest.mark.parametrize('suffix', ['png', 'webp', 'tif', 'avif'])
def test_transparency(tmp_path: Path, suffix: str) -> None:
    """Hidden colors are not seen, and a full alpha changes nothing."""
    path = tmp_path / f'a.{suffix}'
    color = noise(32, 24, 3)
    alpha = noise(32, 24)
    alpha[:8], alpha[8:16] = 0, 255
    options = {} if suffix in ('png', 'tif') else dict(lossless=True)
    if suffix == 'avif':
        options = dict(quality=100, subsampling='4:4:4')
    if suffix == 'webp':
        options['exact'] = True
    pixels = np.dstack([color, alpha])
    Image.fromarray(pixels).save(path, **options)
    share = alpha[..., None] / 255
    for background in ((124, 117, 104), (255, 0, 10)):
        image = load(path, background=background)
        expected = color * share + np.array(background) * (1 - share)
        limit = 4 if suffix == 'avif' else 1
        assert np.abs(image - expected).max() <= limit
        assert (image[:8] == background).all()

    pixels[..., 3] = 255
    Image.fromarray(pixels).save(path, **options)
    if suffix != 'avif':
        np.testing.assert_array_equal(load(path), color)


def test_transparency_of_gray_and_of_palettes(tmp_path: Path) -> None:
    gray = Image.fromarray(noise(16, 12, 2), 'LA')
    gray.save(tmp_path / 'a.png')
    expected = Image.new('RGB', gray.size, (1, 2, 3))
    expected.paste(gray.convert('RGB'), mask=gray.getchannel('A'))
    image = load(tmp_path / 'a.png', background=(1, 2, 3))
    np.testing.assert_array_equal(image, np.asarray(expected))

    indices = noise(16, 12, high=4)
    palette = Image.fromarray(indices, 'P')
    palette.putpalette(list(range(12)))
    for suffix in ('png', 'gif'):
        palette.save(tmp_path / f'b.{suffix}', transparency=2)
        image = load(tmp_path / f'b.{suffix}', background=(9, 9, 9))
        colors = np.arange(12).reshape(4, 3)
        colors[2] = 9
        np.testing.assert_array_equal(image, colors[indices])


def test_sixteen_bits_with_transparency(tmp_path: Path) -> None:
    pixels = noise(16, 12, 4, kind=np.uint16, high=65536)
    pixels[:8, :, 3] = 0
    cv2.imwrite(str(tmp_path / 'a.png'), pixels)
    image = load(tmp_path / 'a.png', background=(7, 8, 9))
    assert (image[:8] == (7, 8, 9)).all()
    share = (pixels[8:, :, 3:] >> 8) / 255
    expected = (pixels[8:, :, 2::-1] >> 8) * share + np.array([7, 8, 9]) * (
        1 - share
    )
    assert np.abs(image[8:] - expected).max() <= 1


@pytest.mark.parametrize('suffix', ['gif', 'avif', 'jp2', 'jfif', 'tga'])
def test_formats_that_pillow_reads(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'a.{suffix}'
    kind = {'jfif': 'JPEG', 'jp2': 'JPEG2000'}.get(suffix, suffix.upper())
    pixels = np.kron(noise(2, 3, 3), np.ones((16, 16, 1), np.uint8))
    Image.fromarray(pixels).save(path, kind)
    assert np.abs(load(path).astype(int) - pixels).mean() < 9
    unnamed = path.rename(tmp_path / 'without')
    assert np.abs(load(unnamed).astype(int) - pixels).mean() < 9


def test_heic(tmp_path: Path) -> None:
    plugin = pytest.importorskip('pillow_heif')
    plugin.register_heif_opener()
    pixels = np.kron(noise(2, 3, 3), np.ones((16, 16, 1), np.uint8))
    Image.fromarray(pixels).save(tmp_path / 'a.heic', quality=95)
    image = load(tmp_path / 'a.heic').astype(int)
    assert np.abs(image - pixels).mean() < 9


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'a.png')
    refuse(tmp_path / 'a.png', 'cannot read the image')


def bomb(path: Path, side: int) -> Path:
    """A small PNG that says it has `side` pixels a side."""
    buffer = io.BytesIO()
    Image.new('L', (1, 1)).save(buffer, 'PNG')
    content = bytearray(buffer.getvalue())
    content[16:24] = side.to_bytes(4, 'big') * 2
    path.write_bytes(content)
    return path


def test_huge_images(tmp_path: Path) -> None:
    path = bomb(tmp_path / 'a.png', 30_000)
    refuse(path, r'is too large \(30000 x 30000 pixels\); make it smaller')
    assert LoadImage(ignore_empty=True)(dict(img_path=str(path))) is None
    assert 2 * Image.MAX_IMAGE_PIXELS == MAX_PIXELS
    for suffix in ('jpg', 'png', 'bmp', 'webp', 'tif', 'gif'):
        path = tmp_path / f'b.{suffix}'
        Image.fromarray(noise(20, 21, 3)).save(path)
        load(path, max_pixels=420)
        refuse(path, 'is too large', max_pixels=419)


@pytest.mark.parametrize(
    'options',
    [
        dict(value_range=(3, 3)),
        dict(value_range=(1, 2, 3)),
        dict(value_range='data'),
        dict(channels=(0, 1)),
        dict(channels=(0, 1, -1)),
        dict(background=(0, 0)),
        dict(background=(0, 0, 256)),
        dict(max_pixels=0),
    ],
)
def test_bad_options(options: dict) -> None:
    with pytest.raises(ConfigError, match=f'`{next(iter(options))}` of'):
        LoadImage(**options)
