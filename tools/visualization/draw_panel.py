"""Draw what teacher and student of a run see, a row per image."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmhgkd.report import RunRecord
from mmhgkd.runner import command_line
from mmhgkd.utils import ConfigError
from mmhgkd.visualization import save_model_panel
from mmhgkd.visualization.saliency import SOURCES
from mmhgkd.visualization.trained_model import (
    file_inputs,
    image_size,
    load_trained_model,
    run_inputs,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dir', help='work folder of a distillation')
    parser.add_argument(
        'images',
        nargs='*',
        help='image files; without any, images of the evaluation data',
    )
    parser.add_argument(
        '--checkpoint', help='weights; defaults to the latest of the run'
    )
    parser.add_argument(
        '--out', help='file to write; defaults to WORK_DIR/panel.png'
    )
    parser.add_argument(
        '--num-images', type=int, default=4, help='defaults to 4'
    )
    parser.add_argument(
        '--draw', type=int, default=0, help='number of the mask'
    )
    parser.add_argument(
        '--saliency',
        choices=SOURCES,
        help='add the visible units that drive a hidden token',
    )
    args = parser.parse_args(argv)
    try:
        record = RunRecord(args.work_dir)
        model = load_trained_model(record, args.checkpoint)
        if args.images:
            inputs = file_inputs(model, args.images, image_size(record.config))
        else:
            inputs = run_inputs(record, model, args.num_images)
        out = Path(args.out or record.folder / 'panel.png')
        save_model_panel(out, model, inputs, args.draw, args.saliency)
    except (ConfigError, OSError, ValueError) as error:
        return command_line.report(error)
    print(f'{len(inputs)} images drawn to {out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
