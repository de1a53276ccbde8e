"""H-GKD: masked-image-modeling distillation from Transformers to CNNs."""

from .transfer import announce_models, install_operators
from .utils import check_versions, leave_out_multimodal
from .version import __version__

check_versions()
leave_out_multimodal()
install_operators()
announce_models()

__all__ = ['__version__']
