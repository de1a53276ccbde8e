from pathlib import Path
from types import ModuleType

import pytest
from ranks import run_script

TRAIN = Path(__file__).resolve().parents[2] / 'tools' / 'train.py'

EXISTS_NOT = 'does not exist; add `--cfg-options'


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (
            ['--cfg-options', 'train_dataloader.dataset.data_root=none/data'],
            'the data folder `none/data` of '
            '`train_dataloader.dataset.data_root` '
            f'{EXISTS_NOT} train_dataloader.dataset.data_root=FOLDER`',
        ),
        (
            ['--cfg-options', 'val_dataloader.dataset.data_root=none'],
            'the data folder `none` of `val_dataloader.dataset.data_root` '
            f'{EXISTS_NOT} val_dataloader.dataset.data_root=FOLDER`',
        ),
        (
            [
                '--cfg-options',
                'val_dataloader.dataset.data_root=none',
                'val_dataloader.dataset.type=ToolDownloadDataset',
                'val_dataloader.dataset.download=False',
            ],
            'the data folder `none` of `val_dataloader.dataset.data_root` '
            f'{EXISTS_NOT} val_dataloader.dataset.data_root=FOLDER`',
        ),
        (
            ['--cfg-options', 'load_from=none.pth'],
            'the checkpoint `none.pth` does not exist; check the path on the '
            'command '
            'line or `load_from` in the config',
        ),
        (
            ['--resume', 'none.pth'],
            'the checkpoint `none.pth` does not exist; check the path on the '
            'command '
            'line or `load_from` in the config',
        ),
        (
            ['--cfg-options', 'model.teacher.checkpoint=mae.pth'],
            'the checkpoint `mae.pth` of `model.teacher.checkpoint` '
            f'{EXISTS_NOT} model.teacher.checkpoint=FILE`',
        ),
        (
            [
                '--cfg-options',
                'model.init_cfg.type=Pretrained',
                'model.init_cfg.checkpoint=resnet.pth',
            ],
            'the checkpoint `resnet.pth` of `model.init_cfg.checkpoint` '
            f'{EXISTS_NOT} model.init_cfg.checkpoint=FILE`',
        ),
        (
            ['--auto-scale-lr'],
            '`auto_scale_lr` needs the total batch size that the learning '
            'rate of '
            'the config is meant for; add `auto_scale_lr = '
            'dict(base_batch_size=...)` to the config',
        ),
        (
            ['--cfg-options', 'train_cfg=None'],
            'the config has no `train_cfg`, which this run needs',
        ),
        (
            ['--cfg-options', 'train_dataloader.datset.data_root=data'],
            '--cfg-options train_dataloader.datset.data_root: '
            '`train_dataloader` has '
            'no `datset`; did you mean `dataset`?',
        ),
        (
            ['--launcher', 'mpi'],
            '`--launcher mpi` needs GPUs and finds none; without them use '
            '`tools/dist_train.sh`, or `--launcher none`',
        ),
        (
            ['--launcher', 'slurm'],
            '`--launcher slurm` is for processes that `srun` starts, but '
            'SLURM_PROCID is not set; use `tools/slurm_train.sh` or '
            '`tools/slurm_test.sh`, or `--launcher none`',
        ),
    ],
)
def test_message(
    train: ModuleType,
    toy: Path,
    argv: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr('mmhgkd.runner.without_gpu.get_device', lambda: 'cpu')
    monkeypatch.delenv('SLURM_PROCID', raising=False)
    assert train.main([str(toy), *argv]) == 2
    assert capsys.readouterr().err == f'error: {message}\n'
    assert not Path('work_dirs').exists()


def test_amp_without_gpu(
    train: ModuleType,
    toy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr('mmhgkd.utils.preflight.get_device', lambda: 'cpu')
    monkeypatch.setattr('torch.cpu.get_capabilities', dict)
    assert train.main([str(toy), '--amp']) == 2
    assert (
        'needs a GPU, or a processor with products of bfloat16; leave `--amp` '
        'out' in capsys.readouterr().err
    )


def test_options_mend_what_they_can(train: ModuleType, toy: Path) -> None:
    """The checks see the config after the merge."""
    with toy.open('a') as file:
        file.write("train_dataloader['dataset']['data_root'] = 'none'\n")
    Path('data').mkdir()
    option = 'train_dataloader.dataset.data_root=data'
    assert train.main([str(toy), '--no-validate']) == 2
    assert (
        train.main([str(toy), '--no-validate', '--cfg-options', option]) == 0
    )


@pytest.mark.parametrize(
    'argv',
    [
        ['train_dataloader.dataset.data_root=s3://bucket/data'],
        [
            'train_dataloader.dataset.type=ToolDownloadDataset',
            'train_dataloader.dataset.data_root=none',
        ],
        [
            'train_dataloader.dataset.data_root=none',
            'train_dataloader.dataset.download=True',
        ],
        ['val_dataloader.dataset.data_root=none'],
    ],
)
def test_what_is_no_error(
    train: ModuleType, toy: Path, argv: list[str]
) -> None:
    """Remote data, data that download themselves, data that are not used."""
    assert train.main([str(toy), '--no-validate', '--cfg-options', *argv]) == 0


def test_missing_config(
    train: ModuleType, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(['none.py']) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: there is no config 'none.py'")
    assert error.count('\n') == 1


def test_broken_config(
    train: ModuleType, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.write_text('model = dict(\n')
    assert train.main([str(toy)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f'error: cannot read the config `{toy}`: Syntax')
    assert error.count('\n') == 1


def test_option_without_value(
    train: ModuleType, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match='2'):
        train.main([str(toy), '--cfg-options', 'work_dir'])
    assert (
        '--cfg-options takes items of the form KEY=VALUE'
        in capsys.readouterr().err
    )


def test_process_ends_without_traceback(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PYTHONPATH', str(Path(__file__).parent))
    process = run_script(TRAIN, str(toy), '--resume', 'none.pth')
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith('error: the checkpoint')
    assert 'Traceback' not in process.stderr
