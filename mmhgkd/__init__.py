"""H-GKD: masked-image-modelling distillation from Transformers to CNNs."""

from .version import __version__

__all__ = ['__version__']
