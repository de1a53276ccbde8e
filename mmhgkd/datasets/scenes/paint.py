import math
from typing import NamedTuple

import cv2
import numpy as np


class Light(NamedTuple):
    """A distant light."""

    #: Direction in the image plane that it comes from, in radians.
    azimuth: float
    #: Angle above the image plane, in radians.
    elevation: float

    @property
    def direction(self) -> tuple[float, float, float]:
        """Unit vector (x, y, z) towards the light; z leaves the image."""
        flat = math.cos(self.elevation)
        return (
            flat * math.cos(self.azimuth),
            flat * math.sin(self.azimuth),
            math.sin(self.elevation),
        )


def paint(
    canvas: np.ndarray,
    coverage: np.ndarray,
    texture: np.ndarray,
    light: Light,
    bevel: float,
    gloss: float,
) -> None:
    """Paint a lit object and its soft shadow on a canvas, in place.

    The object is a plate with a round edge: its height follows from the
    distance to the outline, the normals from the height, and the brightness
    is Lambert's cosine law plus a Blinn-Phong highlight.

    Args:
        canvas (ndarray): RGB in [0, 1], ``(H, W, 3)``.
        coverage (ndarray): Share of each pixel that the object covers,
            ``(H, W)``.
        texture (ndarray): Colors of the object in [0, 1], ``(H, W, 3)``.
        light (Light): The light.
        bevel (float): Width of the round edge in pixels.
        gloss (float): Strength of the highlight, 0 = matt.
    """
    x, y, z = light.direction
    inside = (coverage >= 0.5).astype(np.uint8)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    depth = 1 - np.minimum(distance / bevel, 1)
    height = cv2.GaussianBlur(bevel * np.sqrt(1 - depth**2), (0, 0), 1.0)
    slope_x = cv2.Sobel(height, -1, 1, 0, scale=1 / 8)
    slope_y = cv2.Sobel(height, -1, 0, 1, scale=1 / 8)
    norm = np.sqrt(1 + slope_x**2 + slope_y**2)
    diffuse = np.maximum(z - x * slope_x - y * slope_y, 0) / norm
    # The viewer looks along z, so the halfway vector is (x, y, z + 1).
    halfway = (
        np.maximum(z + 1 - x * slope_x - y * slope_y, 0)
        / norm
        / math.sqrt(2 + 2 * z)
    )
    shade = 0.4 + 0.6 * diffuse / z
    lit = (
        texture * np.minimum(shade, 1.5)[..., None]
        + (gloss * halfway**40)[..., None]
    )

    throw = 0.35 * bevel / math.tan(light.elevation)
    shift = np.array(
        [
            [1, 0, -throw * math.cos(light.azimuth)],
            [0, 1, -throw * math.sin(light.azimuth)],
        ]
    )
    shadow = cv2.warpAffine(coverage, shift, coverage.shape[::-1])
    shadow = cv2.GaussianBlur(shadow, (0, 0), 0.5 + 0.2 * bevel)
    canvas *= (1 - 0.55 * shadow)[..., None]
    canvas += coverage[..., None] * (lit - canvas)
