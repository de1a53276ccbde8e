from .batch_norm import SyncBatchNorm
from .masked_feature import MaskedFeature
from .sparse_feature import SparseFeature

__all__ = ['MaskedFeature', 'SparseFeature', 'SyncBatchNorm']
