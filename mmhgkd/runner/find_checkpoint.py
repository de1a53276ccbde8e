import logging
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from mmhgkd.utils import ConfigError, safe_files
from mmhgkd.utils.whole_file import write_whole

#: File of a work folder that says which run its newest checkpoints are of.
RUN_ID = 'run_id.txt'
INTERRUPTED = 'interrupted.pth'
_NAMES = re.compile(r'((epoch|iter)_\d+|interrupted)\.pth')
#: Iteration, epoch, and whether it has a name of its own.
_Place = tuple[int, int, bool]


def find_checkpoint(
    work_dir: str | Path, out_dir: str | Path | None = None
) -> tuple[Path, dict] | None:
    """Find the newest checkpoint of a run that is whole.

    Only files that lie in the folders themselves count, whatever path
    ``last_checkpoint`` names: the folder may be a copy. The newest is that
    of the highest iteration, which each file holds: copies and wrong clocks
    change the times of files. Where a folder has been trained in anew, or
    from an older checkpoint, those of the run before do not count.

    Args:
        work_dir (str or Path): Folder of the run.
        out_dir (str or Path, optional): Where its checkpoints are, if they
            are elsewhere. Defaults to None.

    Returns:
        tuple[Path, dict]: The file and its content, or None if there is no
        checkpoint of the run.

    Raises:
        ConfigError: If there are checkpoints but none is whole, or if they
            are those of several runs and nothing says which one goes on.
    """
    places, damaged = _places(_candidates(work_dir, out_dir))
    run_id = _read_run_id(work_dir)
    owners = {owner for owner, _ in places.values()}
    if run_id is None and len(owners) > 1:
        raise ConfigError(
            f'{work_dir} holds checkpoints of several runs and no '
            f'{RUN_ID}; choose one by `--resume FILE`, or move those of '
            'other runs away'
        )
    if run_id is not None:
        others = sorted(
            path.name for path in places if places[path][0] != run_id
        )
        if others:
            _warn(
                f'{len(others)} checkpoints of an earlier run in {work_dir} '
                f'are left aside ({", ".join(others[:3])}); `--resume FILE` '
                'goes on from one of them'
            )
        places = {k: v for k, v in places.items() if v[0] == run_id}
    for path in sorted(places, key=lambda p: places[p][1], reverse=True):
        try:
            return path, read_checkpoint(path)
        except ConfigError as error:
            damaged.append(path.name)
            _warn(f'{error}; the one before is tried')
    if damaged:
        raise ConfigError(
            f'no checkpoint in {work_dir} is whole ({", ".join(damaged)}); '
            'move them away to start from the beginning, or restore one'
        )
    return None


def newest_iteration(
    work_dir: str | Path, out_dir: str | Path | None = None
) -> int | None:
    """Iteration of the newest checkpoint of a run; sums are not checked.

    Args:
        work_dir (str or Path): Folder of the run.
        out_dir (str or Path, optional): See :func:`find_checkpoint`.
            Defaults to None.

    Returns:
        int: The iteration, None if there is no checkpoint of the run.
    """
    places, _ = _places(_candidates(work_dir, out_dir))
    run_id = _read_run_id(work_dir)
    found = [
        place[0]
        for owner, place in places.values()
        if run_id is None or owner == run_id
    ]
    return max(found, default=None)


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
    except Exception as error:  # a damaged file can cause any
        raise ConfigError(
            f'the checkpoint `{path}` cannot be read ({error})'
        ) from error
    return _content(path)


def write_run_id(work_dir: str | Path, run_id: str | None) -> None:
    """Note that the checkpoints of a run are those that count from now on.

    Args:
        work_dir (str or Path): Folder of the run.
        run_id (str, optional): Its identity, which its checkpoints hold.
            None is that of checkpoints of old versions.
    """
    path = Path(work_dir) / RUN_ID
    if run_id is None:
        path.unlink(missing_ok=True)
    elif _read_run_id(work_dir) != run_id:
        write_whole(path, f'{run_id}\n'.encode())


def _read_run_id(work_dir: str | Path) -> str | None:
    path = Path(work_dir) / RUN_ID
    if not path.is_file():
        return None
    return path.read_text(errors='replace')[:100].strip() or None


def _content(path: str | Path) -> dict[str, Any]:
    try:
        content = safe_files.read_checkpoint(path)
        missing = {'meta', 'state_dict', 'message_hub'} - set(content)
        iteration = None if missing else content['meta'].get('iter')
    except Exception as error:  # a damaged file can cause any
        raise ConfigError(
            f'the checkpoint `{path}` cannot be read ({error})'
        ) from error
    if missing:
        raise ConfigError(
            f'the checkpoint `{path}` cannot be resumed, it has no '
            f'`{min(missing)}`; for its weights alone set `load_from`'
        )
    if not isinstance(iteration, int):
        raise ConfigError(
            f'the checkpoint `{path}` cannot be resumed, it does not say at '
            'which iteration it was written; for its weights alone set '
            '`load_from`'
        )
    return content


def _places(
    paths: Iterable[Path],
) -> tuple[dict[Path, tuple[str | None, _Place]], list[str]]:
    """Run and place in it of each checkpoint, and names of damaged ones."""
    places, damaged = {}, []
    for path in paths:
        try:
            meta = _content(path)['meta']
        except ConfigError as error:
            damaged.append(path.name)
            _warn(f'{error}; it is passed over')
            continue
        owner = (meta.get('run') or {}).get('id')
        # Of two of one iteration that at a signal was written first.
        named = path.name != INTERRUPTED
        places[path] = owner, (meta['iter'], meta.get('epoch') or 0, named)
    return places, damaged


def _candidates(
    work_dir: str | Path, out_dir: str | Path | None
) -> Iterator[Path]:
    """Checkpoints that a run has left behind, in any order."""
    names = {_recorded_name(Path(work_dir))}
    for folder in dict.fromkeys(
        Path(path).absolute() for path in (work_dir, out_dir) if path
    ):
        for path in sorted(folder.glob('*.pth')):
            known = _NAMES.fullmatch(path.name) or path.name in names
            if known and path.is_file():
                yield path


def _recorded_name(work_dir: Path) -> str:
    """Name of the last checkpoint, which another template may have given."""
    try:
        with (work_dir / 'last_checkpoint').open(errors='replace') as file:
            return Path(file.read(10_000).strip()).name
    except OSError:  # there is none, or it is a folder
        return ''


def _warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)
