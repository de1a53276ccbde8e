"""H-GKD: masked-image-modelling distillation from Transformers to CNNs."""

from .utils import check_versions
from .version import __version__

check_versions()

__all__ = ['__version__']
