from .configs import config_folder, load_config
from .distill import distill
from .features import Features, extract_features
from .quickstart import run_quickstart
from .student import STUDENTS, build_student, load_student
from .student_config import student_config

__all__ = [
    'STUDENTS',
    'Features',
    'build_student',
    'config_folder',
    'distill',
    'extract_features',
    'load_config',
    'load_student',
    'run_quickstart',
    'student_config',
]
