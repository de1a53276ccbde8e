from .export import OnnxExport, describe, export_onnx
from .onnx_file import OPSET
from .task_model import TaskModel, read_task_model

__all__ = [
    'OPSET',
    'OnnxExport',
    'TaskModel',
    'describe',
    'export_onnx',
    'read_task_model',
]
