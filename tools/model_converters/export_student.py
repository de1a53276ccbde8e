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
    add = parser.add_argument
    add('checkpoint', help='of a distillation, or of a downstream task')
    add('out', help='file to write: .pth, .safetensors or .onnx')
    names = 'whose names the weights get; defaults to mmpretrain'
    add('--layout', choices=list(LAYOUTS), help=names)
    add('--config', help='of the training; defaults to the one stored')
    headless = 'leave the head of a classifier out'
    add('--no-head', action='store_true', help=headless)
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
        text = f'largest difference of the {name} to the student'
        print(f'{text}: {difference:.1e}')
    print(f'\n{export.usage}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
