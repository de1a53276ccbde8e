from .feature_panel import feature_panel
from .intensity import IntensityHistogram, draw_intensities, intensities
from .model_panel import model_panel, save_model_panel
from .saliency import Saliency, unit_saliency
from .student_comparison import (
    student_features,
    student_panel,
    teacher_features,
)
from .token_pca import TokenPCA
from .trained_model import fixed_samples

__all__ = [
    'IntensityHistogram',
    'Saliency',
    'TokenPCA',
    'draw_intensities',
    'feature_panel',
    'fixed_samples',
    'intensities',
    'model_panel',
    'save_model_panel',
    'student_features',
    'student_panel',
    'teacher_features',
    'unit_saliency',
]
