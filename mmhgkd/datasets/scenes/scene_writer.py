from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .scene_generator import SceneGenerator

JPEG_QUALITY = 95


class SceneWriter(ABC):
    """Writes scenes in the layout that the data sets of a task are read in.

    Args:
        generator (SceneGenerator): Draws the scenes.
        root (Path): Existing folder to write into.
    """

    def __init__(self, generator: SceneGenerator, root: Path) -> None:
        self.generator = generator
        self.root = root

    @abstractmethod
    def prepare(self, split: str) -> None:
        """Make the folders of a split."""

    @abstractmethod
    def write(self, split: str, index: int) -> Any:
        """Write scene ``index`` of a split; called from several processes.

        Returns:
            Any: What :meth:`finish` needs to know about the scene.
        """

    def finish(self, split: str, records: list[Any]) -> None:  # noqa: B027
        """Write what is common to a split, given the records in order."""


def write_image(path: Path, image: np.ndarray) -> None:
    """Write RGB ``(H, W, 3)`` or gray ``(H, W)`` uint8 pixels to a file.

    Raises:
        OSError: If the file cannot be written.
    """
    pixels = image[..., ::-1] if image.ndim == 3 else image
    data = cv2.imencode(
        path.suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )[1]
    path.write_bytes(data.tobytes())
