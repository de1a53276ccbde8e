from .config_options import load_config
from .errors import ConfigError, RunError, RunStopped
from .versions import check_versions

__all__ = [
    'ConfigError',
    'RunError',
    'RunStopped',
    'check_versions',
    'load_config',
]
