from .sparse_feature import SparseFeature

__all__ = ['SparseFeature']
