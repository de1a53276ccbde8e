from .model_hub import announce_models
from .torchvision_ops import MissingOperatorError, install_operators

__all__ = ['MissingOperatorError', 'announce_models', 'install_operators']
