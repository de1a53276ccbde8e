import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mmhgkd.catalog.find_images import find_images, has_image_extension
from mmhgkd.evaluation import global_embedding
from mmhgkd.report import RunRecord
from mmhgkd.utils import ConfigError
from mmhgkd.utils.left_out import count_kinds, say_once

from .feature_panel import token_error
from .model_panel import model_columns
from .tile_grid import error_colors, error_scale
from .trained_model import (
    check_colors,
    file_inputs,
    image_size,
    load_trained_model,
    prepare_image,
    set_mask_ratio,
)

NEIGHBORS = 8
#: Side of the small pictures by which a photo is recognized, and how far a
#: value of these may be off in another file of it, in standard deviations.
SIDE, SAME = 8, 0.2


class View(NamedTuple):
    """What the student makes of one masked image."""

    #: The pictures of :func:`model_columns` by title, ``(h, w, 3)`` uint8.
    tiles: dict[str, np.ndarray]
    scale: float  #: the error that has the brightest color
    mask_ratio: float  #: that was asked for
    units: tuple[int, int]  #: hidden ones, and all
    #: Mean squared error of the 'hidden' and of the 'visible' tokens, as far
    #: as there are such.
    errors: dict[str, float]
    #: Most similar other images of the folder, with cosine similarity.
    neighbors: list[tuple[Path, float]]


class Explorer:
    """Shows a trained student single images, for the web demo.

    Args:
        record (RunRecord): The run of a distillation.
        checkpoint (str or Path, optional): The weights. Defaults to None,
            which means the latest of the run.
        folder (str or Path, optional): Images, however nested, among which
            neighbors are searched. Defaults to None.
        max_images (int): Take evenly spaced images of a larger folder.
            Defaults to 500.

    Raises:
        ConfigError: If the folder is missing or holds no image, or the model
            takes other than three channels.
    """

    def __init__(
        self,
        record: RunRecord,
        checkpoint: str | Path | None = None,
        folder: str | Path | None = None,
        max_images: int = 500,
    ) -> None:
        self.model = load_trained_model(record, checkpoint)
        check_colors(self.model)
        self.mask_ratio = self.model.mask.mask_ratio
        self.size = image_size(record.config)
        # The model holds the mask ratio of the request that it works on.
        self.lock = threading.Lock()
        self.paths = [] if folder is None else _find(Path(folder), max_images)
        embeddings, small = [], []
        for start in range(0, len(self.paths), 32):
            batch = self.paths[start : start + 32]
            inputs = file_inputs(self.model, batch, self.size)
            embeddings.append(self.embed(inputs))
            small.append(_shrunk(inputs))
        self.embeddings = torch.cat(embeddings) if embeddings else None
        self.small = torch.cat(small) if small else None

    @torch.no_grad()
    def embed(self, inputs: Tensor) -> Tensor:
        """Embeddings of unmasked images, of unit norm, ``(B, D)``."""
        features = self.model.extract_feat(inputs)
        return functional.normalize(global_embedding(features))

    def view(
        self,
        image: Image.Image,
        mask_ratio: float,
        draw: int = 0,
        saliency: str | None = None,
    ) -> View:
        """Show an image to teacher and student.

        Args:
            image (PIL.Image.Image): The image.
            mask_ratio (float): Share of hidden units.
            draw (int): Number of the mask. Defaults to 0.
            saliency (str, optional): 'output' or 'error'. Defaults to None.

        Raises:
            ConfigError: If the ratio or the saliency is out of range.
        """
        inputs = prepare_image(self.model, image, self.size)
        with self.lock:
            set_mask_ratio(self.model, mask_ratio)
            columns = model_columns(self.model, inputs, draw, saliency)
            sample = self.model.predict(inputs, draw=draw)[0]
            mask = self.model.mask.draw(1, *inputs.shape[2:], draw)
        error = token_error(sample.student_tokens, sample.teacher_tokens)
        seen = sample.visible.numpy()
        errors = {
            name: float(error[chosen].mean())
            for name, chosen in (('hidden', ~seen), ('visible', seen))
            if chosen.any()
        }
        title, last = columns.popitem()
        columns[title] = error_colors(last)
        return View(
            {
                name: (255 * tiles[0] + 0.5).astype(np.uint8)
                for name, tiles in columns.items()
            },
            error_scale(last),
            mask_ratio,
            (mask.num_units - mask.num_visible, mask.num_units),
            errors,
            self.neighbors(inputs, NEIGHBORS),
        )

    def neighbors(self, inputs: Tensor, num: int) -> list[tuple[Path, float]]:
        """Other images of the folder that are most similar to one image.

        The image itself is left out, also where it lies there as another
        file or in another size.

        Args:
            inputs (Tensor): The image, ``(1, 3, H, W)``.
            num (int): Their number.

        Returns:
            list[tuple[Path, float]]: With cosine similarity, best first;
            empty without a folder.
        """
        if self.embeddings is None or self.small is None:
            return []
        similarity = self.embeddings @ self.embed(inputs)[0]
        distance = (self.small - _shrunk(inputs)).abs().flatten(1).amax(1)
        other = distance > SAME
        similarity[~other] = -torch.inf
        best = similarity.topk(min(num, int(other.sum())))
        paths = [self.paths[index] for index in best.indices.tolist()]
        return list(zip(paths, best.values.tolist(), strict=True))


def _shrunk(inputs: Tensor) -> Tensor:
    """Small pictures, ``(B, 3, SIDE, SIDE)``."""
    return functional.adaptive_avg_pool2d(inputs, SIDE)


def _find(folder: Path, limit: int) -> list[Path]:
    if not folder.is_dir():
        raise ConfigError(f'there is no folder {folder}')
    names, left_out = find_images(str(folder), has_image_extension)
    if not names:
        raise ConfigError(f'no image lies in {folder}')
    others = [name for kind in left_out.values() for name in kind]
    if others:
        say_once(
            f'{len(names):,} images in {folder}; {len(others):,} left out '
            f'({count_kinds(left_out)})',
            others,
        )
    num = min(limit, len(names))
    return [folder / names[index * len(names) // num] for index in range(num)]
