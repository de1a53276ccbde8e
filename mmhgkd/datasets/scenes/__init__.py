from .scene_generator import Scene, SceneGenerator
from .shapes import SHAPES
from .write_scenes import TASKS, write_scenes

__all__ = ['SHAPES', 'TASKS', 'Scene', 'SceneGenerator', 'write_scenes']
