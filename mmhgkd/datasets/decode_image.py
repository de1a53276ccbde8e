"""Decoding of images that are not plain 8-bit color."""

import io
from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image

from mmhgkd.utils import ConfigError
from mmhgkd.utils.image_headers import MAX_PIXELS, ImageHeader, read_header

#: Range of the values that become black and white.
ValueRange = tuple[float, float] | Literal['image'] | None

#: What transparent pixels are laid on: the mean of ImageNet.
BACKGROUND = (124, 117, 104)

# Decoders of these give 8 bits of the right range, whatever the file has.
_BY_PILLOW = ('AVIF', 'HEIF', 'JPEG2000')
# A 16-bit image below this has less than 16 levels of its full range.
_LOW = 4096
_TURNS: dict[int, Any] = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, 3),
    7: lambda image: np.rot90(image.swapaxes(0, 1), 2),
    8: np.rot90,
}
_BACK = {6: 8, 8: 6}


class UnsuitableImageError(ConfigError):
    """An image whose depth or channels need an option of the loader."""


def decode_image(
    content: bytes,
    turn: bool = True,
    value_range: ValueRange = None,
    channels: Sequence[int] | None = None,
    background: Sequence[int] = BACKGROUND,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Decode an image of any depth, channels and transparency.

    Args:
        content (bytes): Content of the file.
        turn (bool): Whether the EXIF orientation is applied.
            Defaults to True.
        value_range (tuple[float, float] or str, optional): Values of images
            of more than 8 bits that become 0 and 255; 'image' takes the
            lowest and highest value of each image. Defaults to None: 16 bits
            are taken as 0 to 65535, others are refused.
        channels (Sequence[int], optional): Red, green and blue among the
            channels of an image that has more than three without alpha.
            Defaults to None, which refuses such images.
        background (Sequence[int]): RGB color behind transparent pixels.
            Defaults to (124, 117, 104), the mean of ImageNet.
        max_pixels (int): Most pixels that are decoded.
            Defaults to 178956970.

    Returns:
        np.ndarray: ``(H, W, 3)`` uint8 in the order BGR.

    Raises:
        UnsuitableImageError: If an option has to be set for such an image.
        OSError: If it cannot be decoded.
        PIL.Image.DecompressionBombError: If it has too many pixels.
    """
    header = read_header(content)
    if header.width * header.height > max_pixels:
        raise Image.DecompressionBombError(
            f'{header.width} x {header.height} pixels'
        )
    color, alpha, turned = read_pixels(content, header)
    what = (
        f'has {header.bits} bits and {header.channels} '
        f'{"channels" if header.channels > 1 else "channel"}'
    )
    if color.dtype != np.uint8:
        color = _scale(color, value_range, what)
    if color.ndim == 2:
        color = np.repeat(color[..., None], 3, axis=2)
    elif color.shape[2] == 1:
        color = np.repeat(color, 3, axis=2)
    elif color.shape[2] != 3:
        color = _choose(color, channels, what)
    if alpha is not None:
        color = _composite(color, alpha, background)
    if turn and not turned:
        color = _TURNS[header.orientation](color)
    elif turned and not turn:
        back = _BACK.get(header.orientation, header.orientation)
        color = _TURNS[back](color)
    return np.ascontiguousarray(color[..., ::-1])


def decode_bands(
    content: bytes,
    bands: int,
    value_range: ValueRange = None,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Decode an image of a given number of channels, and keep them all.

    Args:
        content (bytes): Content of an image file, or of a ``.npy`` file.
        bands (int): Channels that it must have.
        value_range (tuple[float, float] or str, optional): As of
            :func:`decode_image`. Defaults to None.
        max_pixels (int): Most pixels that are decoded.
            Defaults to 178956970.

    Returns:
        np.ndarray: ``(H, W, bands)`` uint8, in the order of the file.

    Raises:
        UnsuitableImageError: If it has another number of channels, or
            ``value_range`` has to be set.
        OSError: If it cannot be decoded.
        PIL.Image.DecompressionBombError: If it has too many pixels.
    """
    orientation = 1
    if content.startswith(b'\x93NUMPY'):
        # Never by pickle, which would run code of the file.
        pixels = np.load(io.BytesIO(content), allow_pickle=False)
        if pixels.ndim not in (2, 3) or pixels.dtype.kind not in 'uif':
            raise UnsuitableImageError(
                f'is an array of the shape {pixels.shape} and the type '
                f'{pixels.dtype}; store numbers of the shape (H, W, C)'
            )
    else:
        header = read_header(content)
        if header.width * header.height > max_pixels:
            raise Image.DecompressionBombError(
                f'{header.width} x {header.height} pixels'
            )
        orientation = header.orientation
        pixels = _read_bands(content, header)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[0] * pixels.shape[1] > max_pixels:
        raise Image.DecompressionBombError(
            f'{pixels.shape[1]} x {pixels.shape[0]} pixels'
        )
    found = pixels.shape[2]
    if found != bands:
        raise UnsuitableImageError(
            f'has {found} channels, and `bands` of LoadImage is {bands}; '
            f'set it to {found}, or take such images out'
        )
    if pixels.dtype != np.uint8:
        what = f'has values of {pixels.dtype} in {found} channels'
        pixels = _scale(pixels, value_range, what)
    return np.ascontiguousarray(_TURNS[orientation](pixels))


def _read_bands(content: bytes, header: ImageHeader) -> np.ndarray:
    """All channels, ``(H, W)`` or ``(H, W, C)``, as stored."""
    if header.format == 'TIFF':
        from tifffile import TiffFile

        with TiffFile(io.BytesIO(content)) as tiff:
            page = tiff.pages.first
            try:
                pixels = page.asarray()
            except ValueError as error:
                raise OSError(f'{error}') from error
            if page.axes.startswith('S'):
                pixels = np.moveaxis(pixels, 0, -1)
            return pixels
    if header.bits > 8:
        pixels = cv2.imdecode(
            np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED
        )
        if pixels is None:
            raise OSError('no image')
        if pixels.ndim == 3:
            pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
        return pixels
    with Image.open(io.BytesIO(content)) as image:
        if image.mode in ('P', '1'):
            image = image.convert('RGBA' if header.alpha else 'RGB')
        return np.asarray(image)


def read_pixels(
    content: bytes, header: ImageHeader
) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """Read the values of an image as they are stored.

    Args:
        content (bytes): Content of the file.
        header (ImageHeader): Its header.

    Returns:
        tuple[np.ndarray, np.ndarray or None, bool]: Color ``(H, W)`` or
        ``(H, W, C)``, as RGB where these are known, alpha ``(H, W)``, and
        whether the orientation has been applied.
    """
    if header.format == 'TIFF':
        return _read_tiff(content, header)
    pixels = None
    if header.format not in _BY_PILLOW:
        flag = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        if header.alpha or header.bits > 8:
            flag = cv2.IMREAD_UNCHANGED
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    if pixels is None:
        return (*_read_by_pillow(content, header), False)
    if pixels.ndim == 2:
        return pixels, None, False
    alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
    return pixels[..., 2::-1], alpha, False


def _read_by_pillow(
    content: bytes, header: ImageHeader
) -> tuple[np.ndarray, np.ndarray | None]:
    with Image.open(io.BytesIO(content)) as image:
        if header.alpha:
            pixels = np.asarray(image.convert('RGBA'))
            return pixels[..., :3], pixels[..., 3]
        if image.mode.startswith(('I', 'F')):
            return np.asarray(image), None
        return np.asarray(image.convert('RGB')), None


def _read_tiff(
    content: bytes, header: ImageHeader
) -> tuple[np.ndarray, np.ndarray | None, bool]:
    from tifffile import PHOTOMETRIC, TiffFile

    with TiffFile(io.BytesIO(content)) as tiff:
        page = tiff.pages.first
        by_bands = page.photometric in (
            PHOTOMETRIC.MINISBLACK,
            PHOTOMETRIC.MINISWHITE,
            PHOTOMETRIC.RGB,
        )
        colors = header.channels - header.alpha
        if header.bits <= 8 and (colors in (1, 3) or not by_bands):
            # Both OpenCV and Pillow turn this format in any case.
            pixels = None
            if not header.alpha:
                pixels = cv2.imdecode(
                    np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR
                )
            if pixels is None:
                return (*_read_by_pillow(content, header), True)
            return pixels[..., ::-1], None, True
        try:
            pixels = page.asarray()
        except ValueError as error:
            if header.channels not in (1, 3):
                raise OSError(
                    f'{error}, for a TIFF of {header.channels} channels'
                ) from error
            pixels = cv2.imdecode(
                np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED
            )
            if pixels is None:
                raise OSError(str(error)) from error
            color = pixels[..., ::-1] if pixels.ndim == 3 else pixels
            return color, None, True
        if page.axes.startswith('S'):
            pixels = np.moveaxis(pixels, 0, -1)
        if not header.alpha:
            return pixels, None, False
        return pixels[..., :-1], pixels[..., -1], False


def _scale(
    pixels: np.ndarray, value_range: ValueRange, what: str
) -> np.ndarray:
    """Map values to 0..255."""
    finite = pixels
    if pixels.dtype.kind == 'f':
        finite = pixels[np.isfinite(pixels)]
    lowest = finite.min() if finite.size else 0
    highest = finite.max() if finite.size else 0
    if value_range is None:
        if pixels.dtype == np.uint16 and highest >= _LOW:
            return (pixels >> 8).astype(np.uint8)
        raise UnsuitableImageError(
            f'{what}, with values from {lowest:g} to {highest:g}; set '
            '`value_range` of LoadImage to the lowest and highest value of '
            'the data, which become black and white'
        )
    low, high = (
        (lowest, highest) if isinstance(value_range, str) else value_range
    )
    span = max(float(high) - float(low), 1e-12)
    values = (pixels.astype(np.float64) - float(low)) / span * 255
    # What is no number becomes black.
    return np.rint(np.nan_to_num(values).clip(0, 255)).astype(np.uint8)


def _choose(
    pixels: np.ndarray, channels: Sequence[int] | None, what: str
) -> np.ndarray:
    """Take three of many channels."""
    count = pixels.shape[2]
    if channels is None or max(channels) >= count:
        raise UnsuitableImageError(
            f'{what}, and which are red, green and blue is not known; set '
            f'`channels` of LoadImage to three of 0 to {count - 1}'
        )
    return pixels[..., list(channels)]


def _composite(
    color: np.ndarray, alpha: np.ndarray, background: Sequence[int]
) -> np.ndarray:
    """Lay an image on a background."""
    if alpha.dtype == np.uint16:
        alpha = (alpha >> 8).astype(np.uint8)
    elif alpha.dtype.kind == 'f':
        alpha = np.rint(alpha.clip(0, 1) * 255).astype(np.uint8)
    if alpha.min() == 255:
        return color
    height, width = alpha.shape
    result = Image.new('RGB', (width, height), tuple(background))
    result.paste(
        Image.fromarray(np.ascontiguousarray(color)),
        mask=Image.fromarray(np.ascontiguousarray(alpha)),
    )
    return np.asarray(result)
