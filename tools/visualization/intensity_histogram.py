"""Show the shift of intensities that sparse convolution avoids.

A dense convolution sees the masked image with its holes filled by zeros, a
sparse one the visible positions only. The histograms of pixels and of the
activations of each stage are compared with those of the full images.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmhgkd.report import RunRecord
from mmhgkd.runner import command_line
from mmhgkd.utils import ConfigError
from mmhgkd.visualization import draw_intensities, intensities
from mmhgkd.visualization.trained_model import (
    file_inputs,
    image_size,
    load_trained_model,
    run_inputs,
    set_mask_ratio,
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
        '--out', help='file to write; defaults to WORK_DIR/intensities.png'
    )
    parser.add_argument(
        '--num-images', type=int, default=64, help='defaults to 64'
    )
    parser.add_argument(
        '--mask-ratio', type=float, help="defaults to the run's"
    )
    args = parser.parse_args(argv)
    try:
        record = RunRecord(args.work_dir)
        model = load_trained_model(record, args.checkpoint)
        if args.mask_ratio is not None:
            set_mask_ratio(model, args.mask_ratio)
        if args.images:
            inputs = file_inputs(model, args.images, image_size(record.config))
        else:
            inputs = run_inputs(record, model, args.num_images)
        histograms = intensities(model, inputs)
        out = Path(args.out or record.folder / 'intensities.png')
        out.parent.mkdir(parents=True, exist_ok=True)
        draw_intensities(histograms).savefig(out, dpi=150)
    except (ConfigError, OSError, ValueError) as error:
        return command_line.report(error)
    print('shift of the distribution against full images (total variation)')
    print(f'{"":8}   dense  sparse')
    for histogram in histograms:
        print(
            f'{histogram.name:8}  {histogram.shift["zero_filled"]:6.3f}  '
            f'{histogram.shift["sparse"]:6.3f}'
        )
    print(f'drawn to {out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
