import logging
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from mmhgkd.utils import ConfigError, safe_files

_NAMES = re.compile(r'((epoch|iter)_\d+|interrupted)\.pth')


def find_checkpoint(work_dir: str | Path) -> tuple[Path, dict] | None:
    """Find the newest checkpoint of a run that is whole.

    Args:
        work_dir (str or Path): Folder of the run.

    Returns:
        tuple[Path, dict]: The file and its content, or None if there is no
        checkpoint at all.

    Raises:
        ConfigError: If there are checkpoints but none is whole.
    """
    damaged = []
    for path in _candidates(Path(work_dir)):
        try:
            return path, read_checkpoint(path)
        except ConfigError as error:
            damaged.append(path.name)
            print_log(
                f'{error}; the one before is tried.',
                logger='current',
                level=logging.WARNING,
            )
    if damaged:
        raise ConfigError(
            f'no checkpoint in {work_dir} is whole ({", ".join(damaged)}); '
            'move them away to start from the beginning, or restore one'
        )
    return None


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of a run, after a check of its sums.

    Args:
        path (str or Path): The file. A URL gives no content.

    Returns:
        dict: The content, see :func:`mmhgkd.utils.safe_files.read_checkpoint`.

    Raises:
        ConfigError: If the file is damaged or is no checkpoint of a run.
    """
    if '://' in str(path):
        return dict(meta={})
    try:
        # PyTorch itself does not compare the check sums.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f'{damaged} in it is damaged')
        content = safe_files.read_checkpoint(path)
    except Exception as error:  # a damaged file can cause any
        raise ConfigError(
            f'the checkpoint `{path}` cannot be read ({error})'
        ) from error
    missing = {'meta', 'state_dict', 'message_hub'} - set(content)
    if missing:
        raise ConfigError(
            f'the checkpoint `{path}` cannot be resumed, it has no '
            f'`{min(missing)}`; for its weights alone set `load_from`'
        )
    return content


def _candidates(work_dir: Path) -> Iterator[Path]:
    """Checkpoints that a run has left behind, the newest first."""
    found = [
        path for path in work_dir.glob('*.pth') if _NAMES.fullmatch(path.name)
    ]
    found.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    record = work_dir / 'last_checkpoint'
    if record.is_file():
        # Where `out_dir` is set the checkpoints lie elsewhere.
        last = Path(record.read_text(errors='replace').strip())
        if last.name and last not in found and last.is_file():
            found.insert(0, last)
    yield from found
