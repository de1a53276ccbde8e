import subprocess
import sys
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import FeatureExtractor, get_model, inference_model
from mmpretrain.apis.model import ModelHub
from modelindex.load_model_index import load

import mmhgkd  # noqa: F401  (registers the names)
from mmhgkd.utils import ConfigError

ROOT = Path(__file__).resolve().parents[2]
INDEX = load(str(ROOT / 'model-index.yml'))
QUICKSTART = 'hgkd_r18-narrow_mae-micro_1xb64-10e_scenes'


@pytest.fixture(autouse=True)
def own_models_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMPretrain takes seconds to read its own hundred metafiles."""
    monkeypatch.setattr(ModelHub, '_ModelHub__mmpretrain_registered', True)


def test_index_is_sound() -> None:
    assert INDEX.check(silent=True) == []
    names = [model.name.lower() for model in INDEX.models]
    assert len(set(names)) == len(names) > 20
    assert set(names) == set(mmpretrain.list_models('hgkd'))


@pytest.mark.parametrize('folder', ['hgkd', 'mae', 'spark'])
def test_every_config_has_an_entry_and_a_row(folder: str) -> None:
    configs = {path.name for path in (ROOT / 'configs' / folder).glob('*.py')}
    listed = [
        Path(model.config) for model in INDEX.models
        if Path(model.config).parent.name == folder
    ]
    assert sorted(path.name for path in listed) == sorted(configs)
    assert all((ROOT / path).is_file() for path in listed)
    readme = (ROOT / 'configs' / folder / 'README.md').read_text()
    for model in INDEX.models:
        if Path(model.config).parent.name == folder:
            row = next(line for line in readme.splitlines()
                       if f'({Path(model.config).name})' in line)
            facts = model.metadata.data
            assert f'`{model.name}`' in row
            assert row.endswith(
                f'| {facts["Epochs"]} | {facts["Batch Size"]} |')


@pytest.mark.parametrize('entry', INDEX.models, ids=lambda m: m.name)
def test_entry_is_true_to_its_config(entry: object) -> None:
    facts, name = entry.metadata.data, entry.name  # type: ignore[attr-defined]
    cfg = Config.fromfile(ROOT / entry.config)  # type: ignore[attr-defined]
    assert facts['Epochs'] == cfg.train_cfg.max_epochs
    assert f'{facts["Epochs"]}e' in name
    batch = cfg.train_dataloader.batch_size
    parts = cfg.optim_wrapper.get('accumulative_counts', 1)
    gpus = facts['Batch Size'] // (batch * parts)
    assert gpus * batch * parts == facts['Batch Size']
    assert f'_{gpus}xb{batch}-' in name
    assert (f'-accum{parts}-' in name) == (parts > 1)
    scaling = cfg.get('auto_scale_lr')
    if scaling and not scaling.enable:
        assert facts['Batch Size'] == scaling.base_batch_size
    data = {
        'data/imagenet': 'ImageNet-1k',
        'data/scenes': 'procedural scenes',
        'data/images': 'own images'
    }
    assert facts['Training Data'] == data[
        cfg.train_dataloader.dataset.data_root]
    if 'Student' in facts:
        assert facts['Student'] == f'ResNet-{cfg.model.backbone.depth}'
        assert f'_r{cfg.model.backbone.depth}' in name
        assert facts['Teacher'] == _teacher(cfg)
    else:
        assert cfg.model.type == 'MAE'


def _teacher(cfg: Config) -> str:
    teacher = cfg.model.teacher
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


def test_get_model_needs_no_teacher(monkeypatch: pytest.MonkeyPatch,
                                    tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    model = get_model('hgkd_r18_mae-base_8xb512-300e_in1k')
    with torch.no_grad():
        features = model.extract_feat(torch.randn(1, 3, 64, 64))
    assert [f.shape[1] for f in features] == [64, 128, 256, 512]
    assert not hasattr(model, 'teacher')
    teacher = get_model('hgkd-mae_vit-tiny_8xb512-300e_in1k')
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
    inputs = (
        torch.from_numpy(image).permute(2, 0, 1)[None].flip(1).float() -
        torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1))
    inputs = inputs / torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    source.train(False)
    with torch.no_grad():
        expected = source.backbone(inputs)[-1].mean((2, 3))[0]
    torch.testing.assert_close(by_name[-1], expected)
    torch.testing.assert_close(by_model[-1], expected)


def test_models_of_other_libraries_are_told_apart(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'a.py').write_text("default_scope = 'mmdet'\nmodel = dict()")
    entry = type(ModelHub._models_dict[QUICKSTART])(
        name='det', config=str(tmp_path / 'a.py'))
    monkeypatch.setitem(ModelHub._models_dict, 'det', entry)
    with pytest.raises(ConfigError, match='det is a model of mmdet'):
        get_model('det')


@pytest.mark.parametrize('packages',
                         ['mmhgkd, mmpretrain', 'mmpretrain, mmhgkd'])
def test_order_of_imports(packages: str) -> None:
    code = (f'import {packages}\n'
            'from mmpretrain.apis.model import ModelHub\n'
            f'assert {QUICKSTART!r} in ModelHub._models_dict')
    subprocess.run([sys.executable, '-c', code], check=True)
