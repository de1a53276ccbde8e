from mmhgkd.catalog import STUDENTS, TEACHERS
from mmhgkd.transfer.converters import student_config
from mmhgkd.transfer.model_hub import register_models

from .configs import config_folder, load_config
from .distill import distill
from .distillation import Distillation
from .features import Features, extract_features
from .quickstart import run_quickstart
from .student import build_student, load_student

register_models()

__all__ = [
    'STUDENTS',
    'TEACHERS',
    'Distillation',
    'Features',
    'build_student',
    'config_folder',
    'distill',
    'extract_features',
    'load_config',
    'load_student',
    'register_models',
    'run_quickstart',
    'student_config',
]
