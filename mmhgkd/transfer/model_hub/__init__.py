from .finder import announce_models

__all__ = ['announce_models']
