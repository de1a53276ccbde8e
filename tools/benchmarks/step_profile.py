"""The parts of a distillation step, for ``step_speed.py --profile``.

The images come through the pipeline of the config, the queue is full, the
optimizer is the config's. The weights are random. Without ``--data-root`` the
images are JPEGs that the tool draws. The clock waits for the device after
every part, so the parts add up to the step, and a step is slower than it is
in a run on a GPU.

The data part is the time of one core. In a run the workers of the data loader
share it and work beside the step.
"""

import argparse
from typing import Any

import common
import data_loading
import torch
from common import Numbers
from matplotlib import colormaps
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import default_collate
from torch import Tensor
from training_step import TrainingStep

from mmhgkd.report import to_markdown
from mmhgkd.utils import ConfigError, load_config
from mmhgkd.utils.kept_memory import freed_memory_kept

PARTS = (
    'data',
    'preprocessing',
    'teacher',
    'encoder',
    'decoder',
    'losses',
    'losses backward',
    'decoder backward',
    'encoder backward',
    'optimizer',
    'other',
)
# Height and width of the images that are drawn.
SOURCE_SIZE = (480, 640)


class Stopwatch:
    """Adds up the time of the parts of a step, as the device finishes them."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.start()

    def start(self) -> None:
        """Forget the parts so far."""
        self.parts = dict.fromkeys(PARTS, 0.0)
        self.last = common.now(self.device)

    def lap(self, part: str) -> None:
        """Give the time since the last lap to a part, in milliseconds."""
        time = common.now(self.device)
        self.parts[part] += 1e3 * (time - self.last)
        self.last = time

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Give the time of every call of a method to a part.

        The gradient of what encoder and decoder return is complete when the
        backward pass of the part after them is over.
        """
        function = getattr(owner, name)

        def timed(*args: Any) -> Any:
            self.lap('other')
            result = function(*args)
            self.lap(part)
            if part == 'encoder':
                # Its other features are read by its own next stage, too.
                self._lap_at_gradient(result[-1].values, 'decoder backward')
            elif part == 'decoder':
                self._lap_at_gradient(result, 'losses backward')
            return result

        setattr(owner, name, timed)

    def _lap_at_gradient(self, output: Tensor, part: str) -> None:
        output.register_hook(lambda gradient: self.lap(part))


def read_config(args: argparse.Namespace) -> Config:
    """Read the config, with a random teacher."""
    cfg = load_config(args.profile)
    if cfg.get('model', {}).get('type') != 'mmhgkd.HGKD':
        raise ConfigError(
            f'`{args.profile}` has no model of type mmhgkd.HGKD; '
            'name a config of configs/hgkd or configs/spark'
        )
    if 'checkpoint' in cfg.model.teacher:
        cfg.model.teacher.update(checkpoint=None, allow_random=True)
    if args.rows:
        cfg.model.backbone.backend = args.rows[0]
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    return cfg


def measure(
    cfg: Config, data_root: str, args: argparse.Namespace
) -> dict[str, Numbers]:
    """Milliseconds of each part, and its share of the sum."""
    dataset = data_loading.build_dataset(
        cfg.train_dataloader.dataset, data_root
    )
    step = TrainingStep(cfg.model, cfg.optim_wrapper, args)
    model, watch = step.model, Stopwatch(args.device)
    watch.watch(model.teacher, 'forward', 'teacher')
    watch.watch(model.backbone, 'forward', 'encoder')
    if model.neck is not None:
        watch.watch(model.neck, 'forward', 'decoder')
    watch.watch(model.head, 'loss', 'losses')
    count = min(args.images, len(dataset))
    steps = []
    for _ in range(args.repeats + 1):
        watch.start()
        with data_loading.one_thread():
            samples = [
                dataset[index % count] for index in range(args.batch_size)
            ]
        batch = default_collate(samples)
        watch.lap('data')
        images: Tensor = model.data_preprocessor(batch, True)['inputs']
        watch.lap('preprocessing')
        loss = step.forward(images)
        watch.lap('other')
        loss.backward()
        watch.lap('encoder backward')
        step.optim_wrapper.step()
        step.optim_wrapper.zero_grad()
        watch.lap('optimizer')
        steps.append(watch.parts)
    # The first step allocates and chooses kernels.
    parts = common.medians(steps[1:])
    total = sum(parts.values())
    return {
        part: dict(ms=milliseconds, share=milliseconds / total)
        for part, milliseconds in parts.items()
    }


def render(
    parts: dict[str, Numbers], loading: dict[str, Numbers], batch_size: int
) -> str:
    """Lay the numbers out as two Markdown tables and a sentence."""
    step_ms = sum(row['ms'] for part, row in parts.items() if part != 'data')
    shares = [
        dict(part=part, ms=f'{row["ms"]:.1f}', share=f'{row["share"]:.1%}')
        for part, row in parts.items()
    ]
    backends = []
    for name, speeds in loading.items():
        backend = {'decode backend': name}
        for kind, heading in data_loading.KINDS.items():
            found = kind in speeds
            backend[heading] = f'{speeds[kind]:.0f}' if found else '-'
        found = 'pipeline' in speeds
        backend['whole pipeline, ms an image'] = (
            f'{1e3 / speeds["pipeline"]:.2f}' if found else '-'
        )
        backends.append(backend)
    return (
        f'{to_markdown(shares)}\n{to_markdown(backends)}\n'
        f'Without the data a step takes {step_ms:.0f} ms, '
        f'{1e3 * batch_size / step_ms:.1f} images/s. '
        'Images/s of the data are those of one core.'
    )


def draw(parts: dict[str, Numbers]) -> Figure:
    """Draw the parts as one stacked bar."""
    figure = Figure(figsize=(8, 2.6), layout='constrained')
    axes = figure.add_subplot(xlabel='ms', yticks=[])
    left = 0.0
    for index, (part, row) in enumerate(parts.items()):
        axes.barh(
            0,
            row['ms'],
            left=left,
            color=colormaps['tab20'](index),
            label=f'{part} {row["share"]:.0%}',
        )
        left += row['ms']
    figure.legend(loc='outside upper center', ncols=4, fontsize='small')
    return figure


def run(args: argparse.Namespace) -> None:
    """Measure, print the tables, write the numbers and draw them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        cfg = read_config(args)
        with data_loading.image_folder(
            args.data_root, args.images, SOURCE_SIZE[1], SOURCE_SIZE[0]
        ) as data_root:
            with freed_memory_kept(args.device):
                parts = measure(cfg, data_root, args)
            loading = data_loading.measure(
                cfg.train_dataloader.dataset,
                data_root,
                args.images,
                args.repeats,
            )
    finally:
        torch.set_num_threads(threads)
    print(render(parts, loading, args.batch_size))
    common.save(args, parts=parts, loading=loading)
    if args.plot:
        common.save_picture(args, draw(parts))
