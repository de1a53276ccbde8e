r"""Export the student of a checkpoint to another library, and verify it.

For example

    python tools/model_converters/export_student.py epoch_300.pth r50.pth \
        --layout torchvision
    python tools/model_converters/export_student.py epoch_300.pth \
        r50.safetensors --layout timm
    python tools/model_converters/export_student.py epoch_300.pth r50.onnx
"""

import argparse
import sys
from collections.abc import Sequence

from mmhgkd.runner import command_line
from mmhgkd.transfer.converters import LAYOUTS, export_student
from mmhgkd.utils import load_config


def main(argv: Sequence[str] | None = None) -> int:
    """Export; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'checkpoint', help='of a distillation, or of a downstream task'
    )
    parser.add_argument(
        'out', help='file to write: .pth, .safetensors or .onnx'
    )
    parser.add_argument(
        '--layout',
        choices=list(LAYOUTS),
        help='whose names the weights get; defaults to mmpretrain',
    )
    parser.add_argument(
        '--config',
        help='config of the training; defaults to the one in the checkpoint',
    )
    parser.add_argument(
        '--no-head',
        action='store_true',
        help='leave the head of a classifier out',
    )
    args = parser.parse_args(argv)
    try:
        config = load_config(args.config) if args.config else None
        export = export_student(
            args.checkpoint, args.out, args.layout, config, not args.no_head
        )
    except (OSError, ValueError) as error:
        return command_line.report(error)
    print(f'{export.network}: {export.tensors} tensors written to {args.out}')
    for name, difference in export.differences.items():
        print(
            f'largest difference of the {name} to the student: '
            f'{difference:.1e}'
        )
    print(f'\n{export.usage}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
