from typing import TYPE_CHECKING, Any

from .errors import ConfigError, RunError, RunStopped, one_of
from .versions import check_versions, leave_out_multimodal

if TYPE_CHECKING:
    from .config_options import load_config

__all__ = [
    'ConfigError',
    'RunError',
    'RunStopped',
    'check_versions',
    'leave_out_multimodal',
    'load_config',
    'one_of',
]


def __getattr__(name: str) -> Any:
    # MMEngine imports PyTorch, and `mmhgkd --help` must not wait for that.
    if name == 'load_config':
        from .config_options import load_config

        return load_config
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
