from .configs import config_folder, load_config
from .quickstart import run_quickstart

__all__ = ['config_folder', 'load_config', 'run_quickstart']
