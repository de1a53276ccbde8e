"""Optimizers of other packages, under names that configs can use."""

from timm.optim import Lamb

from .registry import OPTIMIZERS

# MMPretrain has an optimizer `Lamb` of its own.
OPTIMIZERS.register_module(name='TimmLamb', module=Lamb)
