from pathlib import Path

from mmengine.config import Config

from mmhgkd.catalog import config_folder, config_path
from mmhgkd.utils import ConfigError
from mmhgkd.utils import load_config as read_config

__all__ = ['config_folder', 'find_config', 'load_config']


def load_config(name: str) -> Config:
    """Load a config of this project by its name.

    Args:
        name (str): Path below ``configs/`` without ending, such as
            'hgkd/r50_mae'.

    Returns:
        Config: The config.

    Raises:
        ConfigError: If there is no such config.
    """
    if name.endswith('.py'):
        raise ConfigError(
            f'there is no config {name!r}; a name has no ending `.py`'
        )
    return Config.fromfile(config_path(name))


def find_config(config: str | Path) -> Config:
    """Load a config by its file, which ends in ``.py``, or by its name."""
    return read_config(str(config_path(config)))
