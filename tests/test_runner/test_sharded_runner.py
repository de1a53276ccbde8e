"""FSDP on two processes of the CPU."""

import json
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
FSDP = "\nrunner_type = 'mmhgkd.runner.ShardedRunner'\n"
SMALL = [
    'train_dataloader.dataset.data_root=images',
    'val_dataloader.dataset.data_root=images',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'model.backbone.base_channels=8',
    'model.backbone.stem_channels=8',
    'model.neck.in_channels=(8,16,32,64)',
    'model.neck.width=16',
    'train_dataloader.batch_size=4',
]


@pytest.fixture(scope='module')
def config(soak: ModuleType) -> str:
    """Every third step is saved in the midst of an accumulation."""
    soak.preload()
    text = soak.CONFIG
    for old, new in (
        ("dict(type='EMAHook', momentum=0.01),", ''),
        ('max_keep_ckpts=2', 'max_keep_ckpts=-1'),
        ('interval=2', 'interval=1'),
        ('max_epochs=3', 'max_epochs=2'),
        (
            "optimizer=dict(type='AdamW', lr=1e-3)",
            "optimizer=dict(type='mmhgkd.TimmLamb', lr=1e-2, foreach=True), "
            'accumulative_counts=2',
        ),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture(scope='module')
def runs(
    soak: ModuleType, config: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The same training with DDP and with FSDP."""
    runs = {}
    for name, text in (('ddp', config), ('fsdp', config + FSDP)):
        runs[name] = soak.Run(tmp_path_factory.mktemp(name), 2, text)
        finish(runs[name])
    return runs


def finish(run: Any) -> None:
    codes = run.finish(run.start())
    assert codes == [0, 0], run.log.read_text()[-3000:]


def losses(run: Any) -> torch.Tensor:
    path = next(run.work_dir.glob('*/vis_data/scalars.json'))
    rows = map(json.loads, path.read_text().splitlines())
    return torch.tensor(
        [(row['loss_feat'], row['loss_sim']) for row in rows],
        dtype=torch.float64,
    )


def load(run: Any, iteration: int) -> dict[str, Any]:
    path = run.work_dir / f'iter_{iteration}.pth'
    keys = ('state_dict', 'optimizer', 'gradients')
    content = torch.load(path, weights_only=False)
    return {key: content[key] for key in keys if key in content}


def test_processes_keep_half_of_the_parameters(runs: dict[str, Any]) -> None:
    found = re.search(
        r'keeps (\d+) of (\d+) parameters', runs['fsdp'].log.read_text()
    )
    assert found is not None
    own, total = map(int, found.groups())
    weights = load(runs['fsdp'], 6)['state_dict']
    student = sum(v.numel() for k, v in weights.items() if 'weight' in k)
    assert total > student
    assert 0.5 <= own / total < 0.52


def test_losses_are_those_of_ddp(runs: dict[str, Any]) -> None:
    expected = losses(runs['ddp'])
    assert len(expected) == 6
    assert expected[1:, 1].abs().min() > 0
    torch.testing.assert_close(
        losses(runs['fsdp']), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize('iteration', [1, 6])
def test_checkpoint_is_that_of_ddp(
    runs: dict[str, Any], iteration: int
) -> None:
    ours, theirs = (load(runs[name], iteration) for name in ('fsdp', 'ddp'))
    assert ('gradients' in ours) == (iteration == 1)
    assert not any('teacher' in name for name in ours['state_dict'])
    # Types too: no shard is left.
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_resumed_run_equals_unbroken_run(
    runs: dict[str, Any], soak: ModuleType, config: str, tmp_path: Path
) -> None:
    resumed = soak.Run(tmp_path, 2, config + FSDP)
    resumed.work_dir.mkdir()
    shutil.copy(runs['fsdp'].work_dir / 'iter_3.pth', resumed.work_dir)
    finish(resumed)
    assert soak.differences(load(runs['fsdp'], 6), load(resumed, 6)) == []
    assert soak.differences(load(runs['fsdp'], 6), load(resumed, 3)) != []


@pytest.mark.parametrize(
    ('first', 'then'), [('ddp', FSDP), ('fsdp', '')], ids=['ddp', 'fsdp']
)
def test_either_resumes_the_other(
    runs: dict[str, Any],
    soak: ModuleType,
    config: str,
    tmp_path: Path,
    first: str,
    then: str,
) -> None:
    resumed = soak.Run(tmp_path, 2, config + then)
    resumed.work_dir.mkdir()
    shutil.copy(runs[first].work_dir / 'iter_4.pth', resumed.work_dir)
    finish(resumed)
    torch.testing.assert_close(
        load(resumed, 6), load(runs['ddp'], 6), rtol=1e-3, atol=1e-5
    )


def test_average_of_shards_is_refused(
    soak: ModuleType, tmp_path: Path
) -> None:
    run = soak.Run(tmp_path, 2, soak.CONFIG + FSDP)
    assert run.finish(run.start()) == [2, 2]
    assert 'error: EMAHook does not work on a model' in run.log.read_text()


def test_shipped_config_trains_evaluates_and_resumes(
    class_folders: Path, tmp_path: Path, soak: ModuleType
) -> None:
    (tmp_path / 'images').symlink_to(class_folders)
    config = ROOT / 'configs' / 'hgkd' / 'r18_scenes_fsdp.py'
    for epochs in (1, 2):
        run = soak.Run(
            tmp_path,
            2,
            f'_base_ = {str(config)!r}',
            [
                '--cfg-options',
                *SMALL,
                f'train_cfg.max_epochs={epochs}',
                'train_cfg.val_interval=1',
            ],
        )
        finish(run)
    # The resumed run repeats the validation, before any step.
    assert run.log.read_text().count('linear/top1') == 3
    saved = torch.load(run.work_dir / 'epoch_2.pth', weights_only=False)
    assert saved['meta']['iter'] == 2
    assert saved['state_dict']['backbone.conv1.weight'].shape == (8, 3, 7, 7)
