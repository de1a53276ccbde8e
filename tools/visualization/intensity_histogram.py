"""Show the shift of intensities that sparse convolution avoids.

A dense convolution sees the masked image with its holes filled by zeros, a
sparse one the visible positions only. The histograms of pixels and of the
activations of each stage are compared with those of the full images.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from mmhgkd.runner import command_line
from mmhgkd.visualization import draw_intensities, intensities, trained_model


def main(argv: Sequence[str] | None = None) -> int:
    """Draw; returns the exit code."""
    parser = trained_model.run_parser(__doc__, 'intensities.png', 64)
    ratio = "defaults to the run's"
    parser.add_argument('--mask-ratio', type=float, help=ratio)
    args = parser.parse_args(argv)
    try:
        model, inputs = trained_model.open_run(args)
        if args.mask_ratio is not None:
            trained_model.set_mask_ratio(model, args.mask_ratio)
        histograms = intensities(model, inputs)
        out = Path(args.out or Path(args.work_dir) / 'intensities.png')
        out.parent.mkdir(parents=True, exist_ok=True)
        draw_intensities(histograms).savefig(out, dpi=150)
    except (OSError, ValueError) as error:
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
