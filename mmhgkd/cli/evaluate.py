"""What a student knows about photos, beside its teacher.

    mmhgkd evaluate out/ --images photos/

With one folder a class: the accuracy of kNN and of a linear probe on frozen
features. Without: how many of the teacher's nearest neighbors it finds.
"""

from collections.abc import Sequence
from pathlib import Path

from mmhgkd.catalog import check_numbers, find_photos
from mmhgkd.utils import ConfigError

from .arguments import Parser, checked, quiet_import
from .distill import show_metrics


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate; returns the exit code."""
    parser = Parser('evaluate', description=__doc__)
    add = parser.add_argument
    add('folder', help='of a distillation')
    add('--images', required=True, help='folder of photos')
    add('--checkpoint', help='weights; defaults to the latest of the run')
    add('--workers', type=int, default=1, help='processes that load photos')
    args = parser.parse_args(argv)

    def check() -> None:
        check_numbers(dict(workers=args.workers), as_flags=True)
        if args.checkpoint and not Path(args.checkpoint).is_file():
            raise ConfigError(f'there is no checkpoint {args.checkpoint}')
        args.photos = find_photos(args.images, without=args.folder)
        if not Path(args.folder).is_dir():
            raise ConfigError(
                f'there is no folder {args.folder}; give that of a run'
            )

    if code := checked(check):
        return code
    with quiet_import():
        import torch

        from mmhgkd.apis.distillation import Judge
        from mmhgkd.apis.distillation.training import quiet
        from mmhgkd.report import RunRecord
        from mmhgkd.runner.command_line import run_tool

    def run() -> None:
        record = RunRecord(args.folder)
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        judge = Judge(
            record.config,
            args.photos,
            device,
            workers=args.workers,
        )
        with quiet():
            before, taught = judge.embed(judge.build_model())
            checkpoint = args.checkpoint or record.checkpoint
            model = judge.build_model(checkpoint)
            (after,) = judge.embed(model, with_teacher=False)
        print(f'{len(judge.files)} photos, frozen features:\n')
        show_metrics(
            judge.compare({'untrained': before, 'distilled': after}, taught)
        )

    return run_tool(run)
