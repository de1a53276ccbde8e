import colorsys
import functools
import math
from collections.abc import Sequence
from importlib import resources

import cv2
import mmcv
import numpy as np

# Smooth surfaces are as common as all others, as in the world.
PATTERNS = ('gradient',) * 5 + ('stripes', 'checks', 'dots', 'noise', 'photo')
SMOOTH = ('gradient',)
_FILES = {
    'sklearn.datasets.images': ('china.jpg', 'flower.jpg'),
    'skimage.data': (
        'astronaut.png',
        'brick.png',
        'chelsea.png',
        'coffee.png',
        'grass.png',
        'gravel.png',
        'rocket.jpg',
    ),
}


def random_texture(
    rng: np.random.Generator,
    height: int,
    width: int,
    side: float,
    patterns: Sequence[str] = PATTERNS,
) -> np.ndarray:
    """Draw a random texture for an object, RGB in [0, 1], ``(H, W, 3)`` fp32.

    Patterns, colors and sizes are drawn without regard to the shape, so they
    tell nothing about its class. ``side``, the square root of the object's
    area in pixels, is the length that periods are measured in; ``patterns``
    are those to choose from.
    """
    pattern = patterns[rng.integers(len(patterns))]
    if pattern == 'photo':
        return photo_patch(rng, height, width)
    dark, light = _color_pair(rng)
    weight = _weight(rng, pattern, height, width, side)[..., None]
    return dark + weight * (light - dark)


def _weight(
    rng: np.random.Generator,
    pattern: str,
    height: int,
    width: int,
    side: float,
) -> np.ndarray:
    """Share of the second color at each pixel, in [0, 1]."""
    if pattern == 'noise':
        cells = int(rng.integers(3, 9))
        octaves = [
            cv2.resize(
                rng.random((count, count), dtype=np.float32),
                (width, height),
                interpolation=cv2.INTER_CUBIC,
            )
            for count in (cells, 3 * cells)
        ]
        return np.clip(2 * (octaves[0] + 0.5 * octaves[1]) - 1, 0, 1)

    angle = rng.uniform(0, math.pi)
    y = np.arange(height, dtype=np.float32)[:, None] / side
    x = np.arange(width, dtype=np.float32)[None, :] / side
    u = math.cos(angle) * x + math.sin(angle) * y + rng.random()
    v = math.cos(angle) * y - math.sin(angle) * x + rng.random()
    if pattern == 'gradient':
        u -= u.min()
        return (u / u.max()).astype(np.float32)

    # A period below four pixels would alias.
    cycles = min(rng.uniform(1.5, 5), side / 4)
    wave_u = np.sin(2 * math.pi * cycles * u)
    if pattern == 'stripes':
        level = wave_u
    else:
        wave_v = np.sin(2 * math.pi * cycles * v)
        checks = pattern == 'checks'
        level = wave_u * wave_v if checks else wave_u + wave_v - 0.6
    # The slope makes an edge about a pixel wide.
    slope = side / (2 * math.pi * cycles)
    return np.clip(0.5 + slope * level, 0, 1).astype(np.float32)


def _color_pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two random colors that differ in brightness."""
    dark = rng.uniform(0.15, 0.65)
    values = (dark, dark + rng.uniform(0.1, 0.3))
    first, second = (
        np.array(
            colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.15, 0.9), value),
            np.float32,
        )
        for value in values
    )
    return (first, second) if rng.random() < 0.5 else (second, first)


def photo_patch(
    rng: np.random.Generator, height: int, width: int
) -> np.ndarray:
    """Cut a random patch out of a random photo and change its colors.

    It is RGB in [0, 1], ``(height, width, 3)`` float32.
    """
    photos = load_photos()
    photo = photos[rng.integers(len(photos))]
    limit = min(photo.shape[0] / height, photo.shape[1] / width)
    scale = limit * rng.uniform(0.25, 0.9)
    rows, columns = int(height * scale), int(width * scale)
    y = rng.integers(photo.shape[0] - rows + 1)
    x = rng.integers(photo.shape[1] - columns + 1)
    patch = cv2.resize(
        photo[y : y + rows, x : x + columns],
        (width, height),
        interpolation=cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR,
    )
    patch = patch[:, :: rng.choice((-1, 1)), rng.permutation(3)]
    gain = rng.uniform(0.75, 1.25, 3).astype(np.float32)
    offset = np.float32(rng.uniform(-0.1, 0.1))
    return np.clip(patch.astype(np.float32) / 255 * gain + offset, 0, 1)


@functools.cache
def load_photos() -> tuple[np.ndarray, ...]:
    """Load the photos that scikit-learn and scikit-image are shipped with.

    They are read as files of the installed packages, because the functions
    of ``skimage.data`` may turn to the network. ``china`` (by danielbuechele)
    and ``flower`` (by vultilion) are under CC BY 2.0, the others are in the
    public domain or under CC0.

    Raises:
        FileNotFoundError: If an installed package lacks a photo.
    """
    photos = []
    for package, names in _FILES.items():
        for name in names:
            path = resources.files(package).joinpath(name)
            if not path.is_file():
                raise FileNotFoundError(
                    f'the photo {name} is missing from the installed package '
                    f'`{package.split(".")[0]}` ({path}); reinstall '
                    'scikit-learn and scikit-image from their wheels'
                )
            photo = mmcv.imfrombytes(path.read_bytes(), backend='cv2')
            photos.append(mmcv.bgr2rgb(photo))
    return tuple(photos)
