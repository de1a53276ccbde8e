r"""Export the student of a checkpoint to another library, and verify it.

For example

    mmhgkd export out/student.pth r50.pth --layout torchvision
    mmhgkd export out/student.pth r50.safetensors --layout timm
    mmhgkd export out/student.pth r50.onnx
"""

from collections.abc import Sequence

from mmhgkd.catalog import config_path

from .arguments import Parser, checked, complain

LAYOUTS = ('mmpretrain', 'mmdet', 'mmseg', 'torchvision', 'timm')


def main(argv: Sequence[str] | None = None) -> int:
    """Export; returns the exit code."""
    parser = Parser('export', description=__doc__)
    add = parser.add_argument
    add('checkpoint', help='of a distillation, or of a downstream task')
    add('out', help='file to write: .pth, .safetensors or .onnx')
    names = 'whose names the weights get; defaults to mmpretrain'
    add('--layout', choices=LAYOUTS, help=names)
    add('--config', help='of the training; defaults to the one stored')
    headless = 'leave the head of a classifier out'
    add('--no-head', action='store_true', help=headless)
    args = parser.parse_args(argv)
    if args.config and (code := checked(lambda: config_path(args.config))):
        return code
    from mmhgkd.transfer.converters import export_student
    from mmhgkd.utils import load_config

    try:
        config = None
        if args.config:
            config = load_config(str(config_path(args.config)))
        export = export_student(
            args.checkpoint, args.out, args.layout, config, not args.no_head
        )
    except (OSError, ValueError) as error:
        return complain(error)
    print(f'{export.network}: {export.tensors} tensors written to {args.out}')
    for name, difference in export.differences.items():
        text = f'largest difference of the {name} to the student'
        print(f'{text}: {difference:.1e}')
    print(f'\n{export.usage}')
    return 0
