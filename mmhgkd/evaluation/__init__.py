from .embedding import global_embedding
from .knn import KNNAccuracy, knn_accuracy
from .linear_probe import LinearProbeAccuracy, linear_probe_accuracy
from .representation_loop import RepresentationLoop
from .representation_metric import RepresentationMetric

__all__ = [
    'KNNAccuracy',
    'LinearProbeAccuracy',
    'RepresentationLoop',
    'RepresentationMetric',
    'global_embedding',
    'knn_accuracy',
    'linear_probe_accuracy',
]
