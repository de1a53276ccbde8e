import functools
import math

import numpy as np

SHAPES = (
    'circle',
    'square',
    'triangle',
    'star',
    'ring',
    'cross',
    'crescent',
    'hexagon',
    'heart',
    'arrow',
)
"""Names of the shape classes; a label is an index into them."""


@functools.cache
def shape_contours(name: str) -> tuple[np.ndarray, ...]:
    """Closed outlines of one of ``SHAPES``, filled by the even-odd rule.

    All shapes have unit area and their centroid at the origin, so that size
    and place say little about the class. They are polygons of shape
    ``(N, 2)``, (x, y) with y downwards; the second one is a hole.
    """
    contours = _outlines(name)
    areas, moments = zip(*map(_area_and_moment, contours), strict=True)
    area = areas[0] - sum(areas[1:])
    centroid = (moments[0] - sum(moments[1:])) / area
    return tuple(
        (contour - centroid) / math.sqrt(area) for contour in contours
    )


def _outlines(name: str) -> list[np.ndarray]:
    turn = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    if name == 'circle':
        return [_polar(turn)]
    if name == 'square':
        return [_polar(turn[8::16])]
    if name == 'triangle':
        return [_polar(np.arange(3) * 2 * math.pi / 3 - math.pi / 2)]
    if name == 'hexagon':
        return [_polar(np.arange(6) * math.pi / 3)]
    if name == 'star':
        radius = np.where(np.arange(10) % 2, 0.42, 1.0)
        return [_polar(np.arange(10) * math.pi / 5 - math.pi / 2, radius)]
    if name == 'ring':
        return [_polar(turn), _polar(turn, 0.52)]
    if name == 'cross':
        arm = np.array([0.3 + 0.3j, 0.3 + 1j, -0.3 + 1j])
        corners = np.concatenate([arm * 1j**turns for turns in range(4)])
        return [np.stack([corners.real, corners.imag], 1)]
    if name == 'crescent':
        # The horns lie where the unit circle meets a smaller one, which is
        # moved along x and bites the middle of the disc away.
        shift, bite = 0.45, 0.82
        horn = math.acos((1 + shift**2 - bite**2) / (2 * shift))
        inner = math.atan2(math.sin(horn), math.cos(horn) - shift)
        outer_arc = _polar(np.linspace(horn, 2 * math.pi - horn, 48))
        inner_arc = _polar(np.linspace(2 * math.pi - inner, inner, 48), bite)
        inner_arc[:, 0] += shift
        return [np.concatenate([outer_arc, inner_arc])]
    if name == 'heart':
        x = 16 * np.sin(turn) ** 3
        y = (
            5 * np.cos(2 * turn)
            + 2 * np.cos(3 * turn)
            + np.cos(4 * turn)
            - 13 * np.cos(turn)
        )
        return [np.stack([x, y], 1)]
    if name == 'arrow':
        x = np.array([-1.0, 0.1, 0.1, 1.1, 0.1, 0.1, -1.0])
        y = np.array([-0.3, -0.3, -0.8, 0.0, 0.8, 0.3, 0.3])
        return [np.stack([x, y], 1)]
    raise ValueError(f'unknown shape {name!r}; use one of {SHAPES}')


def _polar(angle: np.ndarray, radius: float | np.ndarray = 1.0) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


def _area_and_moment(contour: np.ndarray) -> tuple[float, np.ndarray]:
    """Area and first moments of a polygon (shoelace formula)."""
    following = np.roll(contour, -1, axis=0)
    cross = contour[:, 0] * following[:, 1] - contour[:, 1] * following[:, 0]
    area = cross.sum() / 2
    moment = ((contour + following) * cross[:, None]).sum(0) / 6
    return abs(area), moment * np.sign(area)
