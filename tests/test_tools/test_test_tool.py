import json
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mmhgkd.utils import load_config


@pytest.fixture
def checkpoint(toy: Path) -> str:
    state = {
        'weight': torch.tensor([3.0]),
        'steps': torch.zeros(()),
        'world_size': torch.zeros(()),
    }
    torch.save({'state_dict': state, 'meta': {}}, 'weights.pth')
    return 'weights.pth'


def merged(test: ModuleType, *argv: str) -> Any:
    args = test.parse_args(argv)
    cfg = load_config(args.config, args.cfg_options)
    test.merge_args(cfg, args)
    return cfg


def test_metrics_file(test: ModuleType, toy: Path, checkpoint: str) -> None:
    code = test.main(
        [
            str(toy),
            checkpoint,
            '--work-dir',
            'run',
            '--out',
            'metrics.json',
            '--out-item',
            'metrics',
        ]
    )
    assert code == 0
    assert json.loads(Path('metrics.json').read_text()) == {
        'sum': 3 * (0 + 1 + 2 + 3)
    }


def test_predictions_file(
    test: ModuleType, toy: Path, checkpoint: str
) -> None:
    code = test.main(
        [str(toy), checkpoint, '--work-dir', 'run', '--out', 'results.pkl']
    )
    assert code == 0
    results = pickle.loads(Path('results.pkl').read_bytes())
    assert [result.item() for result in results] == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ('scope', 'expected'),
    [
        ('mmpretrain', {'enable': True, 'out_dir': 'shown'}),
        ('mmdet', {'draw': True, 'test_out_dir': 'shown'}),
        ('mmseg', {'draw': True}),
    ],
)
def test_show_dir(
    test: ModuleType,
    toy: Path,
    checkpoint: str,
    scope: str,
    expected: dict[str, Any],
) -> None:
    cfg = merged(
        test,
        str(toy),
        checkpoint,
        '--show-dir',
        'shown',
        '--interval',
        '5',
        '--cfg-options',
        f'default_scope={scope}',
        'default_hooks.visualization.type=SomeHook',
        'visualizer.type=SomeVisualizer',
    )
    assert cfg.default_hooks.visualization == {
        'type': 'SomeHook',
        'interval': 5,
        'show': False,
        'wait_time': 2,
        **expected,
    }
    save_dir = 'shown' if scope == 'mmseg' else None
    assert cfg.visualizer.get('save_dir') == save_dir


def test_test_time_augmentation(
    test: ModuleType, toy: Path, checkpoint: str
) -> None:
    cfg = merged(
        test,
        str(toy),
        checkpoint,
        '--tta',
        '--cfg-options',
        'tta_model.type=Mean',
        'tta_pipeline=[a,b]',
    )
    assert cfg.model == dict(type='Mean', module=dict(type='ToolModel'))
    assert cfg.test_dataloader.dataset.pipeline == ['a', 'b']


def test_amp(test: ModuleType, toy: Path, checkpoint: str) -> None:
    assert merged(test, str(toy), checkpoint, '--amp').test_cfg.fp16


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (
            ['weights.pth', '--out', 'results.json'],
            '--out results.json: predictions are written to a .pkl file; for '
            'metrics add `--out-item metrics`',
        ),
        (
            ['weights.pth', '--show'],
            '--show and --show-dir need `default_hooks.visualization` in the '
            'config',
        ),
        (['weights.pth', '--tta'], '--tta needs `tta_model` in the config'),
        (
            ['none.pth'],
            'the checkpoint `none.pth` does not exist; check the path '
            'on the command line or `load_from` in the config',
        ),
        (
            ['weights.pth', '--cfg-options', 'test_evaluator=None'],
            'the config has no `test_evaluator`, which this run needs',
        ),
        (
            [
                'weights.pth',
                '--cfg-options',
                'test_dataloader.dataset.data_root=none',
            ],
            'the data folder `none` of `test_dataloader.dataset.data_root` '
            'does '
            'not exist; add `--cfg-options '
            'test_dataloader.dataset.data_root=FOLDER`',
        ),
    ],
)
def test_errors(
    test: ModuleType,
    toy: Path,
    checkpoint: str,
    argv: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert test.main([str(toy), *argv]) == 2
    assert capsys.readouterr().err == f'error: {message}\n'
