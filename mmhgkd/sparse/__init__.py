from .batch_norm import SyncBatchNorm
from .masked_feature import MaskedFeature
from .packed_feature import PackedFeature
from .sparse_feature import SparseFeature
from .spconv_feature import SpconvFeature
from .sync_batch_norm_act import SyncBatchNormAct
from .zero_filled_feature import ZeroFilledFeature

__all__ = [
    'MaskedFeature', 'PackedFeature', 'SparseFeature', 'SpconvFeature',
    'SyncBatchNorm', 'SyncBatchNormAct', 'ZeroFilledFeature'
]
