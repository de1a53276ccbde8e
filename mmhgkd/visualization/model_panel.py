from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmhgkd.algorithms import HGKD
from mmhgkd.teachers import PixelTeacher

from .feature_panel import draw_columns, feature_columns
from .saliency import unit_saliency


def model_panel(
    model: HGKD, inputs: Tensor, draw: int = 0, saliency: str | None = None
) -> np.ndarray:
    """Draw what teacher and student see of some images, a row per image.

    The error is shown where the loss counts it, and without a decoder the
    student's tokens are shown where it sees the image. The reconstruction of a
    student of pixels shows the visible pixels as they are, as those of SparK
    and MAE do.

    Args:
        model (HGKD): The model; left in its training or evaluation mode.
        inputs (Tensor): Preprocessed images, ``(B, 3, H, W)``.
        draw (int): Number of the mask, see :meth:`HGKD.predict`.
            Defaults to 0.
        saliency (str, optional): Adds the units that drive a hidden token:
            of its 'output' or its 'error', see :func:`unit_saliency`.
            Defaults to None.

    Returns:
        np.ndarray: The panel, ``(H', W', 3)`` uint8 RGB.
    """
    columns = model_columns(model, inputs, draw, saliency)
    return draw_columns(columns, isinstance(model.teacher, PixelTeacher))


@torch.no_grad()
def model_columns(
    model: HGKD, inputs: Tensor, draw: int = 0, saliency: str | None = None
) -> dict[str, np.ndarray]:
    """The pictures of a :func:`model_panel`, see :func:`feature_columns`."""
    training = model.training
    model.eval()
    try:
        samples = model.predict(inputs, draw=draw)
        drivers = None
        if saliency is not None:
            drivers = unit_saliency(model, inputs, draw, saliency)
    finally:
        model.train(training)
    student, teacher, seen = (
        torch.stack([sample.get(name) for sample in samples])
        for name in ('student_tokens', 'teacher_tokens', 'visible')
    )
    mask = model.mask.draw(len(inputs), *inputs.shape[2:], draw, inputs.device)
    visible = mask.visible(1)
    reconstruction = None
    if isinstance(model.teacher, PixelTeacher):
        restored = model.teacher.to_images(student.flatten(1, 2), inputs)
        seen_by_teacher = model.teacher.choose_bands(inputs)
        whole = torch.where(visible, seen_by_teacher, restored)
        reconstruction = to_unit_range(model, whole)
    loss = model.head.feature_loss
    counted = {'masked': ~seen, 'visible': seen}.get(loss and loss.region)
    # Without a decoder the student says nothing of what it does not see.
    predicted = seen if model.neck is None else None
    return feature_columns(
        to_unit_range(model, model.teacher.choose_bands(inputs)),
        visible,
        student,
        teacher,
        reconstruction,
        counted if predicted is None else predicted,
        predicted,
        drivers,
        isinstance(model.teacher, PixelTeacher),
    )


def save_model_panel(
    path: str | Path,
    model: HGKD,
    inputs: Tensor,
    draw: int = 0,
    saliency: str | None = None,
) -> None:
    """Write a :func:`model_panel` to an image file, and create its folder.

    The ending of the file chooses the format.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(model_panel(model, inputs, draw, saliency)).save(path)


def to_unit_range(model: HGKD, images: Tensor) -> Tensor:
    """Undo the normalization of the preprocessor, to floats in [0, 1].

    Of images with other channels, it takes those that the teacher sees.
    """
    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    if model.teacher.bands is not None:
        bands = list(model.teacher.bands)
        mean, std = mean[bands], std[bands]
    return ((images * std + mean) / 255).clamp(0, 1)
