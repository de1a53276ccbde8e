r"""Train the student of a distillation by a method of lightly-train.

Photos, teacher, student and its first weights are those of a config of this
project, so that only the method differs:

    python tools/benchmarks/peers/lightly_train_peer.py \
        --method distillationv2 --data data/photos/train \
        --student-config configs/hgkd/r18_scenes.py --epochs 3 --out v2.pth

``judge.py`` reads the result. lightly-train is under the AGPL-3.0 and no part
of this project: it is called, in an environment of its own if need be.
"""

import argparse
import importlib
import importlib.util
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from adapters import (
    StudentWrapper,
    TeacherAdapter,
    build,
    find_photos,
    read_config,
    transform_args,
)
from mmengine.config import Config, DictAction

from mmhgkd.runner import command_line
from mmhgkd.transfer.converters.weights_file import torch_file
from mmhgkd.utils import ConfigError
from mmhgkd.utils.whole_file import write_whole

METHODS = ('distillationv1', 'distillationv2', 'distillationv3')
TESTED = '0.18.0'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--method', choices=METHODS, required=True)
    parser.add_argument(
        '--data', required=True, help='photos, as `data_root` of the config'
    )
    parser.add_argument(
        '--student-config',
        dest='config',
        required=True,
        help='config of a distillation of this project',
    )
    parser.add_argument(
        '--teacher',
        metavar='CHECKPOINT_OR_CONFIG',
        help='weights for the teacher of the config, or a config (.py) with '
        'another one; by default that of --student-config',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change settings of --student-config',
    )
    parser.add_argument('--epochs', type=int, default=3)
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument(
        '--optimizer',
        choices=('auto', 'adamw', 'lars'),
        default='auto',
        help="'auto' is the method's own",
    )
    parser.add_argument(
        '--lr',
        type=float,
        help='highest learning rate, not scaled; by default that of the '
        'method, which scales it by the batch size',
    )
    parser.add_argument(
        '--precision',
        choices=('32-true', 'bf16-mixed'),
        default='32-true',
        help='by default that which it chooses itself on a CPU',
    )
    parser.add_argument(
        '--no-mixup', action='store_true', help='do not mix images'
    )
    parser.add_argument(
        '--transform',
        choices=('same', 'own'),
        default='same',
        help="'same': crops and flips as in the config; 'own': the "
        "method's augmentation, at the same size",
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--threads', type=int, default=1, help='of the CPU, which trains'
    )
    parser.add_argument(
        '--out', type=Path, required=True, help='checkpoint to write, .pth'
    )
    args = parser.parse_args(argv)
    if min(args.epochs, args.batch_size, args.threads) < 1:
        parser.error('epochs, batch size and threads must be at least 1')
    if args.lr is not None and not 0 < args.lr < math.inf:
        parser.error('--lr must be positive')
    if args.out.suffix != '.pth':
        parser.error('--out must end in .pth')
    return args


def require_lightly_train() -> None:
    """Refuse to go on without the peer.

    Raises:
        ConfigError: If it is not installed.
    """
    if importlib.util.find_spec('lightly_train') is None:
        raise ConfigError(
            f'lightly-train is not installed for {sys.executable}; run '
            f'`{sys.executable} -m pip install lightly-train=={TESTED}`, or '
            'install it with mmhgkd in a virtual environment of its own and '
            'start this tool with the Python of that'
        )


def train(args: argparse.Namespace) -> dict[str, Any]:
    """Train, and write the student and the record of the training.

    Returns:
        dict: The record.

    Raises:
        ConfigError: If lightly-train is missing or of another form, or has
            not trained the student.
    """
    require_lightly_train()
    cfg = read_config(args)
    torch.set_num_threads(args.threads)
    files = find_photos(cfg)
    transform = transform_args(cfg, args.transform)
    teacher, student = build(cfg, args.seed)
    before = {k: v.clone() for k, v in student.backbone.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(
            LIGHTLY_TRAIN_EVENTS_DISABLED='1',  # no telemetry
            LIGHTLY_TRAIN_CACHE_DIR=folder,
        )
        os.environ.setdefault('LIGHTLY_TRAIN_LOG_LEVEL', 'WARNING')
        version = importlib.import_module('lightly_train').__version__
        start = _clock()
        _pretrain(args, cfg, files, transform, teacher, student, folder)
        cpu, wall = (x - y for x, y in zip(_clock(), start, strict=True))
        losses = _read_losses(Path(folder) / 'out')
    state = student.backbone.state_dict()
    broken = [k for k, v in state.items() if not v.isfinite().all()]
    still = [k for k, v in state.items() if torch.equal(v, before[k])]
    if broken or still:
        raise ConfigError(
            f'{args.method} has left these weights '
            + (
                f'without finite values: {broken[:3]}; lower --lr'
                if broken
                else f'as they were: {still[:3]}; nothing is written'
            )
        )
    record = dict(
        {
            k: str(v) if isinstance(v, Path) else v
            for k, v in vars(args).items()
        },
        images=len(files),
        images_seen=args.epochs * len(files),
        losses=losses,
        cpu_seconds=round(cpu, 1),
        seconds=round(wall, 1),
        lightly_train=version,
        torch=torch.__version__,
    )
    content = dict(
        state_dict={f'backbone.{k}': v for k, v in state.items()},
        meta=dict(cfg=cfg.pretty_text),
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.out, torch_file(content))
    args.out.with_suffix('.json').write_text(json.dumps(record, indent=2))
    return record


def _pretrain(
    args: argparse.Namespace,
    cfg: Config,
    files: list[str],
    transform: dict[str, Any],
    teacher: TeacherAdapter,
    student: StudentWrapper,
    folder: str,
) -> None:
    """Call lightly-train, with this teacher in place of its own."""
    import lightly_train
    from lightly_train._methods.method_helpers import get_method_cls

    method = get_method_cls(args.method)
    options: dict[str, Any] = {}
    if args.method == 'distillationv2':
        options['n_teacher_blocks'] = 1
    if args.lr is not None:
        # The rate is scaled by the root of the ratio to this.
        options['reference_batch_size'] = min(args.batch_size, len(files))
    with ExitStack() as stack:
        try:
            stack.enter_context(
                mock.patch.object(
                    sys.modules[method.__module__],
                    'get_teacher',
                    lambda *args, **kwargs: teacher,
                )
            )
            if args.no_mixup:
                stack.enter_context(
                    mock.patch.object(
                        method, '_mixup_data', staticmethod(lambda x: x)
                    )
                )
        except AttributeError as error:
            raise ConfigError(
                f'lightly-train {lightly_train.__version__} is of another '
                f'form ({error}); install lightly-train=={TESTED}'
            ) from error
        lightly_train.pretrain(
            out=Path(folder) / 'out',
            data=files,
            model=student,
            method=args.method,
            method_args=options,
            epochs=args.epochs,
            batch_size=args.batch_size,
            num_workers=0,
            accelerator='cpu',
            devices=1,
            precision=args.precision,
            float32_matmul_precision='highest',
            seed=args.seed,
            optim=args.optimizer,
            optim_args=None if args.lr is None else dict(lr=args.lr),
            transform_args=transform,
            loader_args=dict(
                drop_last=cfg.train_dataloader.get('drop_last', False)
            ),
            loggers=dict(tensorboard=None),
            callbacks=dict(model_export=None),
        )


def _clock() -> tuple[float, float]:
    """Seconds of the CPU, with those of children, and of the clock."""
    return sum(os.times()[:4]), time.perf_counter()


def _read_losses(folder: Path) -> list[float]:
    """Loss of each logged step."""
    rows = [
        json.loads(line)
        for file in folder.rglob('metrics.jsonl')
        for line in file.read_text().splitlines()
    ]
    return [row['train_loss'] for row in rows if 'train_loss' in row]


def main(argv: Sequence[str] | None = None) -> int:
    """Train and report.

    Returns:
        int: The exit code, see :func:`command_line.run_tool`.
    """
    args = parse_args(argv)

    def body() -> None:
        record = train(args)
        print(
            f'{args.out}: {args.method}, {record["images_seen"]} images '
            f'seen, {record["cpu_seconds"]} CPU seconds'
        )

    return command_line.run_tool(body)


if __name__ == '__main__':
    sys.exit(main())
