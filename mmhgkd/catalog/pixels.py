"""Images that are no files."""

import os
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmhgkd.utils import ConfigError


def to_pil(image: Any, index: int) -> Image.Image:
    """A PIL image in RGB of an image, a file or an array.

    Args:
        image (Image or str or PathLike or ndarray): It.
        index (int): Its number, for errors.

    Raises:
        ConfigError: If it is none.
    """
    if isinstance(image, Image.Image):
        return image.convert('RGB')
    if isinstance(image, (str, os.PathLike)):
        try:
            with Image.open(image) as opened:
                return opened.convert('RGB')
        except (OSError, UnidentifiedImageError) as error:
            raise ConfigError(f'cannot read image {index}: {error}') from error
    pixels = np.asarray(image)
    check_pixels(pixels[None], f'image {index}')
    return Image.fromarray(pixels.astype(np.uint8))


def check_pixels(pixels: np.ndarray, what: str = '`images`') -> None:
    """Refuse arrays whose scale or order of axes is a guess.

    Args:
        pixels (ndarray): Images, ``(N, H, W, 3)``.
        what (str): What they are called in errors. Defaults to '`images`'.

    Raises:
        ConfigError: If they are no RGB images in 0..255.
    """
    if pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise ConfigError(
            f'{what} must be RGB arrays (H, W, 3), got the shape '
            f'{pixels.shape[1:]}'
            + (
                '; move the channels with `array.transpose(1, 2, 0)`'
                if pixels.ndim == 4 and pixels.shape[1] == 3
                else ''
            )
        )
    if pixels.dtype == np.uint8 or not pixels.size:
        return
    low, high = float(pixels.min()), float(pixels.max())
    if np.issubdtype(pixels.dtype, np.floating) and high <= 1:
        raise ConfigError(
            f'{what} holds floats in {low:.3g}..{high:.3g}, which would be '
            'black images; pass `(255 * array).astype("uint8")`'
        )
    if not 0 <= low <= high <= 255:
        raise ConfigError(
            f'{what} holds values in {low:.4g}..{high:.4g}; pass RGB in 0..255'
        )
