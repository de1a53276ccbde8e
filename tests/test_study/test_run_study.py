import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from mmengine.runner import EpochBasedTrainLoop

from mmhgkd.datasets.scenes import write_scenes

sys.path += [
    str(Path(__file__).parent),
    str(Path(__file__).parents[1] / 'test_tools'),
]
from tiny_study import content, write_study
from tool_loader import load_tool

METRICS = {'knn', 'linear', 'finetune', 'few_labels'}


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    return load_tool('benchmarks/study')


@pytest.fixture(scope='module')
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(
        tmp_path_factory.mktemp('study') / 'scenes', 'cls', 20, 10
    )


def result(work_dir: Path, name: str) -> dict[str, Any]:
    return json.loads((work_dir / 'results' / f'{name}.json').read_text())


def skip_finetuning(work_dir: Path, name: str) -> None:
    """As if it had been done before an interruption."""
    for stage in ('finetune', 'few_labels'):
        folder = work_dir / 'runs' / name / stage
        folder.mkdir(parents=True)
        (folder / 'metrics.json').write_text('{"accuracy/top1": 12.5}')


def test_end_to_end_and_skip(
    tool: ModuleType,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_study(tmp_path / 'tiny.yml', content(scenes))
    work = tmp_path / 'work'
    argv = [path, '--work-dir', str(work), '--workers', '0']
    assert tool.main(argv) == 0
    scratch, centered = (
        result(work, 'scratch_seed0'),
        result(work, 'centered_seed0'),
    )
    assert set(scratch['metrics']) == METRICS
    assert set(centered['metrics']) == METRICS | {
        'images_per_second',
        'cpu_seconds',
        'gradient_feat',
        'gradient_sim',
        'gradient_cosine',
        'loss_feat',
        'pearson',
        'self_variance_share',
        'embedding_cosine',
    }
    assert all(0 <= scratch['metrics'][key] <= 100 for key in METRICS)
    assert (
        centered['settings']['options']['model.head.similarity_loss.center']
        == 'mean'
    )
    assert centered['settings']['data'] == dict(train=20, val=10, classes=10)
    assert centered['versions']['torch'] == torch.__version__
    assert centered['device']
    # The queue was empty in the first step.
    assert centered['metrics']['gradient_sim'] > 0
    printed = capsys.readouterr().out
    assert f'| centered | {centered["metrics"]["knn"]:.1f} |' in printed
    # Of three steps the last is the last quarter.
    log = next(
        (work / 'runs/centered_seed0/pretrain').glob('*/vis_data/*.json')
    )
    steps = [
        row
        for line in log.read_text().splitlines()
        if 'loss_feat' in (row := json.loads(line))
    ]
    assert len(steps) == 3
    assert centered['metrics']['loss_feat'] == steps[-1]['loss_feat']
    # The backbone of the arm is what is fine-tuned.
    stage = work / 'runs' / 'centered_seed0'
    log = next((stage / 'finetune').glob('*/*.log')).read_text()
    assert f'{stage / "pretrain" / "epoch_1.pth"}: fits 100 of 100' in log
    log = next((stage / 'few_labels').glob('*/vis_data/config.py')).read_text()
    assert 'label_fraction=0.1' in log

    def unwanted(*args: Any, **kwargs: Any) -> None:
        raise AssertionError('this has been done')

    page = tmp_path / 'page.md'
    page.write_text('a\n<!-- table tiny -->\nold\n<!-- end -->\nb\n')
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules['studies.run_study'], 'run_arm', unwanted)
        assert tool.main([*argv, '--page', str(page)]) == 0
    text = page.read_text()
    assert text.startswith('a\n<!-- table tiny -->\n\n| arm | kNN |')
    assert 'old' not in text and text.endswith('\n<!-- end -->\nb\n')
    # Another recipe must not be mixed with these results.
    write_study(tmp_path / 'tiny.yml', content(scenes, epochs=2))
    assert tool.main(argv) == 2
    assert 'was made with another `epochs`' in capsys.readouterr().err


def test_interrupted_arm_goes_on_as_if_it_was_not(
    tool: ModuleType,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_study(tmp_path / 'tiny.yml', content(scenes, epochs=2))
    argv = [path, '--workers', '0', '--arms', 'centered', '--seeds', '3']
    for name in ('whole', 'cut'):
        skip_finetuning(tmp_path / name, 'centered_seed3')
    assert tool.main([*argv, '--work-dir', str(tmp_path / 'whole')]) == 0
    epoch = EpochBasedTrainLoop._decide_current_val_interval

    def cut(loop: EpochBasedTrainLoop) -> None:
        epoch(loop)
        raise KeyboardInterrupt

    argv += ['--work-dir', str(tmp_path / 'cut')]
    with monkeypatch.context() as patch:
        patch.setattr(EpochBasedTrainLoop, '_decide_current_val_interval', cut)
        assert tool.main(argv) == 130
    folder = tmp_path / 'cut' / 'runs' / 'centered_seed3' / 'pretrain'
    assert (folder / 'epoch_1.pth').is_file()
    assert not (tmp_path / 'cut' / 'results').exists()
    assert tool.main(argv) == 0
    whole, resumed = (
        result(tmp_path / name, 'centered_seed3')['metrics']
        for name in ('whole', 'cut')
    )
    assert set(whole) >= METRICS
    for key in METRICS:
        assert resumed[key] == whole[key]
    weights = [
        torch.load(
            tmp_path / name / 'runs/centered_seed3/pretrain/epoch_2.pth',
            weights_only=False,
        )['state_dict']
        for name in ('whole', 'cut')
    ]
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key


def test_other_kinds_of_arms(
    tool: ModuleType, scenes: Path, tmp_path: Path
) -> None:
    arms = [
        dict(name='soft', config='hgkd/r18_scenes_unet', method='soft_labels'),
        dict(
            name='zeros',
            config='hgkd/r18_scenes_unet',
            options={
                'model.backbone.backend': 'zero_filled',
                'model.head.embedding.source': 'tokens',
                'model.head.similarity_loss.center': 'whiten',
            },
        ),
    ]
    study = content(
        scenes,
        arms=arms,
        teacher=dict(
            config='mae/vit-micro_scenes',
            epochs=1,
            options={
                'train_dataloader.batch_size': 8,
                'model.backbone.arch.num_layers': 1,
            },
        ),
    )
    study['options']['model.teacher.backbone.arch.num_layers'] = 1
    work = tmp_path / 'work'
    skip_finetuning(work, 'zeros_seed0')
    argv = [
        write_study(tmp_path / 'tiny.yml', study),
        '--work-dir',
        str(work),
        '--workers',
        '0',
    ]
    assert tool.main(argv) == 0
    for name in ('soft', 'zeros'):
        assert set(result(work, f'{name}_seed0')['metrics']) > METRICS
    teacher = json.loads((work / 'teacher.json').read_text())['metrics']
    assert set(teacher) == {'knn', 'linear'}
    probe = torch.load(work / 'teacher' / 'probe.pth')
    assert probe['weight'].shape == (10, 192)


def test_a_diverged_arm_does_not_stop_the_others(
    tool: ModuleType,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = []

    def stage(
        cfg: Any, train: bool = True, evaluate: bool = True
    ) -> dict[str, float]:
        if 'centered' in cfg.work_dir:
            raise FloatingPointError('the loss is not finite')
        done.append(Path(cfg.work_dir).name)
        return {'knn/top1': 1.0, 'linear/top1': 2.0, 'accuracy/top1': 3.0}

    monkeypatch.setattr('studies.run_arm.run_stage', stage)
    study = content(scenes)
    study['arms'].reverse()
    path = write_study(tmp_path / 'tiny.yml', study)
    assert tool.main([path, '--work-dir', str(tmp_path / 'work')]) == 3
    error = capsys.readouterr().err
    assert '1 of 2 runs have failed: centered_seed0: the loss' in error
    assert done == ['pretrain', 'finetune', 'few_labels']
    metrics = result(tmp_path / 'work', 'scratch_seed0')['metrics']
    assert metrics == dict(knn=1, linear=2, finetune=3, few_labels=3)


def test_job_in_a_process_of_its_own(
    tool: ModuleType, scenes: Path, tmp_path: Path
) -> None:
    study = content(scenes)
    study['arms'] = study['arms'][:1]
    path = write_study(tmp_path / 'tiny.yml', study)
    work = tmp_path / 'work'
    skip_finetuning(work, 'scratch_seed1')
    assert (
        tool.main(
            [
                path,
                '--work-dir',
                str(work),
                '--jobs',
                '2',
                '--seeds',
                '1',
                '--workers',
                '0',
            ]
        )
        == 0
    )
    found = result(work, 'scratch_seed1')
    assert found['settings']['seed'] == 1
    assert found['metrics']['finetune'] == 12.5
    assert 0 <= found['metrics']['knn'] <= 100


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['--data-root', 'nowhere'], 'the data folder `nowhere`'),
        (
            ['--arms', 'no'],
            'the study has no arm `no`; its arms are scratch, ',
        ),
        (['--teacher', 'no.pth'], 'the teacher `no.pth` does not exist'),
        (['--table-only'], 'holds no results'),
        (['--jobs', '0'], '--jobs must be at least 1'),
    ],
)
def test_bad_command_is_one_line(
    tool: ModuleType,
    scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    message: str,
) -> None:
    path = write_study(tmp_path / 'tiny.yml', content(scenes))
    assert tool.main([path, '--work-dir', str(tmp_path / 'w'), *argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1
    assert message in error
