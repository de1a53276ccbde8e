from .batch_norm import DistributedBatchNorm, DistributedBatchNormAct
from .masked_feature import MaskedFeature, ZeroFilledFeature
from .packed_feature import PackedFeature, TorchPackedFeature
from .sparse_feature import SparseFeature
from .spconv_feature import SpconvFeature

__all__ = [
    'DistributedBatchNorm',
    'DistributedBatchNormAct',
    'MaskedFeature',
    'PackedFeature',
    'SparseFeature',
    'SpconvFeature',
    'TorchPackedFeature',
    'ZeroFilledFeature',
]
