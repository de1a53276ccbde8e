"""A training step of lightly-train, without its trainer, to be timed.

lightly-train is under the AGPL-3.0 and no part of this project: its method
and its optimizer are called, in an environment of its own if need be.
"""

import argparse
from typing import Any
from unittest import mock

import torch
from adapters import StudentWrapper, TeacherAdapter
from common import autocast
from mmpretrain.models import ResNet
from torch import Tensor, nn

from mmhgkd.registry import MODELS
from mmhgkd.runner.empty_words import without_weights_told


class LightlyStep:
    """``distillationv2`` with a dense ResNet and a teacher of this project.

    Args:
        model (dict): Config of a distillation, which has the teacher. Its
            tokens are left as they are, which costs least.
        args (argparse.Namespace): Options of the benchmark.
    """

    def __init__(
        self, model: dict[str, Any], args: argparse.Namespace
    ) -> None:
        from lightly_train._methods.distillationv2 import distillationv2
        from lightly_train._models.embedding_model import EmbeddingModel
        from lightly_train._optim import optimizer_helpers

        torch.manual_seed(0)
        self.args = args
        config = {
            **model['teacher'],
            'input': 'full',
            'target_norm': 'none',
            'precision': 'training',
        }
        with without_weights_told():
            teacher = TeacherAdapter(MODELS.build(config).eval())
        self.student = StudentWrapper(ResNet(args.depth))
        optimizer = distillationv2.DistillationV2LARSArgs()
        with mock.patch.object(
            distillationv2, 'get_teacher', lambda **_: teacher
        ):
            self.method = distillationv2.DistillationV2(
                distillationv2.DistillationV2Args(n_teacher_blocks=1),
                optimizer,
                EmbeddingModel(self.student),
                args.batch_size,
                3,
            )
        self.method.to(args.device)
        if args.compile:
            self.student.backbone.compile()
            teacher.compile()
        self.optimizer = optimizer_helpers.get_optimizer(
            optimizer, self.method.trainable_modules(), lr_scale=1.0
        )
        self.weights = [
            weight
            for group in self.optimizer.param_groups
            for weight in group['params']
        ]

    def forward(self, images: Tensor) -> Tensor:
        """The loss of normalized images, ``(B, 3, H, W)``."""
        with autocast(self.args):
            return self.method.training_step_impl({'views': [images]}, 0).loss

    def update(self, loss: Tensor) -> None:
        """Backward pass, clipping as the method has it, and a step."""
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
