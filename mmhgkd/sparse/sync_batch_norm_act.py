from torch import Tensor

from .batch_norm import DistributedBatchNorm


class DistributedBatchNormAct(DistributedBatchNorm):
    """Synchronized form of timm's ``BatchNormAct2d``.

    It runs where :class:`DistributedBatchNorm` runs. The layers ``drop`` and
    ``act``, if it has them, follow the norm.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize and activate ``(N, C)`` or ``(B, C, H, W)``."""
        x = super().forward(input)
        for name in ('drop', 'act'):
            part = getattr(self, name, None)
            if part is not None:
                x = part(x)
        return x
