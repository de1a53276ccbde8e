from pathlib import Path

import torch
from torch import Tensor

from mmhgkd.algorithms import HGKD
from mmhgkd.teachers import PixelTeacher

from .feature_panel import save_panel


@torch.no_grad()
def save_model_panel(path: str | Path,
                     model: HGKD,
                     inputs: Tensor,
                     draw: int = 0) -> None:
    """Write what teacher and student see of some images, a row per image.

    Args:
        path (str or Path): Image file to write.
        model (HGKD): The model; left in its training or evaluation mode.
        inputs (Tensor): Preprocessed images, ``(B, 3, H, W)``.
        draw (int): Number of the mask, see :meth:`HGKD.predict`.
            Defaults to 0.
    """
    training = model.training
    model.eval()
    samples = model.predict(inputs, draw=draw)
    model.train(training)
    student = torch.stack([sample.student_tokens for sample in samples])
    teacher = torch.stack([sample.teacher_tokens for sample in samples])
    mask = model.mask.draw(len(inputs), *inputs.shape[2:], draw, inputs.device)
    reconstruction = None
    if isinstance(model.teacher, PixelTeacher):
        reconstruction = _to_unit_range(
            model, model.teacher.to_images(student.flatten(1, 2), inputs))
    save_panel(path, _to_unit_range(model, inputs), mask.visible(1), student,
               teacher, reconstruction)


def _to_unit_range(model: HGKD, images: Tensor) -> Tensor:
    """Undo the normalisation of the preprocessor, to floats in [0, 1]."""
    preprocessor = model.data_preprocessor
    return ((images * preprocessor.std + preprocessor.mean) / 255).clamp(0, 1)
