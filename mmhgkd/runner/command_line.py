"""What the commands that run a config have in common."""

import errno
import logging
import os
import re
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import distributed

# Before a registry imports the data sets of MMPretrain, which speak then.
import mmhgkd.datasets  # noqa: F401
from mmhgkd.utils import ConfigError, RunError, RunStopped
from mmhgkd.utils.build_errors import building, check_type, clear_build_errors
from mmhgkd.utils.safe_files import safe_loading

from .empty_words import without_empty_warnings
from .resumable_runner import ResumableRunner
from .without_gpu import leave_gpu_settings_out, set_up_cpu_distributed

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_DENIED = (errno.EACCES, errno.EPERM)
_LOST_PROCESS = re.compile(
    r'Connection (closed|reset)|Broken pipe|gloo.*([Tt]imed out|Timeout)|'
    r'NCCL.*(error|abort)|Socket Timeout',
    re.DOTALL,
)
_TIMED_OUT = re.compile(r'[Tt]ime(d |-)?out')


def merge_common_arguments(cfg: Config, args: Namespace) -> None:
    """Put the options that training and testing share into the config."""
    cfg.launcher = args.launcher or cfg.get('launcher') or 'none'
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('./work_dirs', Path(args.config).stem)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataloader = cfg.get(name)
        if dataloader is None:
            continue
        if cfg.get('default_scope') == 'mmpretrain':
            # MMPretrain's configs rely on its tools for these.
            dataloader.setdefault('pin_memory', True)
            dataloader.setdefault('persistent_workers', True)
            dataloader.setdefault('collate_fn', dict(type='default_collate'))
        if args.no_pin_memory:
            dataloader.pin_memory = False
        if args.no_persistent_workers or not dataloader.get('num_workers'):
            # PyTorch refuses persistent workers where there are none.
            dataloader.persistent_workers = False


def takes_auto_resume(cfg: Config) -> bool:
    """Whether the runner of the config knows ``resume='auto'``."""
    return issubclass(_runner_type(cfg), ResumableRunner)


def build_runner(cfg: Config, kind: type[Runner] | None = None) -> Runner:
    """Build the runner that the config asks for.

    Args:
        cfg (Config): The final config; changed in place.
        kind (type, optional): The runner to build instead. Defaults to None.
    """
    leave_gpu_settings_out(cfg)
    set_up_cpu_distributed(cfg)
    _make_work_dir(cfg)
    kind = kind or _runner_type(cfg)
    with building(kind.__name__):
        return kind.from_cfg(cfg)


def _make_work_dir(cfg: Config) -> None:
    folder = cfg.get('work_dir')
    if not folder:
        return
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f'the work folder `{folder}` cannot be made ({error.strerror}); '
            'set `--work-dir` to a folder that you can write to'
        ) from error


def _runner_type(cfg: Config) -> type[Runner]:
    kind = cfg.get('runner_type', ResumableRunner)
    if isinstance(kind, str):
        check_type(RUNNERS, kind, None)
        kind = RUNNERS.get(kind)
    if not (isinstance(kind, type) and issubclass(kind, Runner)):
        raise ConfigError(f'`runner_type` must be a runner, got {kind!r}')
    return kind


def run_tool(body: Callable[[], None]) -> int:
    """Run a tool, and report in one line what its user can mend.

    The process group is left in any case: its threads would abort the
    interpreter at its end.

    Args:
        body (Callable): What the tool does.

    Returns:
        int: The exit code: 0; 2 for what has to be mended in config, options
        or data; 3 for a run that can be resumed once the cause is gone; 75
        for one that a signal has stopped and that can be resumed at once;
        130 for one that Ctrl-C has ended before there was anything to save.
    """
    try:
        with (
            without_empty_warnings(),
            safe_loading(),
            clear_build_errors(),
        ):
            body()
    except Exception as error:
        fault = _mendable(error)
        if fault is None:
            raise
        # One line is for users; who writes a part of their own wants more.
        print_log(traceback.format_exc(), 'current', logging.DEBUG)
        return report(fault)
    except KeyboardInterrupt:
        # In training it is heeded by StopOnSignalHook.
        report(RunError('ended by Ctrl-C outside of the training'))
        return 130
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    return 0


def _mendable(error: Exception) -> Exception | None:
    """What to tell the user, None for what looks like a bug."""
    # What fails while a part is built may be no fault of its config.
    cause = error.__cause__ if isinstance(error, ConfigError) else error
    if isinstance(cause, OSError) and cause.errno in _DISK_FULL:
        return RunError(
            f'cannot write {cause.filename or "a file"}: {cause.strerror}; '
            'the last checkpoint is whole: free some space, then add --resume'
        )
    if isinstance(cause, OSError) and cause.errno in _DENIED:
        return RunError(
            f'cannot open {cause.filename or "a file"}: {cause.strerror}; '
            'mend its permissions or those of its folder, then add --resume'
        )
    if isinstance(cause, distributed.DistError) and 'EADDRINUSE' in str(cause):
        return ConfigError(
            f'the port {os.environ.get("MASTER_PORT")} is in use, maybe by '
            'another run; set PORT to another one'
        )
    if isinstance(cause, distributed.DistError) or (
        isinstance(cause, RuntimeError)
        and not isinstance(cause, RunError)
        and distributed.is_initialized()
        and _LOST_PROCESS.search(str(cause))
    ):
        text = str(cause).splitlines()[0]
        if _TIMED_OUT.search(text):
            return RunError(
                'another process of this run has not answered in time '
                f'({text}); see whether it has been stopped or hangs, and '
                'end it, then add --resume; how long to wait is set by '
                '`env_cfg.dist_cfg.timeout`'
            )
        return RunError(
            f'another process of this run is lost: {text}; see its message, '
            'then add --resume'
        )
    mendable = isinstance(error, (ConfigError, FloatingPointError, RunError))
    return error if mendable else None


def report(error: Exception) -> int:
    """Print an error in one line.

    Returns:
        int: The exit code for it.
    """
    text = str(error)
    if 'DataLoader worker process' in text:
        # PyTorch wraps the message of a worker in the worker's traceback.
        text = text.split(f'{type(error).__name__}: ')[-1]
    if get_rank() == 0 or not isinstance(error, RunStopped):
        with suppress(OSError):
            print('error:', ' '.join(text.split()), file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # The output lies on the full disk too. What is left of it would
            # fail again at the end, and change the exit code.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return getattr(error, 'exit_code', 2)
