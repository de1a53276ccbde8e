"""Lines of the libraries below that tell a user nothing to do or to know."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import MMLogger

#: Parts of lines of the log.
_LOGGED = (
    # Classes that MMEngine's own hooks use.
    '"FileClient" will be',
    '"HardDiskBackend" is the alias',
    # Layers that a head of MMDetection shares among its levels.
    'is duplicate. It is skipped since bypass_duplicate=True',
    # A metric whose names are as the config wants them.
    'The prefix is not set in metric class',
    # Functions are MMEngine's in any scope.
    'in the "function" registry tree',
)
#: Beginnings of warnings, as regular expressions.
_WARNED = (
    # A default that was changed years ago.
    r'In MMCV v1\.4\.4, we modified the default value',
    # Another metric than the one that the configs take.
    r'faster_coco_eval is not installed',
    # Settings that have the value that the configs ask for.
    r'Default ``avg_non_ignore`` is False',
    r'The draw is False',
    # Between the libraries.
    r'torch\.meshgrid: in an upcoming release',
)


def is_for_users(record: logging.LogRecord) -> bool:
    """Whether a line of the log tells something."""
    text = str(record.msg)
    return not any(words in text for words in _LOGGED)


@contextmanager
def without_empty_warnings() -> Iterator[None]:
    """Leave out the warnings that tell nothing."""
    with warnings.catch_warnings():
        for words in _WARNED:
            warnings.filterwarnings('ignore', words)
        yield


@contextmanager
def without_weights_told() -> Iterator[None]:
    """Leave out what MMEngine logs about how each weight is drawn."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        yield
    finally:
        logger.setLevel(level)
