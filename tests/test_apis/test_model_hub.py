import re
import subprocess
import sys
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmpretrain import (
    FeatureExtractor,
    ImageClassificationInferencer,
    get_model,
    inference_model,
)
from mmpretrain.apis.model import ModelHub
from modelindex.load_model_index import load
from modelindex.models.Model import Model
from PIL import Image

from mmhgkd.apis import load_student, register_models
from mmhgkd.utils import ConfigError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'docs' / '_ext'))
from config_table import NOT_RUN, network_name, start  # noqa: E402

INDEX = load(str(ROOT / 'model-index.yml'))
QUICKSTART = 'r18_quickstart'
FOLDER = 'r18_finetune_folder'
TRANSFER = ('classification', 'detection', 'segmentation')
DATA = {
    'data/imagenet': 'ImageNet-1k',
    'data/scenes': 'procedural scenes',
    'data/quickstart': 'procedural shapes',
    'data/scenes_det': 'procedural scenes',
    'data/scenes_seg': 'procedural scenes',
    'data/images': 'own images',
    'data/coco': 'MS COCO',
    'data/coco_mini': 'a few images of MS COCO',
    'data/ade/ADEChallengeData2016': 'ADE20K',
    'data/camvid_ade': 'CamVid',
}


def _folder(model: Model) -> str:
    return Path(model.config).parent.name


PRETRAINED = [m for m in INDEX.models if _folder(m) not in TRANSFER]
TRANSFERRED = [m for m in INDEX.models if _folder(m) in TRANSFER]


@pytest.fixture(autouse=True)
def own_models_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMPretrain takes seconds to read its own hundred metafiles."""
    monkeypatch.setattr(ModelHub, '_ModelHub__mmpretrain_registered', True)


def test_index_is_sound() -> None:
    assert INDEX.check(silent=True) == []
    names = [Path(model.config).stem for model in INDEX.models]
    assert [model.name for model in INDEX.models] == names
    assert len(set(names)) == len(names) > 20
    assert set(names) == set(register_models())
    assert set(names) <= set(mmpretrain.list_models())


@pytest.mark.parametrize('folder', ['hgkd', 'mae', 'spark', *TRANSFER])
def test_every_config_has_an_entry_and_a_row(folder: str) -> None:
    configs = {path.name for path in (ROOT / 'configs' / folder).glob('*.py')}
    entries = [model for model in INDEX.models if _folder(model) == folder]
    assert sorted(Path(model.config).name for model in entries) == sorted(
        configs
    )
    assert all((ROOT / model.config).is_file() for model in entries)
    readme = (ROOT / 'configs' / folder / 'README.md').read_text()
    for model in entries:
        (row,) = (
            line
            for line in readme.splitlines()
            if f'({Path(model.config).name})' in line
        )
        assert row.endswith(_end_of_row(model))


def _end_of_row(model: Model) -> str:
    facts = model.metadata.data
    if model in PRETRAINED:
        return f'| {facts["Epochs"]} | {facts["Batch Size"]} |'
    length = facts.get('Epochs') or facts.get('Iterations')
    cells = [
        facts['Backbone'],
        facts.get('Initial Weights', '-'),
        f'{length:,}' if length else '-',
        facts.get('Batch Size', '-'),
        _result(model),
    ]
    return ' | '.join(['', *map(str, cells), '']).strip(' ')


def _result(model: Model) -> str:
    """A figure is on the page of the task, or nowhere."""
    page = f'docs/{_folder(model)}.md'
    _, measured = (ROOT / page).read_text().split('\n## A small run\n')
    if f'{Path(model.config).name}' in measured:
        return f'[a shorter run](../../{page}#a-small-run)'
    return NOT_RUN


@pytest.mark.parametrize('entry', PRETRAINED, ids=lambda m: m.name)
def test_entry_is_true_to_its_config(entry: Model) -> None:
    facts = entry.metadata.data
    cfg = Config.fromfile(ROOT / entry.config)
    assert facts['Epochs'] == cfg.train_cfg.max_epochs
    batch = cfg.train_dataloader.batch_size
    parts = cfg.optim_wrapper.get('accumulative_counts', 1)
    gpus = facts['Batch Size'] // (batch * parts)
    assert gpus * batch * parts == facts['Batch Size']
    assert (gpus == 1) == entry.name.endswith(
        (
            '_scenes',
            '_scenes_unet',
            '_folder',
            '_quickstart',
            '_1gpu',
            '_accumulate',
        )
    )
    assert entry.name.endswith('_accumulate') == (parts > 1)
    scaling = cfg.get('auto_scale_lr')
    if scaling and not scaling.enable:
        assert facts['Batch Size'] == scaling.base_batch_size
    assert (
        facts['Training Data'] == DATA[cfg.train_dataloader.dataset.data_root]
    )
    if 'Student' in facts:
        student, prefix = _student(cfg)
        assert facts['Student'] == student
        assert entry.name.startswith(f'{prefix}_')
        assert facts['Teacher'] == _teacher(cfg)
    else:
        assert cfg.model.type == 'MAE'


def _student(cfg: Config) -> tuple[str, str]:
    backbone = cfg.model.backbone
    if backbone.type == 'mmhgkd.SparseNetwork':
        if backbone.network.type == 'mmdet.CSPNeXt':
            name = _cspnext(backbone.network)
            return name, name.lower()
        assert backbone.network.model_name == 'tf_efficientnet_lite0'
        return 'EfficientNet-Lite0', 'efficientnet-lite0'
    kind = backbone.type.removeprefix('mmhgkd.Sparse')
    name = network_name(ConfigDict({**backbone, 'type': kind}))
    name = name.partition(',')[0]
    prefix = name.lower().replace('netv', 'net-v').replace('resnet-', 'r')
    return name, prefix


def _cspnext(network: ConfigDict) -> str:
    """The network of RTMDet-tiny, by its factors in RTMDet's configs."""
    assert network.deepen_factor == 0.167
    assert network.widen_factor == 0.375
    return 'CSPNeXt-tiny'


def _teacher(cfg: Config) -> str:
    teacher = cfg.model.teacher
    if teacher.type == 'mmhgkd.TimmTeacher':
        assert teacher.model_name == 'vit_small_patch14_dinov2.lvd142m'
        return 'DINOv2 ViT-S/14'
    if teacher.type == 'mmhgkd.PixelTeacher':
        return 'pixels'
    backbone = teacher.backbone
    if backbone.type == 'BEiTPretrainViT':
        assert backbone.arch == 'base'
        return f'BEiT-B/{backbone.patch_size}'
    assert backbone.type == 'MAEViT'
    size = backbone.arch if isinstance(backbone.arch, str) else 'micro'
    size = dict(b='B', l='L').get(size, size)
    return f'MAE ViT-{size}/{backbone.patch_size}'


@pytest.mark.parametrize('entry', TRANSFERRED, ids=lambda m: m.name)
def test_transfer_entry_is_true_to_its_config(entry: Model) -> None:
    facts, name = entry.metadata.data, entry.name
    cfg = Config.fromfile(ROOT / entry.config)
    backbone = network_name(cfg.model.backbone).partition(',')[0]
    if backbone == 'CSPNeXt':
        backbone = _cspnext(cfg.model.backbone)
    assert facts['Backbone'] == backbone
    if 'Initial Weights' not in facts:
        assert not cfg.get('train_cfg') and '_knn' in name
        assert set(facts) == {'Backbone'}
        assert entry.results is None
        return
    known = dict(distilled='the student', supervised='labels', random='random')
    kinds = dict(supervised='_supervised', random='_scratch')
    found = facts['Initial Weights']
    assert known[found] == start(cfg)
    assert [kind for kind in kinds.values() if kind in name] == (
        [kinds[found]] if found in kinds else []
    )
    assert facts.get('Epochs') == cfg.train_cfg.get('max_epochs')
    assert facts.get('Iterations') == cfg.train_cfg.get('max_iters')
    lengths = {
        '1x': 12,
        '2x': 24,
        '80k': 80000,
        '160k': 160000,
        f'{facts.get("Epochs")}e': facts.get('Epochs'),
    }
    for part in re.findall(r'_(\d+[ekx])(?=_|$)', name):
        assert lengths[part] in (facts.get('Epochs'), facts.get('Iterations'))
    loader = cfg.train_dataloader
    scaling = cfg.get('auto_scale_lr')
    gpus = 8 if scaling else 1
    if _folder(entry) == 'segmentation' and scaling:
        gpus = 4
    assert facts['Batch Size'] == gpus * loader.batch_size
    if scaling and not scaling.enable:
        assert facts['Batch Size'] == scaling.base_batch_size
    data = DATA[loader.dataset.data_root]
    share = loader.dataset.get('label_fraction', 1)
    if share < 1:
        data += f', {share * 100:g} % of the labels'
        assert name.endswith(f'_{share * 100:g}pct')
    assert facts['Training Data'] == data
    if _folder(entry) == 'classification':
        (result,) = entry.results
        assert result.task == 'Image Classification'
        assert data.startswith(result.dataset)
        assert result.metrics == {}
    else:
        assert entry.results is None


def test_get_model_needs_no_teacher(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    model = get_model('r18_mae')
    with torch.no_grad():
        features = model.extract_feat(torch.randn(1, 3, 64, 64))
    assert [f.shape[1] for f in features] == [64, 128, 256, 512]
    assert not hasattr(model, 'teacher')
    teacher = get_model('vit-tiny')
    assert type(teacher).__name__ == 'MAE'


def test_no_weights_are_published() -> None:
    with pytest.raises(ConfigError, match=r"pretrained='epoch_N\.pth'"):
        get_model(QUICKSTART, pretrained=True)
    with pytest.raises(ConfigError, match='no published weights'):
        FeatureExtractor(QUICKSTART)
    with pytest.raises(NotImplementedError):  # mmpretrain's: no classifier
        inference_model(QUICKSTART, 'a.jpg')


def test_own_checkpoint_in_mmpretrain(tmp_path: Path) -> None:
    source = get_model(QUICKSTART)
    source.init_weights()
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=source.state_dict()), path)
    model = get_model(QUICKSTART, pretrained=str(path))
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    by_name = FeatureExtractor(QUICKSTART, pretrained=str(path))(image)[0]
    by_model = FeatureExtractor(model)(image)[0]
    inputs = torch.from_numpy(image).permute(2, 0, 1)[None].flip(
        1
    ).float() - torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    inputs = inputs / torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    source.train(False)
    with torch.no_grad():
        expected = source.backbone(inputs)[-1].mean((2, 3))[0]
    torch.testing.assert_close(by_name[-1], expected)
    torch.testing.assert_close(by_model[-1], expected)


def test_classifiers_are_found_by_task() -> None:
    found = mmpretrain.list_models(task='Image Classification')
    assert found == sorted(
        model.name
        for model in TRANSFERRED
        if _folder(model) == 'classification' and '_knn' not in model.name
    )


@pytest.mark.parametrize('width', [64, 32])
def test_own_classifier_in_mmpretrain(tmp_path: Path, width: int) -> None:
    torch.manual_seed(0)
    narrow = dict(stem_channels=width, base_channels=width)
    classes = [f'class {index}' for index in range(10)]
    source = get_model(
        FOLDER, backbone=narrow, head=dict(in_channels=8 * width)
    )
    config = source._config
    source.backbone.init_cfg = None
    source.init_weights()
    torch.nn.init.normal_(source.head.fc.weight)
    path = str(tmp_path / 'epoch_1.pth')
    torch.save(
        dict(
            state_dict=source.state_dict(),
            meta=dict(
                cfg=config.pretty_text, dataset_meta=dict(classes=classes)
            ),
        ),
        path,
    )
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    image = str(tmp_path / 'a.png')
    Image.fromarray(pixels).save(image)
    inputs = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    inputs = inputs - torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    inputs = inputs / torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    with torch.no_grad():
        pooled = source.backbone(inputs)[-1].mean((2, 3))
        scores = source.head.fc(pooled).softmax(1)[0].numpy()
    model = get_model(
        FOLDER,
        pretrained=path,
        backbone=narrow,
        head=dict(in_channels=8 * width),
    )
    results = [
        inference_model(model, image),
        ImageClassificationInferencer(load_student(path))(image)[0],
    ]
    if width == 64:
        results.append(inference_model(FOLDER, image, pretrained=path))
    for result in results:
        np.testing.assert_allclose(
            result['pred_scores'], scores, rtol=1e-3, atol=1e-6
        )
    # The names of the classes come from the checkpoint.
    assert results[0]['pred_class'] == classes[scores.argmax()]
    assert results[-1]['pred_label'] == scores.argmax()


def test_knn_config_takes_the_checkpoint_of_a_student(tmp_path: Path) -> None:
    name = 'r18_knn'
    state = get_model(FOLDER).state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'epoch_1.pth')
    model = get_model(name, pretrained=str(tmp_path / 'epoch_1.pth'))
    own = model.state_dict()
    assert set(own) == {key for key in state if key.startswith('backbone.')}
    assert all(torch.equal(value, state[key]) for key, value in own.items())
    with pytest.raises(ConfigError, match=f'{name} has no training'):
        get_model(name, pretrained=True)


@pytest.mark.parametrize(
    ('name', 'library'),
    [
        ('mask-rcnn_hgkd-r18_scenes', 'mmdet'),
        ('upernet_hgkd-r18_scenes', 'mmseg'),
    ],
)
def test_models_of_other_libraries_are_told_apart(
    name: str, library: str
) -> None:
    for build in (get_model, lambda name: inference_model(name, 'a.jpg')):
        with pytest.raises(ConfigError) as caught:
            build(name)
        line = str(caught.value)
        assert line.startswith(f'{name} is a model of {library}, not of')
        assert line.endswith('.py') and '\n' not in line


@pytest.mark.parametrize(
    'code',
    [
        'import mmhgkd, mmpretrain; mmhgkd.register_models()',
        'import mmpretrain, mmhgkd.apis',
        'import mmhgkd.apis, mmhgkd; mmhgkd.register_models()',
    ],
)
def test_who_asks_for_the_names_gets_them(code: str) -> None:
    code += (
        '\nfrom mmpretrain.apis.model import ModelHub\n'
        f'assert {QUICKSTART!r} in ModelHub._models_dict'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_names_are_none_of_mmpretrain() -> None:
    code = (
        'import mmhgkd, mmpretrain; names = mmhgkd.register_models(); '
        'assert set(names) < set(mmpretrain.list_models())'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
