import os
import re
from pathlib import Path

_LEFTOVER = re.compile(r'\..+\.\d+\.partial')


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that it is there as a whole, or as it was before.

    The content goes to a temporary file beside it and reaches the disk
    before the file takes its name, so neither a kill, nor a full disk, nor a
    power cut leaves half a file.

    Args:
        path (str or Path): The file.
        content (bytes): Its content.

    Raises:
        OSError: If it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        with partial.open('wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_partial_files(folder: str | Path) -> None:
    """Remove what :func:`write_whole` leaves behind when it is killed."""
    for path in Path(folder).glob('.*.partial'):
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring the new name itself to the disk."""
    if os.name != 'posix':
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
