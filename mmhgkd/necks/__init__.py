from .grid_neck import GridNeck
from .grid_projection import GridProjection
from .unet_neck import UNetNeck

__all__ = ['GridNeck', 'GridProjection', 'UNetNeck']
