"""The whole method in a few minutes on a laptop, on embedded data.

Draws pictures of shapes, distils a small sparse ResNet from the MAE teacher
that this project ships, trains the same student on pixels (SparK) and on
labels, and compares them with the untrained student and the teacher.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.runner import load_checkpoint
from rich.console import Console
from rich.table import Table

from mmhgkd.algorithms import HGKD
from mmhgkd.datasets.scenes import SHAPES, write_scenes
from mmhgkd.runner import command_line, find_checkpoint, safe_loading
from mmhgkd.utils import ConfigError, RunError
from mmhgkd.visualization.model_panel import save_model_panel

from .configs import load_config
from .distillation.twins import RECIPES

ARMS = {
    'untrained': 'hgkd/r18_quickstart',
    'SparK (pixels)': RECIPES['pixels'],
    'H-GKD (distilled)': 'hgkd/r18_quickstart',
    'supervised (labels)': RECIPES['supervised'],
    'teacher': 'mae/vit-micro_scenes',
}
NOT_TRAINED = ('untrained', 'teacher')

METRICS = ('knn/top1', 'linear/top1')
PANEL = 'panel.png'


def run_quickstart(
    work_dir: str | Path = 'work_dirs/quickstart',
    data_root: str | Path = 'data/quickstart',
    num_train: int = 2000,
    num_val: int = 500,
    epochs: int | None = None,
    seed: int = 0,
    workers: int = 1,
    resume: bool = False,
) -> dict[str, dict[str, float]]:
    """Train and compare the students.

    Args:
        work_dir (str or Path): Receives a folder a student. Defaults to
            'work_dirs/quickstart'.
        data_root (str or Path): Where the pictures lie or are written.
            Defaults to 'data/quickstart'.
        num_train (int): Training pictures. Defaults to 2000.
        num_val (int): Validation pictures. Defaults to 500.
        epochs (int, optional): Epochs of each training. Defaults to None,
            which means those of the config.
        seed (int): Seed of students and masks. Defaults to 0.
        workers (int): Processes that load images. Defaults to 1.
        resume (bool): Whether to go on from the checkpoints in ``work_dir``.
            Defaults to False.

    Returns:
        dict[str, dict[str, float]]: For each student, and for the teacher,
        its metrics in percent and the seconds it took.
    """
    root = write_scenes(data_root, 'shapes', num_train, num_val)
    results = {}
    for arm, name in ARMS.items():
        config = load_config(name)
        config.work_dir = str(_arm_folder(work_dir, arm))
        config.randomness.seed = seed
        for loader in (config.train_dataloader, config.val_dataloader):
            loader.dataset.data_root = str(root)
            loader.num_workers = workers
            loader.persistent_workers = workers > 0
        if epochs is not None:
            config.train_cfg.max_epochs = epochs
        if resume:
            config.resume = 'auto'
        weights = None
        if arm == 'teacher':
            student = load_config(ARMS['H-GKD (distilled)'])
            weights = student.model.teacher.checkpoint
        with safe_loading():
            results[arm] = _run_arm(config, arm not in NOT_TRAINED, weights)
    return results


def _run_arm(
    config: Config, train: bool, weights: str | None = None
) -> dict[str, float]:
    """Train, or take ``weights`` of the backbone, and evaluate."""
    # The last epoch is evaluated in any case.
    config.train_cfg.val_interval = config.train_cfg.max_epochs
    runner = command_line.build_runner(config)
    start = time.perf_counter()
    if train:
        runner.train()
    else:
        runner.model.init_weights()
        if weights is not None:
            # Not by `init_cfg`: MAEViT draws some weights anew after it.
            load_checkpoint(runner.model.backbone, weights, strict=True)
        runner.val()
    seconds = time.perf_counter() - start
    metrics = {
        name: runner.message_hub.get_scalar(f'val/{name}').current()
        for name in METRICS
    }
    if isinstance(runner.model, HGKD):
        dataset = runner.val_dataloader.dataset
        batch = default_collate([dataset[-1 - 13 * i] for i in range(4)])
        inputs = runner.model.data_preprocessor(batch)['inputs']
        save_model_panel(Path(config.work_dir) / PANEL, runner.model, inputs)
    return dict(metrics, seconds=seconds)


def _arm_folder(work_dir: str | Path, arm: str) -> Path:
    return Path(work_dir) / arm.split()[0].lower()


def print_results(
    results: dict[str, dict[str, float]], work_dir: str | Path
) -> None:
    """Print the comparison and where everything lies.

    Args:
        results (dict[str, dict[str, float]]): Of :func:`run_quickstart`.
        work_dir (str or Path): Of :func:`run_quickstart`.
    """
    console = Console(width=100)
    table = Table(title='What the student learned (validation pictures)')
    for column in ('student', 'kNN %', 'linear probe %', 'seconds'):
        table.add_column(column, justify='right' if table.columns else 'left')
    chance = f'{100 / len(SHAPES):.1f}'
    table.add_row('chance', chance, chance, '')
    for arm, row in results.items():
        percent = (f'{row[key]:.1f}' for key in METRICS)
        table.add_row(arm, *percent, f'{row["seconds"]:.0f}')
    console.print(table)
    folders = {arm: _arm_folder(work_dir, arm) for arm in ARMS}
    found = find_checkpoint(folders['H-GKD (distilled)'])
    if found is not None:
        console.print(f'checkpoint of the distilled student: {found[0]}')
    for arm, folder in folders.items():
        if (folder / PANEL).is_file():
            console.print(f'pictures ({arm}): {folder / PANEL}')


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m mmhgkd.apis.quickstart``."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--work-dir', default='work_dirs/quickstart')
    add('--data-root', default='data/quickstart')
    add('--num-train', type=int, default=2000)
    add('--num-val', type=int, default=500)
    add('--epochs', type=int, help="of each; by default the config's")
    add('--seed', type=int, default=0)
    add('--workers', type=int, default=1)
    add('--resume', action='store_true', help='go on from the checkpoints')
    args = parser.parse_args(argv)
    try:
        results = run_quickstart(**vars(args))
    except (ConfigError, FileExistsError, RunError) as error:
        return command_line.report(error)
    print_results(results, args.work_dir)
    return 0


if __name__ == '__main__':
    sys.exit(main())
