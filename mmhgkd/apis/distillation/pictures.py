"""Pictures of what a distillation has changed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.dataset import default_collate
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from mmhgkd.algorithms import HGKD
from mmhgkd.report import RunRecord, save_animation
from mmhgkd.report.animation import epoch_panels
from mmhgkd.report.pieces import PHOTO, PHOTO_GAP
from mmhgkd.visualization.model_panel import save_model_panel

from .judge import Judge, nearest

SIDE, GAP, HEADER = PHOTO, PHOTO_GAP, 22
ROWS = 12


def save_neighbors(
    path: Path,
    files: Sequence[str],
    embeddings: Mapping[str, Tensor],
    shown: int = 3,
) -> None:
    """Draw photos and their nearest neighbors by one or more embeddings.

    A photo is no neighbor of itself.

    Args:
        path (Path): The picture to write.
        files (Sequence[str]): The photos.
        embeddings (Mapping): Of all photos, ``(N, D)``, by a title.
        shown (int): Neighbors of each photo. Defaults to 3.
    """
    total = len(files)
    rows = [(2 * i + 1) * total // (2 * ROWS) for i in range(ROWS)]
    rows = list(dict.fromkeys(rows))
    found = {name: nearest(e, shown) for name, e in embeddings.items()}
    step = SIDE + GAP
    block = shown * step + 2 * GAP
    width = step + 2 * GAP + len(found) * block
    picture = Image.new('RGB', (width, HEADER + len(rows) * step), 'white')
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(14)
    draw.text((0, 2), 'photo', 'black', font)
    for column, name in enumerate(found):
        left = step + 2 * GAP + column * block
        draw.text((left, 2), name, 'black', font)
    for line, row in enumerate(rows):
        top = HEADER + line * step
        picture.paste(thumbnail(files[row]), (0, top))
        for column, neighbors in enumerate(found.values()):
            for place, other in enumerate(neighbors[row].tolist()):
                left = step + 2 * GAP + column * block + place * step
                picture.paste(thumbnail(files[other]), (left, top))
    picture.save(path)


def thumbnail(file: str) -> Image.Image:
    """A square of a photo, gray where it cannot be read."""
    try:
        with Image.open(file) as image:
            upright = ImageOps.exif_transpose(image).convert('RGB')
            return ImageOps.fit(upright, (SIDE, SIDE))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Image.new('RGB', (SIDE, SIDE), 'gray')


@torch.no_grad()
def save_panel(path: Path, judge: Judge, model: HGKD, number: int = 5) -> None:
    """Draw what teacher and student see in some photos, evenly spread."""
    total = len(judge.files)
    number = min(number, total)
    samples = [
        judge.dataset[(2 * i + 1) * total // (2 * number)]
        for i in range(number)
    ]
    samples = [sample for sample in samples if sample is not None]
    if samples:
        inputs = model.data_preprocessor(default_collate(samples))['inputs']
        save_model_panel(path, model, inputs)


def save_epochs(folder: Path) -> None:
    """Animate what was drawn during the training, if there is enough of it."""
    record = RunRecord(folder)
    if len(epoch_panels(record)) > 1:
        save_animation(record)
