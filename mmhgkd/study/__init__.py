from .picture import draw_differences, write_picture
from .run_study import StudyOptions, run_study
from .soft_label_distiller import SoftLabelDistiller
from .study_file import Arm, Finetune, Study, Teacher, read_study
from .table import read_rows, results_table, write_table

__all__ = [
    'Arm',
    'Finetune',
    'SoftLabelDistiller',
    'Study',
    'StudyOptions',
    'Teacher',
    'draw_differences',
    'read_rows',
    'read_study',
    'results_table',
    'run_study',
    'write_picture',
    'write_table',
]
