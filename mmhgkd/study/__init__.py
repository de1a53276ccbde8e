from .run_study import StudyOptions, run_study
from .soft_label_distiller import SoftLabelDistiller
from .study_file import Arm, Finetune, Study, Teacher, read_study
from .table import results_table, write_table

__all__ = [
    'Arm', 'Finetune', 'SoftLabelDistiller', 'Study', 'StudyOptions',
    'Teacher', 'read_study', 'results_table', 'run_study', 'write_table'
]
