from .sparse_convnext import SparseConvNeXt
from .sparse_efficientnet import SparseEfficientNet
from .sparse_mobilenet_v2 import SparseMobileNetV2
from .sparse_mobilenet_v3 import SparseMobileNetV3
from .sparse_network import SparseNetwork
from .sparse_resnet import SparseResNet
from .sparsify import sparsify

__all__ = [
    'SparseConvNeXt',
    'SparseEfficientNet',
    'SparseMobileNetV2',
    'SparseMobileNetV3',
    'SparseNetwork',
    'SparseResNet',
    'sparsify',
]
