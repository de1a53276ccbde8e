"""The command ``mmhgkd``."""

import sys
from collections.abc import Sequence
from importlib import import_module

from mmhgkd.catalog import suggest
from mmhgkd.version import __version__

COMMANDS = {
    'distill': 'a student from a folder of photos, in one command',
    'evaluate': 'what a student knows, by kNN and a linear probe',
    'export': 'a student for torchvision, timm, ONNX or OpenMMLab',
    'report': 'a run as one HTML file',
    'demo': 'a page that shows your images to teacher and student',
    'train': 'a run of a config: pre-training or a downstream task',
    'test': 'a checkpoint by a config of a downstream task',
    'configs': 'the configs there are',
    'students': 'the students there are',
    'teachers': 'the teachers there are, and which are on this machine',
    'doctor': 'what is installed, what is missing, and the mend',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code.

    Nothing that takes time is imported before it is needed.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ('-h', '--help', 'help'):
        print(_help())
        return 0
    if words[0] in ('-V', '--version'):
        print(f'mmhgkd {__version__}')
        return 0
    name, *rest = words
    if name not in COMMANDS:
        print(
            f'error: there is no command {name!r}{suggest(name, COMMANDS)}; '
            '`mmhgkd --help` lists them',
            file=sys.stderr,
        )
        return 2
    try:
        command = import_module(f'mmhgkd.cli.{name}')
        return command.main(rest)
    except ImportError as error:
        if 'libGL' not in str(error) and 'libgthread' not in str(error):
            raise
        print(
            f'error: OpenCV cannot be imported ({error}); `mmhgkd doctor` '
            'says how to mend that',
            file=sys.stderr,
        )
        return 2


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f'  {name:{width}}  {text}' for name, text in COMMANDS.items()]
    return (
        'usage: mmhgkd COMMAND ...\n\n'
        'A small CNN for your task, from your photos without labels and a '
        'large Vision\nTransformer that teaches it.\n\n'
        + '\n'.join(lines)
        + '\n\nBegin with `mmhgkd distill PHOTOS --out OUT`. '
        '`mmhgkd COMMAND --help` says more.'
    )
