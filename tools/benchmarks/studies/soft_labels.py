from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
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
        """Compute the cross-entropy of a batch of images, ``(B, 3, H, W)``.

        ``agreement`` is the share of images to which student and probe give
        the same class.
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


def fit_teacher_probe(cfg: Config, path: Path) -> None:
    """Fit a linear classifier to the teacher's mean patch tokens.

    On the train split, with the settings of :class:`LinearProbeAccuracy`.

    Args:
        cfg (Config): Of a pre-training, with labelled images in its
            ``val_dataloader``.
        path (Path): Receives ``weight`` ``(C, D)`` and ``bias`` ``(C, )``.
    """
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        device = get_device()
        teacher = MODELS.build(
            {**cfg.model.teacher, 'target_norm': 'none', 'input': 'full'}
        ).to(device)
        preprocessor = MODELS.build(cfg.data_preprocessor).to(device)
        teacher.set_image_norm(preprocessor.mean, preprocessor.std)
        embeddings, labels = [], []
        for batch in Runner.build_dataloader(cfg.val_dataloader):
            data = preprocessor(batch, False)
            chosen = [
                index
                for index, sample in enumerate(data['data_samples'])
                if sample.split == 'train'
            ]
            if chosen:
                tokens = teacher(data['inputs'][chosen])
                embeddings.append(tokens.double().mean(1).cpu())
                labels += [
                    data['data_samples'][index].gt_label.item()
                    for index in chosen
                ]
    weight, bias = fit_linear(torch.cat(embeddings), torch.tensor(labels))
    torch.save(dict(weight=weight, bias=bias), path)


def fit_linear(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a logistic regression on standardized embeddings, ``(N, D)``.

    The labels ``(N, )`` count from 0 on, each is there at least once. Weight
    ``(C, D)`` and bias ``(C, )`` are for embeddings as they were.
    """
    scaler = StandardScaler()
    probe = LogisticRegression(C=0.01, max_iter=1000).fit(
        scaler.fit_transform(embeddings.double().numpy()), labels.numpy()
    )
    coefficients, intercept = probe.coef_, probe.intercept_
    if len(coefficients) == 1:  # of two classes only the second has a row
        coefficients = np.concatenate([0 * coefficients, coefficients])
        intercept = np.concatenate([0 * intercept, intercept])
    weight = coefficients / scaler.scale_
    bias = intercept - weight @ scaler.mean_
    return torch.from_numpy(weight).float(), torch.from_numpy(bias).float()
