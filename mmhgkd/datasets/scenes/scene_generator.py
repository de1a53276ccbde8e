import math
import zlib
from typing import NamedTuple

import cv2
import numpy as np

from mmhgkd.utils import ConfigError

from .paint import Light, paint
from .shapes import SHAPES, shape_contours
from .textures import PATTERNS, SMOOTH, photo_patch, random_texture

_SUPERSAMPLING = 4
_SUBPIXEL_BITS = 4
_PLACE_TRIES = 10
# Share of its pixels that an object keeps, however many lie in front of it.
_MIN_VISIBLE = 0.7
# Largest turn of a shape from its usual upright pose, in radians.
_MAX_TILT = math.pi / 4
# The canvas exceeds the picture by its size / 6 on each side, so that the
# shadow of an object at the edge fits.
_BORDER = 6


class Scene(NamedTuple):
    """A generated picture and what is in it."""

    image: np.ndarray  #: RGB pixels, ``(H, W, 3)`` uint8
    #: Number of the object that is seen at each pixel, 0 = background,
    #: ``k`` = object ``k - 1``, ``(H, W)`` uint8.
    instances: np.ndarray
    #: Class of each object, an index into ``SHAPES``; the furthest back first.
    labels: tuple[int, ...]

    def mask(self, index: int) -> np.ndarray:
        """Visible pixels of object ``index``, ``(H, W)`` bool."""
        return self.instances == index + 1

    def box(self, index: int) -> tuple[int, int, int, int]:
        """Box ``(x, y, width, height)`` of the visible pixels, as in COCO."""
        rows, columns = self.mask(index).nonzero()
        x, y = int(columns.min()), int(rows.min())
        return x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y


class SceneGenerator:
    """Draws textured, shaded shapes over patches of photos.

    A scene depends on the seed, the split and its index only, neither on the
    order in which scenes are drawn nor on the process that draws them.

    Args:
        image_size (int): Side of the square pictures in pixels.
            Defaults to 96.
        seed (int): Seed of all scenes. Defaults to 0.
        num_objects (tuple[int, int]): Smallest and largest number of objects
            of a scene without a main object. Defaults to (2, 6).

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(
        self,
        image_size: int = 96,
        seed: int = 0,
        num_objects: tuple[int, int] = (2, 6),
    ) -> None:
        if image_size < 32:
            raise ConfigError(
                '`image_size` must be at least 32 px for shapes '
                f'to be recognizable, got {image_size}'
            )
        if seed < 0:
            raise ConfigError(f'`seed` must not be negative, got {seed}')
        if not 1 <= num_objects[0] <= num_objects[1] <= 255:
            raise ConfigError(
                '`num_objects` must be (smallest, largest) '
                f'within [1, 255], got {num_objects}'
            )
        self.image_size = image_size
        self.seed = seed
        self.num_objects = num_objects

    def scene(
        self,
        split: str,
        index: int,
        main_label: int | None = None,
        plain: bool = False,
    ) -> Scene:
        """Draw scene ``index`` of a split.

        Args:
            split (str): Name of the split, such as 'train'.
            index (int): Number of the scene in its split.
            main_label (int, optional): Class of a large main object, which
                comes first; in half of the scenes a small shape of a random
                class distracts from it. Defaults to None, which means several
                objects of random classes.
            plain (bool): Whether all surfaces are smooth, the background
                too, so that outlines are nearly all there is to see; the main
                object then is alone. Defaults to False.

        Returns:
            Scene: Picture, instances and labels.
        """
        rng = np.random.default_rng(
            [self.seed, zlib.crc32(split.encode()), index]
        )
        border = self.image_size // _BORDER
        extent = self.image_size + 2 * border
        patterns = SMOOTH if plain else PATTERNS
        if plain:
            canvas = random_texture(rng, extent, extent, extent, patterns)
        else:
            canvas = _background(rng, extent)
        instances = np.zeros((extent, extent), np.uint8)
        light = Light(rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 1.1))
        areas: list[int] = []
        placed: list[int] = []
        for label, side in self._cast(rng, main_label, plain):
            contours = self._pose(rng, label, side)
            coverage = _rasterize(rng, contours, border)
            solid = coverage >= 0.5
            window = _place(rng, solid, instances, areas)
            if window is None:
                continue
            height, width = coverage.shape
            texture = random_texture(rng, height, width, side, patterns)
            texture = _contrast(rng, texture, canvas[window], solid)
            paint(
                canvas[window],
                coverage,
                texture,
                light,
                side * rng.uniform(0.1, 0.3),
                rng.uniform(0, 0.35),
            )
            areas.append(int(solid.sum()))
            placed.append(label)
            instances[window][solid] = len(placed)
        inner = slice(border, border + self.image_size)
        return Scene(
            _photograph(rng, canvas[inner, inner], 0.01 if plain else 0.03),
            instances[inner, inner],
            tuple(placed),
        )

    def _cast(
        self, rng: np.random.Generator, main_label: int | None, plain: bool
    ) -> list[tuple[int, float]]:
        """Label and side of the objects that are to appear, back to front.

        The side is the square root of the area, in pixels.
        """
        if main_label is None:
            count = rng.integers(*self.num_objects, endpoint=True)
            sides = rng.uniform(0.17, 0.34, count)
        else:
            count = 0 if plain else rng.integers(2)
            sides = rng.uniform(0.09, 0.13, count)
        labels = rng.integers(len(SHAPES), size=count).tolist()
        if main_label is not None:
            labels.insert(0, main_label)
            sides = np.insert(sides, 0, rng.uniform(0.55, 0.75))
        return list(
            zip(labels, (sides * self.image_size).tolist(), strict=True)
        )

    def _pose(
        self, rng: np.random.Generator, label: int, side: float
    ) -> list[np.ndarray]:
        """Outlines of a shape after a random area-preserving linear map."""
        tilt = rng.uniform(-_MAX_TILT, _MAX_TILT)
        axis = rng.uniform(0, math.pi)
        aspect = math.sqrt(rng.uniform(0.7, 1))
        stretch = np.diag([aspect, 1 / aspect])
        matrix = side * _rotation(tilt + axis) @ stretch @ _rotation(-axis)
        contours = [
            contour @ matrix.T for contour in shape_contours(SHAPES[label])
        ]
        largest = np.ptp(contours[0], axis=0).max()
        limit = 0.95 * self.image_size - 2
        return [contour * min(1, limit / largest) for contour in contours]


def _background(rng: np.random.Generator, extent: int) -> np.ndarray:
    patch = photo_patch(rng, extent, extent)
    sigma = rng.uniform(0.01, 0.05) * extent
    return cv2.GaussianBlur(patch, (0, 0), sigma)


def _rotation(angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _rasterize(
    rng: np.random.Generator, contours: list[np.ndarray], border: int
) -> np.ndarray:
    """Share of each pixel that the outlines enclose, with a free border."""
    low, high = contours[0].min(0), contours[0].max(0)
    width, height = (np.ceil(high - low).astype(int) + 1).tolist()
    shift = rng.random(2) * ((width, height) - (high - low)) - low
    # OpenCV counts from the center of a pixel and takes fixed-point numbers.
    fixed = [
        np.round(
            ((contour + shift) * _SUPERSAMPLING - 0.5) * 2**_SUBPIXEL_BITS
        ).astype(np.int32)
        for contour in contours
    ]
    fine = np.zeros(
        (height * _SUPERSAMPLING, width * _SUPERSAMPLING), np.uint8
    )
    cv2.fillPoly(fine, fixed, 255, shift=_SUBPIXEL_BITS)
    coverage = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return np.pad(coverage.astype(np.float32) / 255, border)


def _place(
    rng: np.random.Generator,
    solid: np.ndarray,
    instances: np.ndarray,
    areas: list[int],
) -> tuple[slice, slice] | None:
    """Find a window where an object hides little of the earlier ones.

    None where no try succeeds.
    """
    visible = np.bincount(instances.ravel(), minlength=len(areas) + 1)
    needed = _MIN_VISIBLE * np.array(areas)
    height, width = solid.shape
    for _ in range(_PLACE_TRIES):
        y = int(rng.integers(instances.shape[0] - height + 1))
        x = int(rng.integers(instances.shape[1] - width + 1))
        window = slice(y, y + height), slice(x, x + width)
        hidden = np.bincount(instances[window][solid], minlength=visible.size)
        if ((visible - hidden)[1:] >= needed).all():
            return window
    return None


def _contrast(
    rng: np.random.Generator,
    texture: np.ndarray,
    behind: np.ndarray,
    solid: np.ndarray,
) -> np.ndarray:
    """Make a texture brighter or darker where it would melt into the rest."""
    difference = float(texture[solid].mean() - behind[solid].mean())
    wanted = rng.uniform(0.15, 0.35)
    if abs(difference) >= wanted:
        return texture
    target = behind[solid].mean() + math.copysign(wanted, difference)
    if not 0.1 < target < 0.9:
        target = behind[solid].mean() - math.copysign(wanted, difference)
    return np.clip(texture + (target - texture[solid].mean()), 0, 1)


def _photograph(
    rng: np.random.Generator, canvas: np.ndarray, most_noise: float
) -> np.ndarray:
    """Blur a canvas a little, add sensor noise and quantize it."""
    sigma = rng.uniform(0.3, 0.8)
    noise = rng.standard_normal(canvas.shape, np.float32)
    strength = np.float32(rng.uniform(0, most_noise))
    image = cv2.GaussianBlur(canvas, (0, 0), sigma) + strength * noise
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
