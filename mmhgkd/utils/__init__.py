from .config_options import load_config
from .empty_words import leave_out_empty_words
from .errors import ConfigError, RunError, RunStopped, one_of
from .versions import check_versions, leave_out_multimodal

__all__ = [
    'ConfigError',
    'RunError',
    'RunStopped',
    'check_versions',
    'leave_out_empty_words',
    'leave_out_multimodal',
    'load_config',
    'one_of',
]
