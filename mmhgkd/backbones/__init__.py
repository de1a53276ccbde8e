from .sparse_resnet import SparseResNet

__all__ = ['SparseResNet']
