"""Runs that are resumed with other settings or data than before."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_runs import ITERATIONS, NO_WORKERS, Killed, KillHook
from mmengine.hooks import Hook
from test_run_lock import HOLDER

from mmhgkd.hooks.invalid_loss_hook import image_files
from mmhgkd.runner import ResumableRunner, find_checkpoint
from mmhgkd.utils import ConfigError, RunError

Build = Callable[..., ResumableRunner]
BATCH = 'train_dataloader.batch_size'


class Seen(Hook):
    """Notes place, learning rate and images of each step."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.rates: list[float] = []
        self.files: list[list[str]] = []

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any, outputs: Any
    ) -> None:
        self.steps.append((runner.epoch, runner.iter))
        self.rates += runner.optim_wrapper.get_lr()['lr']
        self.files.append(image_files(data_batch))

    def images(self, count: int | None = None) -> list[str]:
        """Images of the first steps, sorted."""
        return sorted(name for files in self.files[:count] for name in files)


def train(
    build: Build, kill: int | None = None, folder: str = 'run', **options: Any
) -> tuple[Seen, Any]:
    run = build(folder, **{**NO_WORKERS, **options})
    seen = Seen()
    run.register_hook(seen)
    if kill is None:
        run.train()
    else:
        run.register_hook(KillHook(kill))
        with pytest.raises(Killed):
            run.train()
    return seen, run


def test_one_training_at_a_time(build: Build) -> None:
    run = build('run', **NO_WORKERS)
    with subprocess.Popen(
        [sys.executable, '-c', HOLDER, 'run'], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().startswith(b'held')
        try:
            with pytest.raises(RunError, match='another run is at work in'):
                run.train()
        finally:
            holder.kill()


@pytest.mark.parametrize(
    ('part', 'kind'),
    [
        ('ema_state_dict', 'running_var'),
        # Of the average, which the file stores in place of the model.
        ('state_dict', 'conv1.weight'),
    ],
)
def test_infinity_in_a_checkpoint_is_no_purpose(
    build: Build, part: str, kind: str
) -> None:
    train(build, kill=5)
    found = find_checkpoint('run')
    assert found is not None
    content = torch.load(found[0], weights_only=False)
    name = next(x for x in content[part] if kind in x)
    content[part][name].fill_(float('inf'))
    torch.save(content, found[0])
    with pytest.raises(FloatingPointError, match=name.removeprefix('module.')):
        train(build, resume=True)


def schedule(epochs: int) -> dict[str, Any]:
    return {'train_cfg.max_epochs': epochs, 'param_scheduler.1.end': epochs}


@pytest.mark.parametrize('changed', [{}, {'optim_wrapper.optimizer.lr': 3e-3}])
def test_longer_schedule_and_other_rate_hold(
    build: Build, caplog: pytest.LogCaptureFixture, changed: dict[str, Any]
) -> None:
    options = {**schedule(2), **changed}
    whole, _ = train(build, folder='whole', **options)
    train(build, **schedule(1))
    rest, _ = train(build, resume='auto', **options)
    # The same but for the rounding of a recursion.
    assert rest.rates == pytest.approx(whole.rates[6:], rel=1e-12)
    assert rest.steps[0] == (1, 6)
    assert 'param_scheduler.1.end 6 -> 12' in caplog.text
    assert ('lr 0.001 -> 0.003' in caplog.text) == bool(changed)


@pytest.mark.parametrize(
    ('changed', 'text'),
    [
        (
            {'optim_wrapper.optimizer.weight_decay': 0.5},
            'weight_decay 0.01 ->',
        ),
        (
            {
                'param_scheduler.1': dict(
                    type='PolyLR',
                    power=2,
                    by_epoch=False,
                    convert_to_iter_based=False,
                    end=6,
                )
            },
            'another kind of schedule in param_scheduler.1',
        ),
        ({'param_scheduler': None}, '2 -> 0 schedules'),
    ],
)
def test_other_settings_of_the_optimizer_hold(
    build: Build,
    caplog: pytest.LogCaptureFixture,
    changed: dict[str, Any],
    text: str,
) -> None:
    whole, expected = train(build, folder='whole', **schedule(1), **changed)
    train(build, 3, **schedule(1))
    rest, run = train(build, resume='auto', **schedule(1), **changed)
    assert rest.rates == pytest.approx(whole.rates[2:], rel=1e-12)
    groups = [x.optim_wrapper.param_groups[0] for x in (run, expected)]
    assert groups[0]['weight_decay'] == groups[1]['weight_decay']
    assert text in caplog.text


@pytest.mark.parametrize(
    ('key', 'value', 'text'),
    [
        ('optim_wrapper.clip_grad.max_norm', 0.5, '5.0 -> 0.5'),
        ('optim_wrapper.clip_grad', None, "{'max_norm': 5.0} -> None"),
        ('optim_wrapper.accumulative_counts', 2, 'not set -> 2'),
        ('model.head.feature_loss.loss_weight', 2.0, 'not set -> 2.0'),
        ('model.backbone.drop_path_rate', 0.2, '0.1 -> 0.2'),
        ('custom_hooks.0.momentum', 0.1, '0.01 -> 0.1'),
        ('train_dataloader.dataset.pipeline.2.prob', 0.1, '0.5 -> 0.1'),
    ],
)
def test_other_settings_are_said(
    build: Build,
    caplog: pytest.LogCaptureFixture,
    key: str,
    value: Any,
    text: str,
) -> None:
    train(build, 3)
    train(build, 4, resume='auto', **{key: value})
    assert f'those of the config hold from here on: {key} {text}' in (
        caplog.text
    )


def test_longer_training_than_its_schedule(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    train(build, **schedule(1))
    train(build, resume='auto', **{**schedule(1), 'train_cfg.max_epochs': 2})
    assert 'longer than before, 12 iterations' in caplog.text
    assert 'schedules end after 6' in caplog.text


def test_unchanged_settings_are_not_computed_anew(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    train(build, 3)
    train(build, 4, resume='auto')
    assert 'have changed' not in caplog.text
    assert 'has changed' not in caplog.text


def test_end_is_said(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    train(build, **schedule(1))
    seen, _ = train(build, resume='auto', **schedule(1))
    assert not seen.steps
    assert 'at its end already, 6 of 6 iterations' in caplog.text


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'optim_wrapper.optimizer': dict(type='SGD', lr=0.1)},
            'the state of AdamW, but `optim_wrapper.optimizer` is SGD',
        ),
        (
            {'model.head.queue.size': 8},
            '`head.queue.embeddings` is 16x24 there and 8x24 here',
        ),
        ({'model.backbone.depth': 34}, 'it is of another model'),
    ],
)
def test_refused(build: Build, options: dict[str, Any], message: str) -> None:
    train(build, 3)
    run = build('run', resume='auto', **{**NO_WORKERS, **options})
    with pytest.raises(ConfigError, match=message):
        run.train()


def test_other_seed_does_not_shuffle_the_rest(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = train(build, 2)
    rest, _ = train(build, 6, resume='auto', **{'randomness.seed': 5})
    assert len(set(first.images() + rest.images())) == 24
    assert '`randomness.seed` is 5, but the checkpoint' in caplog.text


@pytest.mark.parametrize('batch', [2, 8])
def test_other_batch_in_the_midst_of_an_epoch(
    build: Build, caplog: pytest.LogCaptureFixture, batch: int
) -> None:
    train(build, 9)
    length = 24 // batch
    resumed, _ = train(build, length + 2, resume='auto', **{BATCH: batch})
    assert resumed.steps[0] == (1, length)
    assert f'batch size 4 -> {batch}' in caplog.text
    assert f'epoch 2 starts anew, at iteration {length}' in caplog.text
    # Lower iterations than those before, and yet the ones that count.
    rest, run = train(build, resume='auto', **{BATCH: batch})
    assert rest.steps[0] == (1, (length + 2) // 2 * 2)
    skipped = rest.steps[0][1] - length
    epoch = sorted([*resumed.images(skipped), *rest.images(length - skipped)])
    assert len(set(epoch)) == len(epoch) == 24
    assert run.iter == 3 * length


def test_other_batch_between_two_epochs(build: Build) -> None:
    train(build, 6)
    resumed, _ = train(build, resume='auto', **{BATCH: 8})
    assert resumed.steps[0] == (1, 3)
    assert len(resumed.steps) == 6


@pytest.mark.parametrize('change', [-3, 3])
def test_other_images(
    build: Build, caplog: pytest.LogCaptureFixture, change: int
) -> None:
    train(build, 9)
    folder = Path('images')
    for index in range(3):
        if change < 0:
            (folder / f'{index}.png').unlink()
        else:
            (folder / f'new{index}.png').write_bytes(
                (folder / f'{index}.png').read_bytes()
            )
    resumed, run = train(build, resume='auto')
    length = len(run.train_dataloader)
    assert len(set(resumed.images(length))) == 24 + change
    assert f'images 24 -> {24 + change}' in caplog.text


def test_images_in_another_place_are_the_same(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    train(build, 3)
    Path('elsewhere').mkdir()
    Path('images').rename('elsewhere/pictures')
    options = {'train_dataloader.dataset.data_root': 'elsewhere/pictures'}
    resumed, _ = train(build, 4, resume='auto', **options)
    assert resumed.steps == [(0, 2), (0, 3)]
    assert 'has changed' not in caplog.text
    Path('elsewhere/pictures/3.png').rename('elsewhere/pictures/a.png')
    train(build, 4, resume='auto', **options)
    assert 'has changed since the checkpoint: other images' in caplog.text


@pytest.mark.parametrize('sampler', ['DefaultSampler', 'InfiniteSampler'])
def test_other_batch_of_a_run_by_iterations(
    build: Build, caplog: pytest.LogCaptureFixture, sampler: str
) -> None:
    options = {
        **ITERATIONS,
        'train_cfg': dict(type='IterBasedTrainLoop', max_iters=16),
        'train_dataloader.sampler': dict(type=sampler, shuffle=True),
    }
    train(build, 9, **options)
    options[BATCH] = 8
    whole, _ = train(build, 13, resume='auto', **options)
    assert 'pass 2 over the data starts anew, at iteration 8' in caplog.text
    assert whole.steps[0][1] == 8
    assert len(set(whole.images(3))) == 24
    # Once more, now with nothing changed.
    caplog.clear()
    rest, _ = train(build, 13, resume='auto', **options)
    assert rest.steps == [(0, 12)]
    assert rest.files[0] == whole.files[4]
    assert 'has changed' not in caplog.text


def test_endless_order_of_too_few_images(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    options = {
        **ITERATIONS,
        'train_cfg': dict(type='IterBasedTrainLoop', max_iters=1),
        'train_dataloader.sampler': dict(type='InfiniteSampler'),
        BATCH: 30,
    }
    train(build, **options)
    assert 'The 24 training images do not fill one batch of 30' in caplog.text
    assert 'so that a batch has images twice' in caplog.text


def test_checkpoint_of_an_old_version(build: Build) -> None:
    """Without all that is compared."""
    train(build, 3)
    path = Path('run/iter_2.pth')
    content = torch.load(path, weights_only=False)
    del content['meta']['run']
    torch.save(content, path)
    Path('run/run_id.txt').unlink()
    resumed, _ = train(build, 4, resume='auto')
    assert resumed.steps == [(0, 2), (0, 3)]
