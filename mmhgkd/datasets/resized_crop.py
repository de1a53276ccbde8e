from collections.abc import Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
from mmpretrain.datasets.transforms import RandomResizedCrop as PlainCrop

from mmhgkd.registry import TRANSFORMS
from mmhgkd.utils import ConfigError
from mmhgkd.utils.value_checks import is_count, is_number

__all__ = ['RandomResizedCrop', 'resize']

# Standard deviation of the blur, for a scale of 1.41. It makes the response
# to frequencies that the smaller image cannot hold like that of Pillow.
_SIGMA = 0.38


@TRANSFORMS.register_module()
class RandomResizedCrop(PlainCrop):
    """Crop at random and resize fast, without aliasing.

    MMPretrain's transform is fast with OpenCV, whose filters pass over pixels
    where an image shrinks, or free of aliasing with Pillow, which takes ten
    times as long. The crops are the same.

    Required Keys:

    - img

    Modified Keys:

    - img
    - img_shape

    Args:
        scale (int or tuple[int, int]): Size of the result, ``(h, w)``.
        *args: See :class:`mmpretrain.datasets.RandomResizedCrop`.
        interpolation (str): Where an image grows, where ``antialias`` is off,
            and of Pillow. Defaults to 'bicubic'.
        backend (str): 'cv2' or 'pillow', which never aliases. Defaults to
            'cv2'.
        antialias (bool): Whether OpenCV smoothes what shrinks, see
            :func:`resize`. Defaults to True.
        **kwargs: See :class:`mmpretrain.datasets.RandomResizedCrop`.

    Raises:
        ConfigError: If Pillow is asked to alias, or if the size or a range
            is not positive.
    """

    def __init__(
        self,
        scale: int | tuple[int, int],
        *args: Any,
        interpolation: str = 'bicubic',
        backend: str = 'cv2',
        antialias: bool = True,
        **kwargs: Any,
    ) -> None:
        if backend == 'pillow' and not antialias:
            raise ConfigError(
                "RandomResizedCrop: `backend='pillow'` always smoothes what "
                "shrinks; leave out `antialias=False`, or set `backend='cv2'`"
            )
        size = scale if isinstance(scale, Sequence) else (scale, scale)
        if len(size) != 2 or not all(is_count(side, 1) for side in size):
            raise ConfigError(
                'RandomResizedCrop: `scale` must be a whole number of pixels '
                f'or a pair of these, got {scale!r}'
            )
        super().__init__(
            scale,
            *args,
            interpolation=interpolation,
            backend=backend,
            **kwargs,
        )
        for name in ('crop_ratio_range', 'aspect_ratio_range'):
            least = getattr(self, name)[0]
            if not is_number(least) or least <= 0:
                raise ConfigError(
                    f'RandomResizedCrop: `{name}` must start above 0, got '
                    f'{getattr(self, name)}'
                )
        self.antialias = antialias

    def transform(self, results: dict) -> dict:
        """Crop and resize ``results['img']``."""
        image = results['img']
        top, left, height, width = self.rand_crop_params(image)
        crop = image[top : top + height, left : left + width]
        size = (self.scale[0], self.scale[1])
        if self.antialias and self.backend == 'cv2':
            crop = resize(crop, size, self.interpolation)
        else:
            crop = mmcv.imresize(
                crop, size[::-1], False, self.interpolation, None, self.backend
            )
        results['img'] = crop
        results['img_shape'] = crop.shape
        return results

    def __repr__(self) -> str:
        return f'{super().__repr__()[:-1]}, antialias={self.antialias})'


def resize(
    image: np.ndarray, size: tuple[int, int], interpolation: str = 'bicubic'
) -> np.ndarray:
    """Resize without aliasing.

    An axis that shrinks is smoothed by a Gaussian as wide as the scale asks
    for, then sampled linearly. One that shrinks to a third or less is halved
    before, by means of pairs.

    Args:
        image (np.ndarray): ``(H, W)`` or ``(H, W, C)``.
        size (tuple[int, int]): Height and width of the result.
        interpolation (str): Where an axis grows. Defaults to 'bicubic'.

    Returns:
        np.ndarray: Of the same type; values stay in their range.
    """
    smaller = (
        _halved(image.shape[0], size[0]),
        _halved(image.shape[1], size[1]),
    )
    # At a scale of two a linear sample is the mean of a pair.
    image = _sample(image, smaller, 'bilinear')
    y, x = image.shape[0] / size[0], image.shape[1] / size[1]
    if max(y, x) > 1:
        image = cv2.GaussianBlur(
            image,
            (_taps(x), _taps(y)),
            sigmaX=_sigma(x),
            sigmaY=_sigma(y),
        )
    return _sample(image, size, interpolation if min(y, x) < 1 else 'bilinear')


def _sample(
    image: np.ndarray, size: tuple[int, int], interpolation: str
) -> np.ndarray:
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    return mmcv.imresize(image, size[::-1], interpolation=interpolation)


def _halved(old: int, new: int) -> int:
    """Size of an axis that is halved while it is three times too large."""
    while old >= 3 * new:
        old = (old + 1) // 2
    return old


def _taps(scale: float) -> int:
    """Taps of the blur, one where nothing shrinks."""
    if scale <= 1:
        return 1
    return 3 if _sigma(scale) < 0.85 else 5


def _sigma(scale: float) -> float:
    # OpenCV would choose one itself for zero.
    return max(_SIGMA * max(scale**2 - 1, 0) ** 0.5, 1e-3)
