from mmhgkd.utils.safe_files import safe_loading

from .find_checkpoint import find_checkpoint
from .resumable_loops import ResumableEpochLoop, ResumableIterLoop
from .resumable_runner import ResumableRunner
from .without_gpu import fall_back_to_full_precision

__all__ = [
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'ResumableRunner',
    'fall_back_to_full_precision',
    'find_checkpoint',
    'safe_loading',
]
