"""What ``tools/train.py`` and ``tools/test.py`` have in common."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .cpu_distributed import set_up_cpu_distributed


def add_common_arguments(parser: ArgumentParser) -> None:
    """Add the options that training and testing share."""
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints; defaults to `work_dir` of the '
        'config, else to ./work_dirs/CONFIG_NAME')
    parser.add_argument(
        '--no-pin-memory',
        action='store_true',
        help='do not copy batches to page-locked memory')
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='start the workers of the dataloaders anew in each epoch')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change settings of the config, such as '
        'train_dataloader.batch_size=64; a list is written key="[a,b]"')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what has started the processes of a distributed run')
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=0,
        help='set by some launchers')


def parse_arguments(parser: ArgumentParser,
                    argv: Sequence[str] | None) -> Namespace:
    """Parse the command line, and pass the local rank on to MMEngine."""
    try:
        args = parser.parse_args(argv)
    except ValueError:  # of DictAction
        parser.error('--cfg-options takes items of the form KEY=VALUE')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_common_arguments(cfg: Config, args: Namespace) -> None:
    """Put the options that training and testing share into the config."""
    cfg.launcher = args.launcher
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


def build_runner(cfg: Config) -> Runner:
    """Build the runner that the config asks for."""
    set_up_cpu_distributed(cfg)
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)


def report(error: Exception) -> int:
    """Print an error in one line.

    Returns:
        int: The exit code for it.
    """
    text = str(error)
    if 'DataLoader worker process' in text:
        # PyTorch wraps the message of a worker in the worker's traceback.
        text = text.split(f'{type(error).__name__}: ')[-1]
    print('error:', ' '.join(text.split()), file=sys.stderr)
    return 2
