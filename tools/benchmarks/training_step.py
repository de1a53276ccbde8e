"""The distillation step that the benchmarks time."""

import argparse
from typing import Any

import torch
import torch.nn.functional as F
from common import autocast
from mmengine.optim import build_optim_wrapper
from torch import Tensor

from mmhgkd.algorithms import HGKD
from mmhgkd.registry import MODELS
from mmhgkd.runner.empty_words import without_weights_told


class TrainingStep:
    """A model and its optimizer, of their configs, on random weights.

    The queue is full from the first step on, as it is in all but the
    beginning of a training run.
    """

    def __init__(
        self,
        model: dict[str, Any],
        optim_wrapper: dict[str, Any],
        args: argparse.Namespace,
    ) -> None:
        torch.manual_seed(0)
        self.args = args
        # mmengine's wrapper for mixed precision refuses some devices.
        wrapper = {**optim_wrapper, 'type': 'OptimWrapper'}
        for key in ('dtype', 'loss_scale'):
            wrapper.pop(key, None)
        wrapper['optimizer'] = {
            **wrapper['optimizer'],
            '_scope_': 'mmpretrain',
        }
        with without_weights_told():
            self.model: HGKD = MODELS.build(model).to(args.device)
            self.optim_wrapper = build_optim_wrapper(self.model, wrapper)
        self.model.train()
        if self.model.head.similarity_loss is not None:
            queue = self.model.head.queue
            filling = torch.randn_like(queue.embeddings)
            queue.enqueue(F.normalize(filling, dim=1))

    def forward(self, images: Tensor) -> Tensor:
        """The loss of preprocessed images."""
        with autocast(self.args):
            losses = self.model(images, [], mode='loss')
        return self.model.parse_losses(losses)[0]
