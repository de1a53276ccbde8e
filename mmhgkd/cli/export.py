r"""Export the model of a checkpoint to another library, and verify it.

For example

    mmhgkd export out/student.pth r50.pth --to torchvision
    mmhgkd export out/student.pth --to timm
    mmhgkd export work_dirs/mask-rcnn/epoch_12.pth --to onnx
    mmhgkd export out/classifier.pth --to onnx --int8 photos
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmhgkd.catalog import config_path
from mmhgkd.utils import ConfigError

from .arguments import Parser, checked, complain

LAYOUTS = ('mmpretrain', 'mmdet', 'mmseg', 'torchvision', 'timm')
#: End of the name of a file that is not named, by what is written.
SUFFIXES = {
    'onnx': '.onnx',
    'openvino': '.xml',
    'timm': '_timm.safetensors',
    **{name: f'_{name}.pth' for name in LAYOUTS if name != 'timm'},
}
_GRAPHS = {'.onnx': 'onnx', '.xml': 'openvino'}


def main(argv: Sequence[str] | None = None) -> int:
    """Export; returns the exit code."""
    parser = Parser('export', description=__doc__)
    add = parser.add_argument
    add('checkpoint', help='of a distillation, or of a downstream task')
    file = 'file to write; defaults to the checkpoint with another end'
    add('out', nargs='?', help=file)
    kind = 'what to write; defaults to what the end of the file says'
    add('--to', '--layout', choices=tuple(SUFFIXES), help=kind)
    add('--config', help='of the training; defaults to the one stored')
    headless = 'leave all but the backbone out'
    add('--no-head', action='store_true', help=headless)
    graphs = parser.add_argument_group('graphs (onnx, openvino)')
    add = graphs.add_argument
    add('--opset', type=int, help="version of ONNX's operators (17)")
    add('--half', action='store_true', help='layers compute in fp16')
    int8 = 'layers compute in int8, with the ranges on the photos of a folder'
    add('--int8', metavar='FOLDER', help=int8)
    args = parser.parse_args(argv)
    if args.out is None and args.to is None:
        parser.error('say what to write: a file, or `--to onnx`')
    if args.config and (code := checked(lambda: config_path(args.config))):
        return code
    try:
        args.to, args.out = _target(args)
        is_file = Path(args.checkpoint).is_file()
        if not is_file and '://' not in args.checkpoint:
            raise ConfigError(
                f'{args.checkpoint}: no such file; give a checkpoint such as '
                'OUT/student.pth'
            )
        is_graph = args.to in _GRAPHS.values()
        print('\n'.join(_write_graph(args) if is_graph else _write(args)))
    except (OSError, ValueError) as error:
        return complain(error)
    return 0


def _target(args: argparse.Namespace) -> tuple[str | None, str]:
    """What to write, and where to."""
    to, out = args.to, args.out
    if args.half and args.int8 is not None:
        raise ConfigError(
            'a graph computes in fp16 or in int8: leave out `--half` or '
            '`--int8`'
        )
    if out is None:
        source = Path(args.checkpoint)
        return to, str(source.with_name(source.stem + SUFFIXES[to]))
    graph = _GRAPHS.get(Path(out).suffix)
    if to is None:
        to = graph
    if to != graph and (graph or to in _GRAPHS.values()):
        end = SUFFIXES[to] if to in _GRAPHS.values() else '.pth'
        raise ConfigError(
            f'{out}: `--to {to}` writes files that end in {end}; give the '
            'file another name, or leave `--to` out'
        )
    for name in ('opset', 'half', 'int8'):
        if to not in _GRAPHS.values() and getattr(args, name):
            raise ConfigError(
                f'`--{name}` is an option of graphs: leave it out, or write '
                'one with `--to onnx`'
            )
    return to, out


def _config(args: argparse.Namespace) -> Any:
    from mmhgkd.utils import load_config

    return load_config(str(config_path(args.config))) if args.config else None


def _write_graph(args: argparse.Namespace) -> list[str]:
    """Write a graph; returns what to say about it."""
    from mmhgkd.deploy import OPSET, describe, export_onnx

    export = export_onnx(
        args.checkpoint,
        args.out,
        _config(args),
        not args.no_head,
        OPSET if args.opset is None else args.opset,
        args.half,
        args.int8,
    )
    return describe(export)


def _write(args: argparse.Namespace) -> list[str]:
    """Write weights for a library; returns what to say about it."""
    from mmhgkd.transfer.converters import export_student

    config, with_head = _config(args), not args.no_head
    export = export_student(
        args.checkpoint, args.out, args.to, config, with_head
    )
    lines = [
        f'{export.network}: {export.tensors} tensors written to {args.out}'
    ]
    lines += [
        f'largest difference of the {name} to the student: {value:.1e}'
        for name, value in export.differences.items()
    ]
    lines += [
        f'{name}: {value}' for name, value in export.preprocessing.items()
    ]
    return [*lines, '', export.usage]
