import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from killed_runs import ITERATIONS, NO_WORKERS, Killed, KillHook
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import METRICS
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data._utils import signal_handling

from mmhgkd.hooks import WholeCheckpointHook
from mmhgkd.runner import ResumableEpochLoop, ResumableRunner
from mmhgkd.runner.seeding import SeededBatchSampler

Build = Callable[..., ResumableRunner]


@METRICS.register_module(force=True)
class CountMetric(BaseMetric):
    """Counts validations, over all runs of this process."""

    validations = 0

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        type(self).validations += 1
        return {'count': float(len(results))}


def last(work_dir: str) -> dict:
    path = Path(work_dir, 'last_checkpoint').read_text()
    content = torch.load(path, weights_only=False)
    for key in ('meta', 'message_hub'):
        del content[key]
    return content


RUNS: dict[str, tuple[int, dict[str, Any]]] = {
    # killed between two checkpoints, in the midst of the second epoch
    'epochs': (9, {'train_cfg.max_epochs': 2}),
    # the first epoch ends in the midst of an accumulation
    'accumulated': (
        8,
        {
            **NO_WORKERS,
            'train_cfg.max_epochs': 2,
            'optim_wrapper.accumulative_counts': 4,
            'default_hooks.checkpoint': dict(by_epoch=True, interval=1),
        },
    ),
    'iterations': (7, ITERATIONS),
    'endless_sampler': (
        7,
        {
            **ITERATIONS,
            'train_dataloader.sampler': dict(
                type='InfiniteSampler', shuffle=True
            ),
        },
    ),
}


@pytest.mark.parametrize('name', RUNS)
def test_resumed_run_equals_unbroken_run(
    name: str, build: Build, soak: ModuleType
) -> None:
    iteration, options = RUNS[name]
    build('whole', **options).train()
    broken = build('broken', **options)
    broken.register_hook(KillHook(iteration))
    with pytest.raises(Killed):
        broken.train()
    before = last('broken')
    build('broken', resume='auto', **options).train()
    assert soak.differences(last('whole'), last('broken')) == []
    # The comparison sees what it has to see.
    assert soak.differences(last('whole'), before) != []


@pytest.mark.parametrize('by_name', [True, False])
def test_types_of_any_spelling(build: Build, by_name: bool) -> None:
    """Else MMEngine's own loop and hook would run, whose runs are lost."""
    kinds = (EpochBasedTrainLoop, CheckpointHook)
    loop, hook = (
        f'mmengine.{kind.__name__}' if by_name else kind for kind in kinds
    )
    run = build(
        'run',
        **{
            **NO_WORKERS,
            'train_cfg.type': loop,
            'default_hooks.checkpoint.type': hook,
        },
    )
    assert [type(hook) for hook in run.hooks].count(WholeCheckpointHook) == 1
    assert not any(type(hook) is CheckpointHook for hook in run.hooks)
    built = run.build_train_loop(run._train_loop)
    assert type(built) is ResumableEpochLoop


def test_loop_that_knows_nothing_of_seeds() -> None:
    sampler = SeededBatchSampler([[0, 1], [2]], seed=0)
    epochs = [[batch.key[1] for batch in sampler] for _ in range(3)]
    assert epochs == [[0, 0], [1, 1], [2, 2]]
    sampler.begin(7, skip=1)
    assert [batch.key[1] for batch in sampler] == [7]


def test_seed_is_taken_from_the_checkpoint(build: Build) -> None:
    seeds = []
    for resume in (False, 'auto'):
        run = build(
            'run', **NO_WORKERS, **{'resume': resume, 'randomness.seed': None}
        )
        run.register_hook(KillHook(4 if resume else 3))
        with pytest.raises(Killed):
            run.train()
        seeds.append((run.seed, run.train_dataloader.sampler.seed))
    assert seeds[0] == seeds[1]


def test_epoch_starts_anew_where_its_length_has_changed(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    run = build('run', **NO_WORKERS)
    run.register_hook(KillHook(9))
    with pytest.raises(Killed):
        run.train()
    resumed = build(
        'run',
        **{**NO_WORKERS, 'resume': 'auto', 'train_dataloader.batch_size': 12},
    )
    resumed.train()
    assert resumed.epoch == 3


def test_first_run_with_resume_starts_from_load_from(build: Build) -> None:
    """As the first run of a job that is queued again and again."""
    build('source', **NO_WORKERS, **{'train_cfg.max_epochs': 1}).train()
    path = Path('source', 'last_checkpoint').read_text()
    run = build('run', resume='auto', load_from=path, **NO_WORKERS)
    run.register_hook(KillHook(1))
    with pytest.raises(Killed):
        run.train()
    assert run.iter == 0
    queue = run.model.head.queue
    assert int(queue.received) == 24 + 4


def train_until(build: Build, iteration: int, **options: Any) -> Any:
    run = build('run', **{**NO_WORKERS, **options})
    run.register_hook(KillHook(iteration))
    with pytest.raises(Killed):
        run.train()
    return run


def test_new_run_in_an_old_folder_is_the_one_that_goes_on(
    build: Build,
) -> None:
    """Not the old one, whose iterations are higher."""
    train_until(build, 18)
    assert Path('run/iter_16.pth').is_file()
    # It has no checkpoint yet, and then one.
    for iteration in (1, 3):
        train_until(build, iteration)
        resumed = train_until(build, iteration + 1, resume='auto')
        assert resumed.iter == iteration
        # What it has seen are its own images: two checkpoints of 2 steps.
        assert int(resumed.model.head.queue.received) == 4 * (iteration + 1)


def test_going_on_from_an_older_checkpoint(build: Build) -> None:
    """Until it has reached the iterations of those that are there."""
    train_until(build, 10)
    old = 'run/iter_8.pth'
    train_until(build, 9, resume=True, load_from=old)
    assert Path('run/iter_10.pth').is_file()
    resumed = train_until(build, 9, resume='auto')
    assert resumed._load_from.endswith('run/interrupted.pth')


def test_copied_folder_goes_on_by_itself(build: Build) -> None:
    train_until(build, 5)
    shutil.copytree('run', 'copy')
    train_until(build, 9, resume='auto')
    copy = build('copy', resume='auto', **NO_WORKERS)
    copy.register_hook(KillHook(6))
    with pytest.raises(Killed):
        copy.train()
    assert copy._load_from == str(Path('copy/iter_4.pth').absolute())


VALIDATION = {
    **NO_WORKERS,
    'val_dataloader': dict(
        batch_size=8,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=dict(
            type='mmhgkd.ImageFolder',
            data_root='images',
            pipeline=[
                dict(type='mmhgkd.LoadImage'),
                dict(type='Resize', scale=(64, 64)),
                dict(type='PackInputs'),
            ],
        ),
    ),
    'val_cfg': dict(),
    'val_evaluator': dict(type='CountMetric'),
    'train_cfg.val_interval': 2,
    'default_hooks.checkpoint.interval': 100,
}


def test_validation_that_was_cut_off_is_repeated(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CountMetric, 'validations', 0)

    class Cut(Hook):
        def before_val_iter(
            self, runner: Any, batch_idx: int, data_batch: Any
        ) -> None:
            raise Killed

    run = build('run', **VALIDATION)
    run.register_hook(Cut())
    with pytest.raises(Killed):
        run.train()
    # No checkpoint was due, yet the epochs before the validation are safe.
    assert [path.name for path in Path('run').glob('*.pth')] == [
        'interrupted.pth'
    ]
    resumed = build('run', resume='auto', **VALIDATION)
    resumed.train()
    assert resumed.epoch == 3
    assert CountMetric.validations == 2  # after epochs 2 and 3
    assert not Path('run/interrupted.pth').exists()


@pytest.mark.parametrize(
    'names', [('SIGUSR1', 'SIGCHLD'), ('SIGUSR1', 'SIGCHLD', 'sigwaitinfo')]
)
def test_trains_without_the_signals_of_posix(
    build: Build, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    for name in names:
        monkeypatch.delattr(signal, name)
    # PyTorch asks for the system, not for the signal.
    monkeypatch.setattr(signal_handling, 'IS_WINDOWS', True)
    run = build('run', **{'train_cfg.max_epochs': 1})
    assert run.train_dataloader.num_workers > 0
    run.train()
    assert run.epoch == 1
