from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmhgkd.registry import MODELS
from mmhgkd.teachers import BaseTeacher
from mmhgkd.teachers.checkpoint import read_state_dict


@MODELS.register_module()
class SoftLabelDistiller(BaseSelfSupervisor):
    """Teaches a dense student the class probabilities of a linear probe.

    The upper reference of a study, which uses all labels: a linear
    classifier on the teacher's mean patch token gives each image a
    distribution over the classes, and the student, which sees the whole
    image, learns it by cross-entropy, as in `Distilling the Knowledge in a
    Neural Network <https://arxiv.org/abs/1503.02531>`_ at temperature 1.

    Args:
        teacher (dict): Config of the teacher.
        backbone (dict): Config of the student.
        in_channels (int): Channels of the student's last stage.
        probe (str): File of :func:`fit_teacher_probe`.
        data_preprocessor (dict, optional): Config of the preprocessor.
            Defaults to None.
    """

    teacher: BaseTeacher

    def __init__(
        self,
        teacher: dict,
        backbone: dict,
        in_channels: int,
        probe: str,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone, data_preprocessor=data_preprocessor
        )
        # Past nn.Module's registration: teacher and probe are not trained
        # and are in no checkpoint of the student.
        network = MODELS.build({**teacher, 'target_norm': 'none'})
        network.set_image_norm(
            self.data_preprocessor.mean, self.data_preprocessor.std
        )
        object.__setattr__(self, 'teacher', network)
        state = read_state_dict(probe)
        self.register_buffer('probe_weight', state['weight'], persistent=False)
        self.register_buffer('probe_bias', state['bias'], persistent=False)
        self.classifier = nn.Linear(in_channels, len(state['bias']))

    def soft_labels(self, inputs: Tensor) -> Tensor:
        """Class probabilities of the probe, ``(B, C)``."""
        tokens = self.teacher(inputs)
        weight = self.probe_weight
        return F.linear(
            tokens.to(weight.dtype).mean(1), weight, self.probe_bias
        ).softmax(-1)

    def loss(
        self, inputs: Tensor, data_samples: list[DataSample], **kwargs: Any
    ) -> dict[str, Tensor]:
        """Compute the cross-entropy of a batch.

        Args:
            inputs (Tensor): Images, ``(B, 3, H, W)``.
            data_samples (list[DataSample]): Not used.
            **kwargs: Not used.

        Returns:
            dict[str, Tensor]: ``loss_soft``, and ``agreement``, the share of
            images to which student and probe give the same class.
        """
        with torch.autocast(inputs.device.type, enabled=False):
            target = self.soft_labels(inputs.float())
        logits = self.classifier(self.backbone(inputs)[-1].mean((2, 3)))
        agreement = (logits.argmax(-1) == target.argmax(-1)).float().mean()
        return dict(
            loss_soft=F.cross_entropy(logits.float(), target),
            agreement=agreement,
        )

    def _apply(self, fn: Any, recurse: bool = True) -> 'SoftLabelDistiller':
        # Moves and casts reach submodules only.
        self.teacher._apply(fn)
        return super()._apply(fn, recurse)
