"""Open a page that shows your images to the teacher and student of a run.

    mmhgkd demo OUT --images PHOTOS

Drop an image on the page, hide parts of it, and see what both make of it,
where the student fails, and which images of a folder it finds most alike. The
page is served to this machine only.
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mmhgkd.utils import ConfigError

from .arguments import Parser, checked, complain


def check(args: argparse.Namespace) -> None:
    """What can be wrong is found before anything slow is imported."""
    for folder in (args.work_dir, args.images):
        if folder is not None and not Path(folder).is_dir():
            raise ConfigError(
                f'there is no folder {folder}; give that of a run of '
                '`mmhgkd distill`, and as --images one of photos'
            )
    if args.checkpoint and not Path(args.checkpoint).is_file():
        raise ConfigError(f'there is no checkpoint {args.checkpoint}')
    if args.max_images < 1:
        raise ConfigError(
            f'--max-images must be at least 1, got {args.max_images}'
        )
    if not 0 <= args.port < 2**16:
        raise ConfigError(f'--port must lie in 0..65535, got {args.port}')


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code."""
    parser = Parser('demo', description=__doc__)
    add = parser.add_argument
    add('work_dir', help='folder of a distillation')
    add('--checkpoint', help='weights; defaults to the latest of the run')
    add('--images', help='folder for examples and nearest neighbors')
    most = 'images of the folder to take, evenly spaced; defaults to 500'
    add('--max-images', type=int, default=500, help=most)
    add('--port', type=int, default=7860)
    args = parser.parse_args(argv)
    if code := checked(lambda: check(args)):
        return code
    print('reading the student and the images ...', flush=True)
    from mmhgkd.report import RunRecord
    from mmhgkd.visualization.explorer import Explorer

    from .demo_server import DemoServer

    try:
        record = RunRecord(args.work_dir)
        explorer = Explorer(
            record, args.checkpoint, args.images, args.max_images
        )
        server = DemoServer(explorer, args.port)
    except ValueError as error:
        return complain(error)
    except OSError as error:
        problem = f'port {args.port} cannot be used ({error})'
        return complain(ConfigError(f'{problem}; pass another one as --port'))
    address = f'http://127.0.0.1:{server.server_port}'
    print(f'open {address} (stop with Ctrl+C)', flush=True)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0
