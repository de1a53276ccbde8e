from .judge import Judge
from .plan import Plan, make_plan
from .quiet_runner import QuietRunner
from .results import Distillation
from .run_config import distillation_config, teacher_training_config
from .teacher import Teacher, choose_teacher, read_teacher

__all__ = [
    'Distillation',
    'Judge',
    'Plan',
    'QuietRunner',
    'Teacher',
    'choose_teacher',
    'distillation_config',
    'make_plan',
    'read_teacher',
    'teacher_training_config',
]
