from .judge import Judge
from .plan import Plan, make_plan
from .quiet_runner import QuietRunner
from .results import Distillation
from .run_config import distillation_config, teacher_training_config
from .teacher import Teacher, choose_teacher, read_teacher
from .twins import Twin, make_twin

__all__ = [
    'Distillation',
    'Judge',
    'Plan',
    'QuietRunner',
    'Teacher',
    'Twin',
    'choose_teacher',
    'distillation_config',
    'make_plan',
    'make_twin',
    'read_teacher',
    'teacher_training_config',
]
