"""Open a page that shows your images to the teacher and student of a run.

    mmhgkd demo OUT --images PHOTOS

Drop an image on the page, move the mask ratio, and see the tokens of both,
where the student fails, which visible units drive a hidden token, and the
nearest neighbors in a folder. The page is served to this machine only.
"""

from collections.abc import Sequence
from contextlib import suppress

from mmhgkd.utils import ConfigError

from .arguments import Parser, complain


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
    from mmhgkd.report import RunRecord
    from mmhgkd.visualization.explorer import Explorer

    from .demo_server import DemoServer

    try:
        record = RunRecord(args.work_dir)
        print('reading the student and the images ...', flush=True)
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
