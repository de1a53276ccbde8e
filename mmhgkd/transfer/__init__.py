from .torchvision_ops import MissingOperatorError, install_operators

__all__ = ['MissingOperatorError', 'install_operators']
