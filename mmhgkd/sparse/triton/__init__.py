from .runtime import use_triton, uses_triton

__all__ = ['use_triton', 'uses_triton']
