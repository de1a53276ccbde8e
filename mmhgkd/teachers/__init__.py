from .base_teacher import BaseTeacher
from .mim_teacher import MIMTeacher
from .pixel_teacher import PixelTeacher
from .timm_teacher import TimmTeacher

__all__ = ['BaseTeacher', 'MIMTeacher', 'PixelTeacher', 'TimmTeacher']
