from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmhgkd.utils.whole_file import write_whole

from .run_error import RunError


class WholeFileBackend(LocalBackend):
    """Local files that are written as a whole, or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file.

        Raises:
            RunError: If the disk does not take it.
        """
        try:
            Path(filepath).parent.mkdir(parents=True, exist_ok=True)
            write_whole(filepath, obj)
        except OSError as error:
            raise RunError(
                f'cannot write {filepath}: {error.strerror}; the checkpoints '
                'before it are whole: free some space, then add --resume'
            ) from error


register_backend('mmhgkd.WholeFileBackend', WholeFileBackend, force=True)
