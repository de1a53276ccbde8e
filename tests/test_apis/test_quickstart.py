import re
from pathlib import Path

import pytest
import torch
from mmpretrain.models import ResNet

from mmhgkd.apis import load_config, run_quickstart
from mmhgkd.apis.quickstart import (
    ARMS,
    NOT_TRAINED,
    main,
    print_results,
)


def test_small_run_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = run_quickstart(
        tmp_path / 'work', tmp_path / 'scenes', 40, 20, epochs=1, workers=0
    )
    assert list(results) == [
        'untrained',
        'SparK (pixels)',
        'H-GKD (distilled)',
        'supervised (labels)',
        'teacher',
    ]
    for row in results.values():
        assert 0 <= row['knn/top1'] <= 100
        assert 0 <= row['linear/top1'] <= 100
    print_results(results, tmp_path / 'work')
    printed = capsys.readouterr().out
    assert re.search(r'chance\W+10\.0\W+10\.0', printed)
    for arm, row in results.items():
        assert arm in printed
        assert f'{row["linear/top1"]:.1f}' in printed
    for folder in ('untrained', 'spark', 'h-gkd'):
        assert (tmp_path / 'work' / folder / 'panel.png').stat().st_size
        assert f'{folder}/panel.png' in printed.replace('\n', '')

    path = tmp_path / 'work' / 'h-gkd' / 'epoch_1.pth'
    assert str(path) in printed.replace('\n', '')
    weights = torch.load(path, weights_only=False)['state_dict']
    assert not any('teacher' in key for key in weights)
    options = load_config('hgkd/r18_quickstart').model.backbone
    plain = ResNet(
        18,
        stem_channels=options.stem_channels,
        base_channels=options.base_channels,
    )
    plain.load_state_dict(
        {
            key.removeprefix('backbone.'): value
            for key, value in weights.items()
            if key.startswith('backbone.')
        },
        strict=True,
    )

    written = path.stat().st_mtime_ns
    again = run_quickstart(
        tmp_path / 'work',
        tmp_path / 'scenes',
        40,
        20,
        epochs=1,
        workers=0,
        resume=True,
    )
    assert path.stat().st_mtime_ns == written
    for arm, row in results.items():
        assert again[arm]['linear/top1'] == row['linear/top1']


def test_students_and_trainings_are_equal() -> None:
    configs = [
        load_config(name)
        for arm, name in ARMS.items()
        if arm not in NOT_TRAINED
    ]
    for part in ('optim_wrapper', 'param_scheduler', 'train_cfg'):
        assert all(config[part] == configs[0][part] for config in configs)
    for config in configs:
        assert config.model.backbone == configs[0].model.backbone
        loader, first = config.train_dataloader, configs[0].train_dataloader
        assert loader.batch_size == first.batch_size
        assert loader.dataset.pipeline == first.dataset.pipeline


def test_other_data_in_the_folder_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'holiday.jpg').touch()
    assert main(['--data-root', str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith('error: ') and message.count('\n') == 1
    assert 'choose another output folder' in message
