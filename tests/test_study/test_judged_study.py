"""Studies that the judge reads, with peers, labels and a detector."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from processes import runs, wait_for

from mmhgkd.datasets.scenes import write_scenes
from mmhgkd.utils import ConfigError

sys.path += [
    str(Path(__file__).parent),
    str(Path(__file__).parents[1] / 'test_tools'),
]
from studies import peer_arm, run_study
from studies.stage_configs import detection_config, pretraining_config
from studies.study_file import read_study
from tiny_study import TEACHER, write_study
from tool_loader import load_tool

ROOT = Path(__file__).parents[2]
NARROW = {
    'model.backbone.stem_channels': 8,
    'model.backbone.base_channels': 8,
    'train_dataloader.batch_size': 8,
    'train_dataloader.num_workers': 0,
}
DIRECT = {'model.head.direct_loss.in_channels': 64}
# Takes what lightly_train_peer.py takes, and trains nothing.
PEER = """
import argparse, json, os, sys
from pathlib import Path
from mmengine.config import Config
import torch
parser = argparse.ArgumentParser()
for name in ('method', 'data', 'student-config', 'epochs', 'batch-size',
             'threads', 'seed', 'out', 'lr', 'optimizer'):
    parser.add_argument('--' + name)
parser.add_argument('--no-mixup', action='store_true')
args = parser.parse_args()
if args.lr == '13':
    sys.exit('error: unlucky')
if args.lr == '99':
    import time
    Path(args.out).with_name('pid').write_text(str(os.getpid()))
    time.sleep(600)
cfg = Config.fromfile(args.student_config)
from mmhgkd.apis import build_student
student = build_student('resnet18', base_channels=8, stem_channels=8)
state = {f'backbone.{k}': v for k, v in student.backbone.state_dict().items()}
torch.save(dict(state_dict=state, meta=dict(cfg=cfg.pretty_text)), args.out)
Path(args.out).with_suffix('.json').write_text(json.dumps(dict(
    vars(args), images_seen=40, seconds=8.0, cpu_seconds=5.0,
    norm=cfg.model.teacher.target_norm)))
"""


def arm(name: str, **changes: Any) -> dict[str, Any]:
    return dict(
        {'name': name, 'config': 'hgkd/r18_scenes', 'options': DIRECT},
        **changes,
    )


def judged(data_root: Path, arms: list[dict], **changes: Any) -> dict:
    return dict(
        dict(
            data_root=str(data_root),
            epochs=2,
            seeds=[0],
            teacher=dict(checkpoint=str(TEACHER)),
            options=NARROW,
            judge=dict(size=64),
            arms=arms,
        ),
        **changes,
    )


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    return load_tool('benchmarks/study')


@pytest.fixture(scope='module')
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(
        tmp_path_factory.mktemp('judged') / 'scenes', 'cls', 100, 20
    )


@pytest.fixture
def fake_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / 'peer.py'
    tool.write_text(PEER)
    monkeypatch.setattr(peer_arm, 'TOOL', tool)
    monkeypatch.setattr(run_study, 'check_peers', lambda python: None)


@pytest.mark.usefixtures('fake_peer')
def test_all_methods_and_the_judge(
    tool: ModuleType,
    scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    supervised = {**NARROW, 'model.head.in_channels': 64}
    arms = [
        arm('untrained', method='scratch'),
        arm('direct', epochs=1),
        arm(
            'labels',
            config='classification/r18_scratch_folder',
            method='supervised',
            options=supervised,
            epochs=1,
        ),
        arm(
            'v2',
            method='distillationv2',
            peer=dict(lr=0.5, no_mixup=True),
            options={**DIRECT, 'model.teacher.target_norm': 'batch_norm'},
        ),
        arm('unlucky', method='distillationv1', peer=dict(lr=13)),
    ]
    path = write_study(tmp_path / 'photos.yml', judged(scenes, arms))
    work = tmp_path / 'work'
    argv = [path, '--work-dir', str(work), '--workers', '0']
    # One that fails does not stop the others.
    assert tool.main([*argv, '--peers', sys.executable]) == 3
    error = capsys.readouterr().err
    assert '1 of 5 runs have failed: unlucky_seed0: lightly-train' in error
    assert 'error: unlucky' in error
    found = {
        name: json.loads((work / f'results/{name}_seed0.json').read_text())
        for name in ('untrained', 'direct', 'labels', 'v2')
    }
    tasks = {'knn', 'linear', 'few', 'few_std'}
    cost = {'images_per_second', 'cpu_seconds'}
    assert set(found['untrained']['metrics']) == tasks
    assert set(found['direct']['metrics']) == tasks | cost
    assert set(found['labels']['metrics']) == tasks | cost
    assert set(found['v2']['metrics']) == tasks | cost
    assert found['v2']['metrics']['images_per_second'] == 5
    assert found['direct']['settings']['epochs'] == 1
    assert found['v2']['settings']['epochs'] == 2
    assert 'peer' not in found['direct']['settings']
    # The figures are those of the tool that judges checkpoints.
    checkpoint = work / 'runs/direct_seed0/pretrain/epoch_1.pth'
    judge = load_tool('benchmarks/judge')
    out = tmp_path / 'judge.json'
    assert (
        judge.main(
            [
                str(checkpoint),
                *('--data', str(scenes / 'train')),
                *('--test', str(scenes / 'val'), '--size', '64'),
                *('--json', str(out)),
            ]
        )
        == 0
    )
    row = json.loads(out.read_text())['rows'][str(checkpoint)]
    assert row == {key: found['direct']['metrics'][key] for key in tasks}
    assert 'cpu_seconds' in found['direct']['metrics']
    # The peer was asked for what the arm says.
    asked = json.loads(
        (work / 'runs/v2_seed0/pretrain/student.json').read_text()
    )
    assert asked['method'] == 'distillationv2' and asked['epochs'] == '2'
    assert asked['lr'] == '0.5' and asked['no_mixup'] is True
    assert asked['batch_size'] == '8' and asked['seed'] == '0'
    assert asked['data'] == str(scenes / 'train')
    assert asked['norm'] == 'batch_norm'
    capsys.readouterr()
    assert tool.main([*argv, '--table-only']) == 0
    header = capsys.readouterr().out.splitlines()[0]
    assert header == (
        '| arm | kNN | linear | 10 %, frozen | images/s | CPU s | seeds |'
    )


@pytest.mark.usefixtures('fake_peer')
def test_a_peer_ends_with_the_study(scenes: Path, tmp_path: Path) -> None:
    study = judged(
        scenes, [arm('v2', method='distillationv2', peer=dict(lr=99))]
    )
    path = write_study(tmp_path / 'photos.yml', study)
    code = (
        'import sys; from studies import peer_arm, run_study; import study; '
        f'peer_arm.TOOL = {str(peer_arm.TOOL)!r}; '
        'run_study.check_peers = lambda python: None; '
        'study.main(sys.argv[1:])'
    )
    paths = [ROOT, ROOT / 'tools' / 'benchmarks']
    process = subprocess.Popen(
        [
            *(sys.executable, '-c', code, path),
            *('--work-dir', str(tmp_path / 'work'), '--workers', '0'),
            *('--peers', sys.executable),
        ],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, paths))),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    file = tmp_path / 'work/runs/v2_seed0/pretrain/pid'
    assert wait_for(
        lambda: (
            process.poll() is not None or (file.is_file() and file.read_text())
        ),
        300,
    )
    assert process.poll() is None
    process.kill()
    process.wait()
    peer = int(file.read_text())
    if not wait_for(lambda: not runs(peer)):
        os.kill(peer, signal.SIGKILL)
        pytest.fail('the peer goes on without its study')


def test_detector(
    tool: ModuleType,
    scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    elsewhere = str(write_scenes(tmp_path / 'det', 'det', 8, 2))
    path = write_study(
        tmp_path / 'photos.yml',
        judged(
            scenes,
            [arm('direct', epochs=1)],
            detect=dict(
                config='detection/mask-rcnn_hgkd-r18_scenes',
                epochs=1,
                data_root=elsewhere,
                options={
                    'model.backbone.stem_channels': 8,
                    'model.backbone.base_channels': 8,
                    'model.neck.in_channels': [8, 16, 32, 64],
                },
            ),
        ),
    )
    study = read_study(path)
    cfg = detection_config(study, str(TEACHER), 4, tmp_path / 'd', 0)
    assert cfg.model.backbone.init_cfg.checkpoint == str(TEACHER)
    assert cfg.model.backbone.base_channels == 8
    assert cfg.train_cfg.max_epochs == 1 and cfg.randomness.seed == 4
    # Else the next detector of this process would draw into its folder.
    assert cfg.visualizer.name == cfg.experiment_name
    # Not the photos: annotations and images lie elsewhere.
    assert cfg.val_evaluator.ann_file.startswith(elsewhere)
    assert elsewhere in str(cfg.train_dataloader.dataset)
    assert str(scenes) not in str(cfg.train_dataloader.dataset)
    cfg = detection_config(study, None, 4, tmp_path / 'd', 0)
    assert cfg.model.backbone.init_cfg is None

    work_dir = tmp_path / 'work'
    options = ['--work-dir', str(work_dir), '--workers', '0']
    assert tool.main([path, *options]) == 0
    assert (
        '| arm | kNN | linear | 10 %, frozen | box AP | images/s | CPU s '
        '| seeds |' in capsys.readouterr().out
    )
    result = json.loads((work_dir / 'results/direct_seed0.json').read_text())
    assert 0 <= result['metrics']['detect'] <= 100
    stage = work_dir / 'runs/direct_seed0/detect'
    assert 'load backbone. in model' in next(stage.rglob('*.log')).read_text()
    assert not list(stage.glob('*.pth'))


def test_judged_arms_have_no_probes_of_their_own(
    scenes: Path, tmp_path: Path
) -> None:
    path = write_study(
        tmp_path / 'photos.yml',
        judged(scenes, [arm('direct', config='hgkd/r18_folder')]),
    )
    study = read_study(path)
    cfg = pretraining_config(
        study,
        study.arms[0],
        0,
        run_study.TeacherFiles(str(TEACHER)),
        10,
        tmp_path / 'p',
        0,
    )
    assert cfg.val_dataloader is None and cfg.train_cfg.max_epochs == 2


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(judge=None), 'the study needs `finetune`, `judge`, or both'),
        (
            dict(arms=[arm('a', peer=dict(lr=1.0))]),
            "options for a `peer`, but its method is 'pretrain'",
        ),
        (dict(arms=[arm('a', epochs=0)]), 'would train for 0 epochs'),
        (dict(judge=dict(size=16)), '`judge` needs a `size` of 32 or more'),
        (dict(judge=dict(test=[])), '`judge` needs a `size` of 32 or more'),
        (dict(judge=dict(sise=64)), 'did you mean `size`'),
        (
            dict(
                judge=None,
                finetune=dict(config='a', epochs=1),
                arms=[arm('a', method='distillationv2')],
            ),
            'has no probes of its own; add `judge`',
        ),
    ],
)
def test_bad_study(
    scenes: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    study = judged(scenes, **{'arms': [arm('a')], **changes})
    study = {key: value for key, value in study.items() if value is not None}
    with pytest.raises(ConfigError, match=message.replace('(', r'\(')):
        read_study(write_study(tmp_path / 'bad.yml', study))


def test_labels_need_a_classification(
    tool: ModuleType,
    scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = judged(scenes, [arm('a', method='supervised')])
    path = write_study(tmp_path / 'bad.yml', study)
    assert tool.main([path, '--work-dir', str(tmp_path / 'w')]) == 2
    assert 'its config is no classification' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('python', 'message'),
    [
        (None, 'give the Python of the environment that has it by --peers'),
        ('nowhere', '--peers nowhere: No such file'),
        ('false', 'has no lightly-train'),
    ],
)
def test_peers_are_looked_for(python: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_study.check_peers(python)


def test_untrained_weights_are_kept(scenes: Path, tmp_path: Path) -> None:
    path = write_study(
        tmp_path / 'photos.yml', judged(scenes, [arm('a', method='scratch')])
    )
    tool = load_tool('benchmarks/study')
    for name in 'ab':
        argv = [path, '--work-dir', str(tmp_path / name), '--workers', '0']
        assert tool.main(argv) == 0
    file = 'runs/a_seed0/pretrain/untrained.pth'
    first, second = (
        torch.load(tmp_path / name / file, weights_only=True)['state_dict']
        for name in 'ab'
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
