from .config_options import load_config
from .errors import ConfigError, RunError, RunStopped, one_of
from .versions import check_versions, leave_out_multimodal

__all__ = [
    'ConfigError',
    'RunError',
    'RunStopped',
    'check_versions',
    'leave_out_multimodal',
    'load_config',
    'one_of',
]
