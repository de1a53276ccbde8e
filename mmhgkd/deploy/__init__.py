from .export import OnnxExport, describe, export_onnx
from .onnx_file import OPSET
from .preprocessing import Preprocessing, student_preprocessing
from .task_model import TaskModel, read_task_model

__all__ = [
    'OPSET',
    'OnnxExport',
    'Preprocessing',
    'TaskModel',
    'describe',
    'export_onnx',
    'read_task_model',
    'student_preprocessing',
]
