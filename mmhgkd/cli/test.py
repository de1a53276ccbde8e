"""Test a checkpoint of a downstream task."""

import argparse
from collections.abc import Sequence
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

REQUIRED = ('test_dataloader', 'test_cfg', 'test_evaluator')
FLAGS = {
    '--amp': 'test with mixed precision',
    '--show': 'show predictions in a window',
    '--tta': 'test with `tta_model` and `tta_pipeline` of the config',
}
WITH_DATASETS = ('test_dataloader', 'test_cfg')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser('test', description=__doc__)
    add = parser.add_argument
    add('config', help='name, as `mmhgkd configs` lists them, or file')
    add('checkpoint', help='checkpoint file')
    add('--out', help='file for the predictions (.pkl) or the metrics')
    kinds, kind = ['metrics', 'pred'], 'what to write to --out'
    add('--out-item', choices=kinds, default='pred', help=kind)
    add('--show-dir', help='folder for images with predictions')
    for flag, text in FLAGS.items():
        add(flag, action='store_true', help=text)
    every = 'draw every n-th sample; defaults to 1'
    add('--interval', type=int, default=1, help=every)
    seconds = 'seconds to show an image; defaults to 2'
    add('--wait-time', type=float, default=2, help=seconds)
    add_common_arguments(parser)
    return parse_run(parser, argv)


def merge_args(cfg: 'Config', args: argparse.Namespace) -> None:
    """Put the command line options into the config."""
    from mmhgkd.runner import command_line

    command_line.merge_common_arguments(cfg, args)
    cfg.load_from = args.checkpoint
    predictions = args.out if args.out_item == 'pred' else None
    if predictions and not predictions.endswith(('.pkl', '.pickle')):
        raise ConfigError(
            f'--out {args.out}: predictions are written to a '
            '.pkl file; for metrics add `--out-item metrics`'
        )
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.show or args.show_dir:
        set_visualization(cfg, args)
    if args.tta:
        set_test_time_augmentation(cfg)


def set_visualization(cfg: 'Config', args: argparse.Namespace) -> None:
    """Switch the visualization hook of the config on."""
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise ConfigError(
            '--show and --show-dir need '
            '`default_hooks.visualization` in the config'
        )
    hook.update(show=args.show, wait_time=args.wait_time)
    hook.interval = args.interval
    scope = cfg.get('default_scope')
    if scope == 'mmdet':
        hook.update(draw=True, test_out_dir=args.show_dir)
    elif scope == 'mmseg':
        hook.draw = True
        if args.show_dir:
            cfg.visualizer.save_dir = args.show_dir
    else:
        hook.update(enable=True, out_dir=args.show_dir)


def set_test_time_augmentation(cfg: 'Config') -> None:
    """Replace the model and the test pipeline by the augmented ones."""
    for name in ('tta_model', 'tta_pipeline'):
        if name not in cfg:
            raise ConfigError(f'--tta needs `{name}` in the config')
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline


def main(argv: Sequence[str] | None = None) -> int:
    """Test; returns the exit code, see :func:`command_line.run_tool`."""
    heed_launcher()
    args = parse_args(argv)
    if code := checked(lambda: config_path(args.config)):
        return code
    import mmengine
    from mmengine.dist import is_main_process
    from mmengine.registry import METRICS

    from mmhgkd.runner import command_line
    from mmhgkd.utils import load_config, preflight

    def test() -> None:
        cfg = load_config(str(config_path(args.config)), args.cfg_options)
        preflight.require(cfg, REQUIRED)
        merge_args(cfg, args)
        preflight.check_config(cfg, WITH_DATASETS)
        runner = command_line.build_runner(cfg)
        if args.out and args.out_item == 'pred':
            # MMDetection's metric stores masks in a compressed form.
            kind = 'mmengine.DumpResults'
            if cfg.get('default_scope') == 'mmdet':
                kind = 'mmdet.DumpDetResults'
            runner.test_evaluator.metrics.append(
                METRICS.build(dict(type=kind, out_file_path=args.out))
            )
        metrics = runner.test()
        if args.out and args.out_item == 'metrics' and is_main_process():
            mmengine.dump(metrics, args.out)

    return command_line.run_tool(test)
