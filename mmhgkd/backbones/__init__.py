from .sparse_network import SparseNetwork
from .sparse_resnet import SparseResNet
from .sparse_students import (
    SparseConvNeXt,
    SparseEfficientNet,
    SparseMobileNetV2,
    SparseMobileNetV3,
)
from .sparsify import sparsify
from .torchvision_backbone import TorchvisionBackbone

__all__ = [
    'SparseConvNeXt',
    'SparseEfficientNet',
    'SparseMobileNetV2',
    'SparseMobileNetV3',
    'SparseNetwork',
    'SparseResNet',
    'TorchvisionBackbone',
    'sparsify',
]
