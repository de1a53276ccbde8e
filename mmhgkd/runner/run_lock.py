import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process

from mmhgkd.utils import RunError

_NAME = '.lock'
_HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def claimed(folder: str | Path) -> Iterator[None]:
    """Keep other runs out of a work folder.

    The lock is one of the system and ends with the process, however that
    ends; processes that it has started do not hold it. File systems without
    locks have none.

    Args:
        folder (str or Path): The work folder.

    Raises:
        RunError: On all ranks, if another run is at work there.
    """
    file, refusal = None, [None]
    if is_main_process():
        try:
            file = _claim(Path(folder))
        except RunError as error:
            refusal = [error]  # type: ignore[list-item]
    broadcast_object_list(refusal)
    if refusal[0] is not None:
        raise refusal[0]
    try:
        yield
    finally:
        if file is not None:
            file.close()


def _claim(folder: Path) -> Any:
    try:
        import fcntl
    except ImportError:  # on Windows
        return None
    file = (folder / _NAME).open('a+')
    try:
        # Other than that of `flock`, no child process inherits this lock: a
        # run can be resumed while the workers of a killed one still end.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read(200).strip() or 'an unknown one'
        file.close()
        if error.errno not in _HELD:
            return None
        raise RunError(
            f'another run is at work in {folder} ({owner}); wait for its '
            'end, or set another `--work-dir`'
        ) from error
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
    file.flush()
    return file
