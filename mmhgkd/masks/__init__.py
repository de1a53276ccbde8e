from .random_unit_mask import RandomUnitMask
from .unit_mask import UnitMask

__all__ = ['RandomUnitMask', 'UnitMask']
