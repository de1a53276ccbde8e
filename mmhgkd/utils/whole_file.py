import os
import re
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from .errors import RunError

_LEFTOVER = re.compile(r'\..+\.\d+\.partial')


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that it is there as a whole, or as it was before.

    The content goes to a temporary file beside it and reaches the disk
    before the file takes its name, so neither a kill, nor a full disk, nor a
    power cut leaves half a file.
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        with partial.open('wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # A full disk is found by calls that do not know the name.
            error.filename = str(path)
        raise
    if os.name == 'posix':
        # Bring the new name itself to the disk.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_partial_files(folder: str | Path) -> None:
    """Remove what :func:`write_whole` leaves behind when it is killed."""
    for path in Path(folder).glob('.*.partial'):
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


class WholeFileBackend(LocalBackend):
    """Local files that are written as a whole, or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file; a RunError if the disk does not take it."""
        try:
            Path(filepath).parent.mkdir(parents=True, exist_ok=True)
            write_whole(filepath, obj)
        except OSError as error:
            raise RunError(
                f'cannot write {filepath}: {error.strerror}; the checkpoints '
                'before it are whole: free some space, then add --resume'
            ) from error


register_backend('mmhgkd.WholeFileBackend', WholeFileBackend, force=True)
