from typing import Any

import torch
from mmpretrain.models import SelfSupDataPreprocessor
from mmpretrain.models.utils.batch_augments import Mixup

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError
from mmhgkd.utils.value_checks import is_number


@MODELS.register_module()
class MixupDataPreprocessor(SelfSupDataPreprocessor):
    """Mixes each image of a training batch with another one of it.

    `mixup <https://arxiv.org/abs/1710.09412>`_ without labels: the teacher
    sees the mixed image and says what is in it. lightly-train's distillation
    does so, with ``mixup`` of 1.

    Args:
        mixup (float): Shares are drawn from ``Beta(mixup, mixup)``, one for a
            batch; 1 draws them uniformly. Defaults to 1.0.
        **kwargs: Of ``SelfSupDataPreprocessor``.

    Raises:
        ConfigError: If ``mixup`` is not positive.
    """

    def __init__(self, mixup: float = 1.0, **kwargs: Any) -> None:
        if not (is_number(mixup) and mixup > 0):
            raise ConfigError(
                '`data_preprocessor.mixup` must be a positive number, got '
                f'{mixup!r}; for none take SelfSupDataPreprocessor'
            )
        super().__init__(**kwargs)
        self.mixup = Mixup(float(mixup))

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalize a batch, and mix it in training.

        Args:
            data (dict): ``inputs`` and ``data_samples`` of a batch.
            training (bool): Defaults to False, which mixes nothing.

        Returns:
            dict: ``inputs``, ``(B, 3, H, W)``, and ``data_samples``.
        """
        batch = super().forward(data, training)
        if training:
            images = batch['inputs']
            no_labels = torch.empty(len(images), 0, device=images.device)
            batch['inputs'], _ = self.mixup(images, no_labels)
        return batch
