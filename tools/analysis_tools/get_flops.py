"""Count parameters and multiply-adds of a distillation, dense and sparse."""

import argparse
import sys
from collections.abc import Sequence

from mmengine.config import DictAction
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmhgkd.algorithms import HGKD
from mmhgkd.registry import MODELS
from mmhgkd.report import Complexity, model_complexity, to_markdown
from mmhgkd.runner import command_line
from mmhgkd.utils import ConfigError, load_config
from mmhgkd.visualization.trained_model import image_size, model_settings


def count(
    path: str, shape: Sequence[int] | None = None, options: dict | None = None
) -> list[Complexity]:
    """Count the model of a config, see :func:`model_complexity`.

    No weights are read. ``shape`` is the side of the square, or height and
    width, in pixels; None means the crop of the config.

    Raises:
        ConfigError: If the config holds no distillation.
    """
    config = load_config(path, options)
    init_default_scope(config.get('default_scope') or 'mmpretrain')
    settings = config.get('model') or {}
    if MODELS.get(settings.get('type', '')) is not HGKD:
        raise ConfigError(
            f'{path} holds no mmhgkd.HGKD; for other models '
            "use MMPretrain's tools/analysis_tools/get_flops.py"
        )
    settings = model_settings(config)
    if 'checkpoint' in settings['teacher']:
        settings['teacher'] = {
            **settings['teacher'],
            'checkpoint': None,
            'allow_random': True,
        }
    size = tuple(shape) if shape else image_size(config)
    return model_complexity(MODELS.build(settings), size[0], size[-1])


def print_table(rows: Sequence[Complexity]) -> None:
    """Print the count in millions and billions."""
    table = [
        {
            'part': row.part,
            'parameters M': f'{row.params / 1e6:.2f}',
            'dense GMACs': f'{row.dense / 1e9:.3f}',
            'sparse GMACs': f'{row.sparse / 1e9:.3f}',
            'sparse / dense': f'{row.sparse / max(row.dense, 1):.3f}',
        }
        for row in rows
    ]
    print(to_markdown(table), end='')


def main(argv: Sequence[str] | None = None) -> int:
    """Count; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', help='config file of a distillation')
    sides = "side, or height and width, in pixels; defaults to the config's"
    add('--shape', type=int, nargs='+', help=sides)
    add('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    args = parser.parse_args(argv)
    # The random teacher would list its initial weights.
    MMLogger.get_current_instance().setLevel('WARNING')
    try:
        rows = count(args.config, args.shape, args.cfg_options)
    except (ConfigError, ValueError) as error:
        return command_line.report(error)
    print_table(rows)
    return 0


if __name__ == '__main__':
    sys.exit(main())
