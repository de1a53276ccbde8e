"""Code that lies in files, and runs by none of the ways to read them.

A config that a user names is a program. Everything else, a checkpoint, the
folder of a run, a study, an annotation file, is data.
"""

import copy
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import mmengine
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope
from mmpretrain.models import GlobalAveragePooling, ImageClassifier
from PIL import Image
from test_demo_tool import demo
from test_report_tool import report
from tool_loader import load_tool
from toy_run import config as run_config
from toy_run import write_run

from mmhgkd.algorithms import HGKD
from mmhgkd.apis import extract_features, load_student
from mmhgkd.backbones import SparseResNet
from mmhgkd.necks import UNetNeck
from mmhgkd.report import RunRecord
from mmhgkd.runner import command_line, safe_loading
from mmhgkd.teachers.checkpoint import read_state_dict
from mmhgkd.utils import ConfigError, load_config
from mmhgkd.utils.known_types import known_types
from mmhgkd.visualization.trained_model import run_inputs

STUDIES = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks'
BACKBONE = dict(
    type='mmhgkd.SparseResNet', depth=18, stem_channels=8, base_channels=8
)
STEPS = [
    dict(type='LoadImageFromFile'),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs'),
]


class Trap:
    """A folder that appears where planted code runs, in many forms."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: a part of a config whose type is any function
        self.part = dict(type='os.mkdir', path=str(path))
        self.code = f'import os\nos.mkdir({str(path)!r})\n'
        self.yaml = f'!!python/object/apply:os.mkdir [{str(path)!r}]\n'
        self.expression = f'uint8 and __import__("os").mkdir({str(path)!r})'

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)

    def sprung(self) -> bool:
        return self.path.exists()

    def works(self) -> None:
        """The attack works where nothing is done against it."""
        assert self.sprung()
        self.path.rmdir()


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    trap = Trap(tmp_path / 'trap')
    # A package that a scope could name.
    package = tmp_path / 'path' / 'planted'
    package.mkdir(parents=True)
    (package / '__init__.py').write_text('')
    (package / 'registry.py').write_text(trap.code)
    (package.parent / 'planted_module.py').write_text(trap.code)
    monkeypatch.syspath_prepend(package.parent)
    yield trap
    for name in ('planted', 'planted.registry', 'planted_module'):
        sys.modules.pop(name, None)
    assert not trap.sprung()


def plant(path: Path, **meta: Any) -> None:
    """Change the meta information of a checkpoint."""
    content = torch.load(path, weights_only=False)
    content['meta'].update(meta)
    torch.save(content, path)


def student_file(folder: Path, config: dict[str, Any] | str) -> str:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        network = MODELS.build(BACKBONE)
    state = {f'backbone.{k}': v for k, v in network.state_dict().items()}
    if not isinstance(config, str):
        config = Config(config).pretty_text
    path = folder / 'student.pth'
    torch.save(dict(state_dict=state, meta=dict(cfg=config)), path)
    return str(path)


def with_config(run: Path, text: str) -> str:
    (path,) = run.glob('*/vis_data/config.py')
    path.write_text(text)
    return str(run)


def test_the_attacks_work(trap: Trap) -> None:
    """The tests below would prove nothing otherwise."""
    Config.fromstring(trap.code, '.py')
    trap.works()
    yaml.load(trap.yaml, yaml.Loader)
    trap.works()
    MODELS.build(trap.part)
    trap.works()
    with pytest.raises(KeyError):
        MODELS.build(dict(type='planted.Network'))
    trap.works()
    with pytest.raises(Exception):
        MODELS.build(dict(type='planted_module'))
    trap.works()
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        TRANSFORMS.build(
            dict(type='torchvision/ConvertImageDtype', dtype=trap.expression)
        )
    trap.works()


@pytest.mark.parametrize('by_tool', [True, False])
@pytest.mark.parametrize('runner', ['ResumableRunner', 'Runner'])
def test_resume(
    train: ModuleType, toy: Path, trap: Trap, by_tool: bool, runner: str
) -> None:
    if runner == 'Runner':
        if not by_tool:
            pytest.skip('that is MMEngine alone')
        toy.write_text(toy.read_text() + "runner_type = 'Runner'\n")
    assert train.main([str(toy), '--work-dir', 'run']) == 0
    text = toy.read_text().replace('max_iters=1', 'max_iters=2')
    toy.write_text(text)
    # MMEngine runs the one, and stores the other.
    plant(Path('run/iter_1.pth'), config=trap.code, cfg=trap.code)
    argv = [str(toy), '--work-dir', 'run', '--resume']
    if by_tool:
        assert train.main(argv) == 2
    else:
        cfg = load_config(str(toy))
        cfg.update(work_dir='run', resume=True, launcher='none')
        with pytest.raises(ConfigError, match='is not run'):
            command_line.build_runner(cfg).train()
    plant(Path('run/iter_1.pth'), config='gpu_ids = [0]')
    assert train.main(argv) == 0


class Loads(Hook):
    """Stands for the parts that load weights of their own."""

    def before_run(self, runner: Any) -> None:
        torch.load('run/iter_1.pth', weights_only=False)


def test_weights_without_a_tool(
    train: ModuleType, toy: Path, trap: Trap
) -> None:
    assert train.main([str(toy), '--work-dir', 'run']) == 0
    plant(Path('run/iter_1.pth'), seed=trap)
    cfg = load_config(str(toy))
    cfg.update(work_dir='other', launcher='none')
    runner = command_line.build_runner(cfg)
    runner.register_hook(Loads())
    with pytest.raises(pickle.UnpicklingError):
        runner.train()


def test_test(
    train: ModuleType, test: ModuleType, toy: Path, trap: Trap
) -> None:
    assert train.main([str(toy), '--work-dir', 'run']) == 0
    path = Path('run/iter_1.pth')
    plant(path, config=trap.code, cfg=trap.code)
    assert test.main([str(toy), str(path)]) == 0
    plant(path, seed=trap)
    assert test.main([str(toy), str(path)]) == 2


@pytest.mark.parametrize('tool', ['report', 'compare_runs', 'plot_logs'])
def test_report(
    tool: str, trap: Trap, tmp_path: Path, class_folders: Path
) -> None:
    run = with_config(write_run(tmp_path / 'toy', class_folders), trap.code)
    if tool == 'report':
        assert report.main([run]) == 2
    else:
        main = load_tool(f'analysis_tools/{tool}').main
        out = str(tmp_path / 'out.svg')
        assert main([run, '--out', out]) in (0, 2)


def test_study(
    trap: Trap,
    tmp_path: Path,
    class_folders: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(STUDIES)
    from studies.results import training_metrics

    main = load_tool('benchmarks/study').main
    path = tmp_path / 'study.yml'
    path.write_text(f'epochs: {trap.yaml}')
    assert main([str(path)]) == 2
    run = write_run(tmp_path / 'toy', class_folders)
    assert training_metrics(run)['images_per_second'] == 8
    with pytest.raises(ConfigError, match='is not run'):
        training_metrics(Path(with_config(run, trap.code)))


def configs(trap: Trap) -> list[dict[str, Any] | str]:
    """Configs of a student in which code is planted."""
    return [
        trap.code + "model = dict(backbone=dict(type='ResNet'))",
        dict(model=dict(backbone=trap.part)),
        dict(model=dict(backbone={**BACKBONE, '_scope_': 'planted'})),
        dict(model=dict(backbone=dict(type='planted.Network'))),
        dict(model=dict(backbone=dict(type='planted_module'))),
        dict(model=dict(backbone=dict(BACKBONE, norm_cfg=trap.part))),
        dict(
            model=dict(
                type='ImageClassifier', backbone=BACKBONE, head=trap.part
            )
        ),
    ]


@pytest.mark.parametrize('number', range(7))
def test_export_and_apis(trap: Trap, tmp_path: Path, number: int) -> None:
    checkpoint = student_file(tmp_path, configs(trap)[number])
    with pytest.raises(ConfigError):
        load_student(checkpoint)
    out = tmp_path / 'out.pth'
    main = load_tool('model_converters/export_student').main
    assert main([checkpoint, str(out)]) == 2
    assert not out.exists()


@pytest.mark.parametrize('number', range(7))
@pytest.mark.parametrize('end', ['onnx', 'xml'])
def test_graphs(trap: Trap, tmp_path: Path, number: int, end: str) -> None:
    checkpoint = student_file(tmp_path, configs(trap)[number])
    out = tmp_path / f'out.{end}'
    main = load_tool('model_converters/export_student').main
    assert main([checkpoint, str(out)]) == 2
    assert not out.exists()


@pytest.mark.parametrize('part', ['backbone', 'decode_head', 'scope'])
def test_graph_of_a_task(trap: Trap, tmp_path: Path, part: str) -> None:
    """Its whole model is built, head and all."""
    model: dict[str, Any] = dict(
        type='EncoderDecoder',
        backbone=BACKBONE,
        decode_head=dict(
            type='FCNHead', in_channels=64, channels=8, num_classes=3
        ),
    )
    scope = 'mmseg'
    if part == 'scope':
        scope = 'planted'
    else:
        model[part] = trap.part
    config = dict(default_scope=scope, model=model)
    main = load_tool('model_converters/export_student').main
    checkpoint = student_file(tmp_path, config)
    assert main([checkpoint, str(tmp_path / 'out.onnx')]) == 2


@pytest.mark.parametrize(
    'kind',
    [
        'mmengine.mkdir_or_exist',
        'mmengine.utils.mkdir_or_exist',
        'mmengine.utils.path.mkdir_or_exist',
    ],
)
def test_functions_of_known_packages(
    trap: Trap, tmp_path: Path, kind: str
) -> None:
    """Only what is registered is a part of a model."""
    part = dict(type=kind, dir_name=str(trap.path))
    MODELS.build(dict(part))
    trap.works()
    checkpoint = student_file(tmp_path, dict(model=dict(backbone=part)))
    with pytest.raises(ConfigError):
        load_student(checkpoint)


def test_types_as_classes(tmp_path: Path) -> None:
    """A stored config has them by the modules that they are in."""
    config = dict(
        default_scope='mmpretrain',
        model=dict(
            type=HGKD,
            backbone=dict(
                BACKBONE,
                type=SparseResNet,
                norm_cfg=dict(type=torch.nn.BatchNorm2d),
            ),
            neck=dict(type=UNetNeck),
        ),
    )
    checkpoint = student_file(tmp_path, config)
    text = torch.load(checkpoint)['meta']['cfg']
    assert 'mmhgkd.backbones.sparse_resnet.SparseResNet' in text
    student = load_student(checkpoint)
    assert type(student.backbone) is SparseResNet
    config['model'] = dict(
        type=ImageClassifier,
        backbone=dict(BACKBONE, type=SparseResNet),
        neck=dict(type=GlobalAveragePooling),
        head=None,
    )
    out = tmp_path / 'out.pth'
    main = load_tool('model_converters/export_student').main
    argv = [student_file(tmp_path, config), str(out), '--to', 'mmpretrain']
    assert main(argv) == 0
    assert out.is_file()


@pytest.mark.parametrize('option', ['load_from', 'resume', 'teacher'])
def test_words_do_not_tell_how_to_run_it(
    train: ModuleType,
    toy: Path,
    trap: Trap,
    capsys: pytest.CaptureFixture[str],
    option: str,
) -> None:
    torch.save(dict(state_dict=dict(weight=trap)), 'a.pth')
    if option == 'teacher':
        with pytest.raises(ConfigError) as error:
            read_state_dict('a.pth')
        text = str(error.value)
    else:
        argv = [str(toy), '--work-dir', 'run']
        argv += (
            ['--resume', 'a.pth']
            if option == 'resume'
            else ['--cfg-options', 'load_from=a.pth']
        )
        assert train.main(argv) == 2
        text = capsys.readouterr().err
        assert text.count('error: ') == 1
    assert 'can run code' in text
    for word in ('weights_only', 'safe_globals', 'trust', 'unsafe'):
        assert word not in text


def test_a_user_names_any_part(tmp_path: Path) -> None:
    """A config that a user names is a program, and may be one."""
    checkpoint = student_file(tmp_path, '')
    backbone = dict(BACKBONE, type='mmhgkd.backbones.SparseResNet')
    config = dict(model=dict(backbone=backbone))
    assert load_student(checkpoint, config).backbone.depth == 18


@pytest.mark.parametrize(
    'step',
    [
        lambda trap: trap.part,
        lambda trap: dict(type='planted.Step'),
        lambda trap: dict(
            type='torchvision/ConvertImageDtype', dtype=trap.expression
        ),
    ],
)
def test_features(trap: Trap, tmp_path: Path, step: Any) -> None:
    steps = [STEPS[0], step(trap), *STEPS[1:]]
    config = dict(
        default_scope='mmpretrain',
        model=dict(backbone=BACKBONE),
        test_dataloader=dict(dataset=dict(pipeline=steps)),
    )
    image = tmp_path / 'a.png'
    Image.new('RGB', (64, 64)).save(image)
    with pytest.raises(ConfigError):
        student = load_student(student_file(tmp_path, config))
        extract_features(student, image)
    config['test_dataloader'] = dict(dataset=dict(pipeline=STEPS))
    student = load_student(student_file(tmp_path, config))
    assert extract_features(student, image).embeddings.shape == (1, 64)


@pytest.mark.parametrize('tool', ['import_checkpoint', 'save_backbone'])
def test_import(trap: Trap, tmp_path: Path, tool: str) -> None:
    path = tmp_path / 'a.pth'
    path.write_bytes(pickle.dumps(dict(state_dict=dict(weight=trap))))
    main = load_tool(f'model_converters/{tool}').main
    assert main([str(path), str(tmp_path / 'b.pth')]) == 2


@pytest.mark.parametrize('where', ['model', 'teacher', 'scope', 'text'])
def test_demo(
    trap: Trap, tmp_path: Path, class_folders: Path, where: str
) -> None:
    run = write_run(tmp_path / 'toy', class_folders)
    cfg = run_config(class_folders)
    if where == 'model':
        cfg.model = trap.part
    elif where == 'teacher':
        cfg.model.teacher = trap.part
    elif where == 'scope':
        cfg.default_scope = 'planted'
    code = trap.code if where == 'text' else ''
    with_config(run, cfg.pretty_text + code)
    assert demo.main([str(run)]) == 2
    draw = load_tool('visualization/draw_panel').main
    assert draw([str(run)]) == 2


def test_images_of_a_run(
    trap: Trap, tmp_path: Path, class_folders: Path
) -> None:
    run = write_run(tmp_path / 'toy', class_folders)
    record = RunRecord(run)
    cfg = copy.deepcopy(record.config)
    cfg.train_dataloader.dataset.pipeline.insert(1, trap.part)
    with_config(run, cfg.pretty_text)
    with pytest.raises(ConfigError, match=r'`os\.mkdir`, which is no part'):
        run_inputs(RunRecord(run), torch.nn.Identity(), 1)


def test_yaml(trap: Trap, tmp_path: Path) -> None:
    path = tmp_path / 'a.yaml'
    path.write_text(f'model: {trap.yaml}')
    with pytest.raises(ConfigError, match='write values without tags'):
        load_config(str(path))
    with safe_loading(), pytest.raises(ConfigError, match='plain data'):
        mmengine.load(path)
    # MMEngine's own way to write a tuple.
    data = dict(sizes=(1, 2), names=['a'])
    mmengine.dump(data, path)
    with safe_loading():
        assert mmengine.load(path) == data


def test_known_types_are_built(trap: Trap) -> None:
    with known_types('a.pth'):
        for kind in ('mmpretrain.ResNet', 'mmhgkd.SparseResNet'):
            assert MODELS.build(dict(BACKBONE, type=kind)).depth == 18
        assert isinstance(MODELS.build(dict(type='ReLU')), torch.nn.ReLU)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            assert TRANSFORMS.build(
                dict(type='torchvision/ConvertImageDtype', dtype='float32')
            )
        for kind in ('os.mkdir', 'mmhgkd.apis.distill', 'planted.X'):
            with pytest.raises(ConfigError, match='is not imported'):
                MODELS.build(dict(type=kind))
    assert MODELS.get('os.mkdir') is os.mkdir
