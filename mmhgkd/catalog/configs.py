from pathlib import Path

from mmhgkd.utils import ConfigError

from .names import suggest

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


def config_names() -> list[str]:
    """Names of the configs, such as 'hgkd/r50_mae', sorted."""
    folder = config_folder()
    return sorted(
        file.relative_to(folder).with_suffix('').as_posix()
        for file in folder.rglob('*.py')
        if '_base_' not in file.parts
    )


def config_path(config: str | Path) -> Path:
    """The file of a config.

    Args:
        config (str or Path): Name below ``configs/`` without ending, or a
            file, which ends in ``.py``. A file that does not exist but is
            one of this project's, such as 'configs/hgkd/r50_mae.py' from
            within another folder, is found too.

    Raises:
        ConfigError: If there is no such config.
    """
    text = str(config)
    if text.endswith('.py') and Path(text).expanduser().is_file():
        return Path(text).expanduser()
    name = text.removesuffix('.py').removeprefix('./').removeprefix('configs/')
    known = config_names()
    if name in known:
        return config_folder() / f'{name}.py'
    question = suggest(name, known)
    if not question:
        question = '; `mmhgkd configs` lists them'
    raise ConfigError(f'there is no config {text!r}{question}')


def config_title(name: str) -> str:
    """The first comment of a config, in one line; '' without one."""
    lines = []
    path = config_folder() / f'{name}.py'
    for line in path.read_text(encoding='utf-8').splitlines():
        if not line.startswith('#'):
            break
        lines.append(line.removeprefix('#').strip())
    return ' '.join(lines).split('. ')[0].split(': ')[0].rstrip(':.')
