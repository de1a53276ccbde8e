from .batch_norm import SyncBatchNorm
from .masked_feature import MaskedFeature
from .packed_feature import PackedFeature
from .sparse_feature import SparseFeature

__all__ = ['MaskedFeature', 'PackedFeature', 'SparseFeature', 'SyncBatchNorm']
