import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

from mmhgkd.runner import command_line
from mmhgkd.utils import load_config


def merged(train: ModuleType, *argv: str) -> Any:
    args = train.parse_args(argv)
    cfg = load_config(args.config, args.cfg_options)
    train.merge_args(cfg, args)
    return cfg


def test_run_trains_validates_and_saves(train: ModuleType, toy: Path) -> None:
    assert train.main([str(toy), '--work-dir', 'run']) == 0
    state = torch.load('run/iter_1.pth', weights_only=False)['state_dict']
    assert state['steps'] == 1
    # mean of the inputs 0 and 1 is the gradient: 1 - 0.1 * 0.5
    assert state['weight'].item() == pytest.approx(0.95)
    scalars = next(Path('run').glob('*/vis_data/scalars.json')).read_text()
    last = json.loads(scalars.splitlines()[-1])
    assert last['sum'] == pytest.approx(0.95 * (0 + 1 + 2 + 3))


def test_resume(train: ModuleType, toy: Path) -> None:
    train.main([str(toy), '--work-dir', 'run'])
    checkpoint = torch.load('run/iter_1.pth', weights_only=False)
    checkpoint['state_dict']['steps'] += 100
    torch.save(checkpoint, 'run/iter_1.pth')

    for work_dir, resume in (
        ('run', ['--resume']),
        ('new', ['--resume', 'run/iter_1.pth']),
    ):
        train.main(
            [
                str(toy),
                '--work-dir',
                work_dir,
                *resume,
                '--cfg-options',
                'train_cfg.max_iters=2',
                f'experiment_name={work_dir}',
            ]
        )
        resumed = torch.load(f'{work_dir}/iter_2.pth', weights_only=False)
        assert resumed['state_dict']['steps'] == 102
    assert not Path('new/iter_1.pth').exists()


def test_no_validate(train: ModuleType, toy: Path) -> None:
    # only validation writes a value so early in the run
    assert train.main([str(toy), '--work-dir', 'run', '--no-validate']) == 0
    assert Path('run/iter_1.pth').exists()
    assert not list(Path('run').glob('*/vis_data/scalars.json'))


def test_work_dir(train: ModuleType, toy: Path) -> None:
    assert merged(train, str(toy)).work_dir == './work_dirs/toy'
    option = ('--cfg-options', 'work_dir=b')
    assert merged(train, str(toy), *option).work_dir == 'b'
    both = merged(train, str(toy), '--work-dir', 'a', *option)
    assert both.work_dir == 'a'


def test_options_are_merged(train: ModuleType, toy: Path) -> None:
    cfg = merged(
        train,
        str(toy),
        '--cfg-options',
        'optim_wrapper.optimizer.lr=0.5',
        'randomness.seed=3',
        'model.new=[1,2]',
    )
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.5)
    assert cfg.randomness.seed == 3
    assert cfg.model.new == [1, 2]


def test_amp(
    train: ModuleType, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('mmengine.device.get_device', lambda: 'cuda')
    wrapper = merged(train, str(toy), '--amp').optim_wrapper
    assert wrapper.type == 'AmpOptimWrapper'
    assert wrapper.loss_scale == 'dynamic'
    kept = merged(
        train,
        str(toy),
        '--amp',
        '--cfg-options',
        'optim_wrapper.loss_scale=512.',
    )
    assert kept.optim_wrapper.loss_scale == 512
    bfloat16 = merged(
        train,
        str(toy),
        '--amp',
        '--cfg-options',
        'optim_wrapper.type=mmhgkd.AutocastOptimWrapper',
    )
    assert bfloat16.optim_wrapper.type == 'mmhgkd.AutocastOptimWrapper'
    assert 'loss_scale' not in bfloat16.optim_wrapper


@pytest.mark.parametrize('kind', ['', 'AmpOptimWrapper'])
def test_amp_on_a_cpu(
    kind: str,
    train: ModuleType,
    toy: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MMEngine's own kind is for GPUs."""
    for module in ('mmengine.device', 'mmhgkd.utils.preflight'):
        monkeypatch.setattr(f'{module}.get_device', lambda: 'cpu')
    monkeypatch.setattr(
        'torch.cpu.get_capabilities', lambda: dict(avx512_bf16=True)
    )
    options = []
    if kind:
        options = [
            '--cfg-options',
            f'optim_wrapper.type={kind}',
            'optim_wrapper.dtype=float16',
            'optim_wrapper.loss_scale=dynamic',
        ]
    wrapper = merged(train, str(toy), '--amp', *options).optim_wrapper
    assert wrapper.pop('type') == 'mmhgkd.AutocastOptimWrapper'
    assert set(wrapper) == {'optimizer'}
    assert train.main([str(toy), '--amp', '--no-validate', *options]) == 0


def test_auto_scale_lr(train: ModuleType, toy: Path) -> None:
    """The base batch is 8 and the batch is 2, so the rate is a quarter."""
    train.main(
        [
            str(toy),
            '--work-dir',
            'run',
            '--auto-scale-lr',
            '--cfg-options',
            'auto_scale_lr.base_batch_size=8',
        ]
    )
    state = torch.load('run/iter_1.pth', weights_only=False)['state_dict']
    assert state['weight'].item() == pytest.approx(1 - 0.1 / 4 * 0.5)


def test_dataloader_defaults_of_mmpretrain(
    train: ModuleType, toy: Path
) -> None:
    options = (
        '--cfg-options',
        'default_scope=mmpretrain',
        'train_dataloader.num_workers=2',
        'val_dataloader.collate_fn.type=other',
    )
    cfg = merged(train, str(toy), *options)
    assert cfg.train_dataloader.collate_fn == dict(type='default_collate')
    assert cfg.train_dataloader.pin_memory
    assert cfg.train_dataloader.persistent_workers
    assert cfg.val_dataloader.collate_fn == dict(type='other')
    # PyTorch refuses persistent workers where there are no workers
    assert not cfg.val_dataloader.persistent_workers

    cfg = merged(
        train, str(toy), '--no-pin-memory', '--no-persistent-workers', *options
    )
    assert not cfg.train_dataloader.pin_memory
    assert not cfg.train_dataloader.persistent_workers


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_other_scopes_keep_their_dataloaders(
    train: ModuleType, toy: Path, scope: str
) -> None:
    cfg = merged(
        train,
        str(toy),
        '--cfg-options',
        f'default_scope={scope}',
        'train_dataloader.num_workers=2',
    )
    assert not {'collate_fn', 'pin_memory', 'persistent_workers'} & set(
        cfg.train_dataloader
    )


def test_log_to(
    train: ModuleType, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, 'find_spec', lambda name: object())
    cfg = merged(train, str(toy), '--log-to', 'tensorboard', 'wandb')
    assert [backend.type for backend in cfg.visualizer.vis_backends] == [
        'LocalVisBackend',
        'TensorboardVisBackend',
        'WandbVisBackend',
    ]
    monkeypatch.setattr(train, 'find_spec', lambda name: None)
    with pytest.raises(train.ConfigError, match=r'mmhgkd\[log\]'):
        merged(train, str(toy), '--log-to', 'wandb')


def test_tensorboard_gets_the_scalars(train: ModuleType, toy: Path) -> None:
    assert (
        train.main([str(toy), '--work-dir', 'run', '--log-to', 'tensorboard'])
        == 0
    )
    [path] = Path('run').glob('*/vis_data/events.out.tfevents.*')
    events = EventAccumulator(str(path))
    events.Reload()
    assert events.Scalars('sum')[-1].value == pytest.approx(0.95 * 6)
    # beside the usual log
    assert list(Path('run').glob('*/vis_data/scalars.json'))


def test_log_without_its_package(
    train: ModuleType,
    toy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(train, 'find_spec', lambda name: None)
    assert train.main([str(toy), '--log-to', 'wandb']) == 2
    assert capsys.readouterr().err == (
        'error: --log-to wandb needs the package wandb; run '
        '`pip install "mmhgkd[log]"`\n'
    )


def test_progress(train: ModuleType, toy: Path) -> None:
    assert train.main([str(toy), '--work-dir', 'run', '--progress']) == 0
    cfg = merged(train, str(toy), '--progress')
    assert cfg.custom_hooks == [dict(type='mmhgkd.ProgressHook')]


@pytest.mark.parametrize('name', ['run_id.txt', 'iter_1.pth'])
def test_full_disk_ends_in_one_message(
    name: str,
    train: ModuleType,
    toy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:

    def full(handle: int) -> None:
        if f'.{name}.' in os.readlink(f'/proc/self/fd/{handle}'):
            raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    assert train.main([str(toy), '--work-dir', 'run']) == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('error: cannot write ')
    assert f'{name}: No space left on device' in error


def test_denied_file_ends_in_one_message(
    capsys: pytest.CaptureFixture[str],
) -> None:

    def deny() -> None:
        raise PermissionError(13, 'Permission denied', 'run/config.py')

    assert command_line.run_tool(deny) == 3
    assert capsys.readouterr().err == (
        'error: cannot open run/config.py: Permission denied; mend its '
        'permissions or those of its folder, then add --resume\n'
    )


def test_unknown_runner_type(
    train: ModuleType, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(toy), '--cfg-options', 'runner_type=Runer']
    assert train.main(argv) == 2
    assert capsys.readouterr().err == (
        'error: there is no runner `Runer`; did you mean `Runner`?\n'
    )


def test_own_runner_type(train: ModuleType, toy: Path) -> None:
    argv = [str(toy), '--work-dir', 'run', '--no-validate']
    assert train.main([*argv, '--cfg-options', 'runner_type=Runner']) == 0
    assert Path('run/iter_1.pth').is_file()
