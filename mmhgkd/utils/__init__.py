from .config_error import ConfigError
from .config_options import load_config
from .versions import check_versions

__all__ = ['ConfigError', 'check_versions', 'load_config']
