"""Train the model of a config: pre-training or a downstream task."""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mmhgkd.catalog import config_path
from mmhgkd.utils import ConfigError

from .arguments import (
    Parser,
    add_common_arguments,
    checked,
    heed_launcher,
    parse_run,
)

if TYPE_CHECKING:
    from mmengine.config import Config

REQUIRED = ('train_dataloader', 'train_cfg', 'optim_wrapper')
#: Type of the backend and the package that it needs.
LOGS = {
    'tensorboard': ('TensorboardVisBackend', 'tensorboard'),
    'wandb': ('WandbVisBackend', 'wandb'),
}
FLAGS = {
    '--amp': 'train with mixed precision',
    '--no-validate': 'do not evaluate during training',
    '--auto-scale-lr': 'scale the learning rate by the ratio of the actual '
    'total batch size to `auto_scale_lr.base_batch_size` of the config',
    '--progress': 'show a bar with images/s, memory and the time left',
}
WITH_DATASETS = (
    'train_dataloader',
    'train_cfg',
    'val_dataloader',
    'val_cfg',
    'custom_hooks',
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser('train', description=__doc__)
    config = 'name, as `mmhgkd configs` lists them, or file'
    parser.add_argument('config', help=config)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from a checkpoint, without one from the latest in the '
        'work folder',
    )
    for flag, text in FLAGS.items():
        parser.add_argument(flag, action='store_true', help=text)
    parser.add_argument(
        '--log-to',
        nargs='+',
        choices=list(LOGS),
        default=[],
        help='log to these too, besides the text and JSON files',
    )
    length = 'length of the training; the schedules follow'
    parser.add_argument('--epochs', type=int, help=length)
    size = 'images of a batch; the learning rate follows'
    parser.add_argument('--batch-size', type=int, help=size)
    parser.add_argument('--data', metavar='FOLDER', help='the images')
    teacher = 'checkpoint of the teacher'
    parser.add_argument('--teacher', metavar='FILE', help=teacher)
    add_common_arguments(parser)
    return parse_run(parser, argv)


def merge_args(cfg: 'Config', args: argparse.Namespace) -> None:
    """Put the command line options into the config."""
    from mmhgkd.runner import command_line, fall_back_to_full_precision

    set_shortcuts(cfg, args)
    command_line.merge_common_arguments(cfg, args)
    if args.no_validate:
        cfg.val_cfg = None
        cfg.val_dataloader = None
        cfg.val_evaluator = None
        checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
        checkpoint.pop('save_best', None)
    if args.amp:
        set_mixed_precision(cfg)
    else:
        fall_back_to_full_precision(cfg)
    if args.resume == 'auto' and command_line.takes_auto_resume(cfg):
        # Keeps `load_from` for a run that has no checkpoint yet.
        cfg.resume = 'auto'
    elif args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.progress:
        cfg.custom_hooks = [
            *(cfg.get('custom_hooks') or []),
            dict(type='mmhgkd.ProgressHook'),
        ]
    for name in args.log_to:
        add_log(cfg, name)
    if args.auto_scale_lr:
        cfg.auto_scale_lr = {
            **(cfg.get('auto_scale_lr') or {}),
            'enable': True,
        }


def set_mixed_precision(cfg: 'Config') -> None:
    """Train with mixed precision, of the kind of the config if it has one.

    Without a GPU it is the one kind that a CPU has.
    """
    from mmengine.device import get_device
    from mmengine.optim import AmpOptimWrapper
    from mmengine.registry import OPTIM_WRAPPERS

    from mmhgkd.runner.without_gpu import leave_precision_options_out
    from mmhgkd.utils import preflight
    from mmhgkd.utils.find_type import find_type

    wrapper = cfg.optim_wrapper
    if get_device() == 'cpu' and not preflight.computes_bfloat16(cfg):
        wrapper.type = f'mmhgkd.{preflight.BFLOAT16}'
        leave_precision_options_out(wrapper)
    elif not preflight.is_mixed_precision(cfg):
        wrapper.type = 'AmpOptimWrapper'
    scope = cfg.get('default_scope')
    if find_type(OPTIM_WRAPPERS, wrapper.type, scope) is AmpOptimWrapper:
        wrapper.setdefault('loss_scale', 'dynamic')


def set_shortcuts(cfg: 'Config', args: argparse.Namespace) -> None:
    """Change what belongs together."""
    from mmhgkd.utils import shortcuts

    if args.data is not None:
        shortcuts.set_data(cfg, args.data)
    if args.teacher is not None:
        shortcuts.set_teacher(cfg, args.teacher)
    if args.epochs is not None:
        shortcuts.set_epochs(cfg, args.epochs)
    if args.batch_size is not None:
        optimizer = cfg.optim_wrapper.optimizer
        rate = optimizer.get('lr')
        shortcuts.set_batch_size(cfg, args.batch_size)
        if 'optim_wrapper.optimizer.lr' in (args.cfg_options or {}):
            optimizer.lr = rate  # it was chosen for this size


def add_log(cfg: 'Config', name: str) -> None:
    """Log to TensorBoard or Weights & Biases too."""
    from mmengine.registry import VISBACKENDS

    from mmhgkd.utils.find_type import find_type

    backend, package = LOGS[name]
    if find_spec(package) is None:
        raise ConfigError(
            f'--log-to {name} needs the package {package}; run '
            '`pip install "mmhgkd[log]"`'
        )
    if cfg.get('visualizer') is None:
        cfg.visualizer = dict(type='Visualizer')
    backends = cfg.visualizer.get('vis_backends') or [
        dict(type='LocalVisBackend')
    ]
    scope = cfg.get('default_scope')
    kinds = {find_type(VISBACKENDS, item['type'], scope) for item in backends}
    if find_type(VISBACKENDS, backend, scope) not in kinds:
        cfg.visualizer.vis_backends = [*backends, dict(type=backend)]


def main(argv: Sequence[str] | None = None) -> int:
    """Train; returns the exit code, see :func:`command_line.run_tool`."""
    heed_launcher()
    args = parse_args(argv)
    if code := checked(lambda: config_path(args.config)):
        return code
    from mmhgkd.runner import command_line
    from mmhgkd.utils import load_config, preflight

    def train() -> None:
        cfg = load_config(str(config_path(args.config)), args.cfg_options)
        preflight.require(cfg, REQUIRED)
        merge_args(cfg, args)
        preflight.check_config(cfg, WITH_DATASETS)
        command_line.build_runner(cfg).train()

    return command_line.run_tool(train)
