"""Trainings whose log goes to a file."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger

from mmhgkd.runner import (
    command_line,
    fall_back_to_full_precision,
    find_checkpoint,
)
from mmhgkd.utils import RunError, preflight

from .quiet_runner import QuietRunner
from .results import drop_checkpoints, keep_weights


def train_aside(cfg: Config, out: Path, progress: bool) -> None:
    """Train in a folder of its own, or go on there, and keep the weights.

    Args:
        cfg (Config): Of the run.
        out (Path): File for the weights, in the folder of the run.
        progress (bool): Whether to show how far it is.
    """
    cfg.resume = 'auto'
    with quiet():
        train(cfg, progress)
    keep_weights(last_checkpoint(out.parent), out)
    drop_checkpoints(out)


def train(cfg: Config, progress: bool) -> None:
    """Train.

    Args:
        cfg (Config): Of the run.
        progress (bool): Whether to show how far it is.
    """
    if progress:
        cfg.custom_hooks = [
            *(cfg.get('custom_hooks') or []),
            dict(type='mmhgkd.ProgressHook', plain=True),
        ]
    fall_back_to_full_precision(cfg)
    preflight.check_config(cfg, ('train_dataloader',))
    command_line.build_runner(cfg, QuietRunner).train()


def last_checkpoint(folder: Path) -> Path:
    """The newest checkpoint of a run, in its own folder.

    Raises:
        RunError: If there is none.
    """
    found = find_checkpoint(folder)
    if found is None:
        raise RunError(
            f'{folder} holds no checkpoint of its run any more; train again '
            'with another `out`'
        )
    return found[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Send all but errors to the log of the run."""
    logging.captureWarnings(True)
    current = MMLogger.get_current_instance()
    for handler in current.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.ERROR)
    logger = logging.getLogger('py.warnings')
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    try:
        yield
    finally:
        logging.captureWarnings(False)
