from .scene import Scene
from .scene_generator import SceneGenerator
from .shapes import SHAPES
from .write_scenes import TASKS, write_scenes

__all__ = ['SHAPES', 'TASKS', 'Scene', 'SceneGenerator', 'write_scenes']
