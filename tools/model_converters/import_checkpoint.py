r"""Write a published checkpoint in the layout of MMPretrain.

SparK's become students, and MAE's and BEiT's, which serve as teachers as they
are, backbones of MMPretrain:

    python tools/model_converters/import_checkpoint.py \
        resnet50_1kpretrained_timm_style.pth spark_r50.pth
"""

import argparse
import sys
from collections.abc import Sequence

from mmhgkd.runner import command_line
from mmhgkd.transfer.converters import import_checkpoint


def main(argv: Sequence[str] | None = None) -> int:
    """Import; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('source', help='checkpoint of SparK, facebookresearch/mae or unilm')
    add('out', help='file to write: .pth')
    heads = 'heads of a ViT whose size is none of the published ones'
    add('--num-heads', type=int, help=heads)
    args = parser.parse_args(argv)
    try:
        found = import_checkpoint(args.source, args.out, args.num_heads)
    except (OSError, ValueError) as error:
        return command_line.report(error)
    print(
        f'{found.tensors} tensors of a {found.backbone["type"]} written to '
        f'{args.out}, read back and equal'
    )
    if found.absent:
        print(f'not in the checkpoint: {", ".join(found.absent)}')
    print(f'\n{found.usage}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
