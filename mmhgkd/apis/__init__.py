from typing import TYPE_CHECKING, Any

from mmhgkd.catalog import STUDENTS, TEACHERS
from mmhgkd.transfer.converters import student_config
from mmhgkd.transfer.model_hub import register_models

from .configs import config_folder, load_config
from .distill import distill
from .distillation import Distillation
from .features import Features, extract_features
from .student import build_student, load_student

if TYPE_CHECKING:
    from .quickstart import run_quickstart

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


def __getattr__(name: str) -> Any:
    # `python -m mmhgkd.apis.quickstart` warns of a module that is there.
    if name == 'run_quickstart':
        from .quickstart import run_quickstart

        return run_quickstart
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
