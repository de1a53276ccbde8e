"""What there is to choose from. Nothing in here imports PyTorch."""

from .configs import config_folder, config_names, config_path
from .metrics import METRICS, ROWS
from .names import suggest
from .options import TWINS, check_numbers, twin_names
from .photos import Photos, find_photos
from .students import (
    STUDENTS,
    student_backbone,
    student_name,
    student_names,
)
from .teachers import (
    TEACHERS,
    TeacherEntry,
    cached_teacher,
    fetch_teacher,
    find_teacher,
)

__all__ = [
    'METRICS',
    'ROWS',
    'STUDENTS',
    'TEACHERS',
    'TWINS',
    'Photos',
    'TeacherEntry',
    'cached_teacher',
    'check_numbers',
    'config_folder',
    'config_names',
    'config_path',
    'fetch_teacher',
    'find_photos',
    'find_teacher',
    'student_backbone',
    'student_name',
    'student_names',
    'suggest',
    'twin_names',
]
