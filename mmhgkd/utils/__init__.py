from .config_error import ConfigError
from .config_options import load_config
from .full_precision import fall_back_to_full_precision
from .versions import check_versions

__all__ = [
    'ConfigError',
    'check_versions',
    'fall_back_to_full_precision',
    'load_config',
]
