from pathlib import Path

from mmengine.config import Config

from mmhgkd.utils import ConfigError
from mmhgkd.utils import load_config as read_config

PACKAGE = Path(__file__).resolve().parent.parent


def config_folder() -> Path:
    """Folder of the configs that this installation carries.

    Raises:
        FileNotFoundError: If the installation is incomplete.
    """
    for folder in (PACKAGE / '.mim' / 'configs', PACKAGE.parent / 'configs'):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f'no configs beside {PACKAGE}; install mmhgkd again with '
        '`pip install -e .` in its repository'
    )


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
    folder = config_folder()
    path = folder / f'{name}.py'
    if not path.is_file() or name.startswith('_base_'):
        known = sorted(
            str(file.relative_to(folder).with_suffix(''))
            for file in folder.rglob('*.py')
            if '_base_' not in file.parts
        )
        raise ConfigError(
            f'there is no config {name!r}; the configs are {", ".join(known)}'
        )
    return Config.fromfile(path)


def find_config(config: str | Path) -> Config:
    """Load a config by its file, which ends in ``.py``, or by its name."""
    name = str(config)
    return read_config(name) if name.endswith('.py') else load_config(name)
