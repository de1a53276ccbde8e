from .export import LAYOUTS, Export, export_student
from .import_checkpoint import Import, import_checkpoint
from .student import Student, read_student, student_config

__all__ = [
    'LAYOUTS',
    'Export',
    'Import',
    'Student',
    'export_student',
    'import_checkpoint',
    'read_student',
    'student_config',
]
