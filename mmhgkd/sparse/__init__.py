from .batch_norm import DistributedBatchNorm
from .masked_feature import MaskedFeature
from .packed_feature import PackedFeature
from .sparse_feature import SparseFeature
from .spconv_feature import SpconvFeature
from .sync_batch_norm_act import DistributedBatchNormAct
from .zero_filled_feature import ZeroFilledFeature

__all__ = [
    'DistributedBatchNorm',
    'DistributedBatchNormAct',
    'MaskedFeature',
    'PackedFeature',
    'SparseFeature',
    'SpconvFeature',
    'ZeroFilledFeature',
]
