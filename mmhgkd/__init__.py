"""H-GKD: masked-image-modeling distillation from Transformers to CNNs."""

from .transfer import install_operators
from .utils import check_versions, leave_out_multimodal
from .version import __version__

check_versions()
leave_out_multimodal()
install_operators()

__all__ = ['__version__', 'register_models']


def register_models() -> tuple[str, ...]:
    """Make the models of this project known to MMPretrain by their names.

    Returns:
        tuple[str]: The names.
    """
    from .transfer.model_hub import register_models

    return register_models()
