from typing import NamedTuple

import numpy as np


class Scene(NamedTuple):
    """A generated picture and what is in it.

    Args:
        image (ndarray): RGB pixels, ``(H, W, 3)`` uint8.
        instances (ndarray): Number of the object that is seen at each pixel,
            0 = background, ``k`` = object ``k - 1``, ``(H, W)`` uint8.
        labels (tuple[int]): Class of each object, an index into ``SHAPES``.
            Objects that lie further back come first.
    """

    image: np.ndarray
    instances: np.ndarray
    labels: tuple[int, ...]

    def mask(self, index: int) -> np.ndarray:
        """Visible pixels of object ``index``, ``(H, W)`` bool."""
        return self.instances == index + 1

    def box(self, index: int) -> tuple[int, int, int, int]:
        """Box ``(x, y, width, height)`` of the visible pixels, as in COCO."""
        rows, columns = self.mask(index).nonzero()
        x, y = int(columns.min()), int(rows.min())
        return x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y
