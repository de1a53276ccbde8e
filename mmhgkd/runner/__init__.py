from .find_checkpoint import find_checkpoint
from .resumable_epoch_loop import ResumableEpochLoop
from .resumable_iter_loop import ResumableIterLoop
from .resumable_runner import ResumableRunner
from .run_error import RunError
from .run_stopped import RunStopped
from .safe_loading import safe_loading

__all__ = [
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'ResumableRunner',
    'RunError',
    'RunStopped',
    'find_checkpoint',
    'safe_loading',
]
