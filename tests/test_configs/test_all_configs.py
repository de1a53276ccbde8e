"""Every shipped config builds what a run needs, under its own scope."""

import copy
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import nn
from torch.nn.modules.conv import _ConvNd

from mmhgkd.datasets.scenes import SHAPES
from mmhgkd.utils.run_checks import check_kinds, check_settings

CONFIGS = Path(__file__).parents[2] / 'configs'
NAMES = sorted(
    str(path.relative_to(CONFIGS))
    for path in CONFIGS.rglob('*.py')
    if '_base_' not in path.parts
)
PRETRAINING = [n for n in NAMES if n.split('/')[0] in ('hgkd', 'mae', 'spark')]
TRAINED = [n for n in NAMES if '_knn' not in n or n in PRETRAINING]
#: What a config is called that differs from another in its weights only.
TWINS = {
    '_finetune_': '_scratch_',
    'linear.py': 'linear_supervised.py',
    '_hgkd-r50_': '_supervised-r50_',
    '_hgkd-r18_': '_scratch-r18_',
    '_hgkd-cspnext-': '_scratch-cspnext-',
}


@pytest.fixture(autouse=True)
def no_random_numbers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave weights unset: drawing them takes most of the time."""
    for layer in (nn.Linear, nn.Embedding, _ConvNd):
        monkeypatch.setattr(layer, 'reset_parameters', lambda self: None)
    # A teacher without a checkpoint draws its weights when it is built.
    monkeypatch.setattr(BaseModule, 'init_weights', lambda self: None)
    yield


@cache
def _read(name: str) -> Config:
    return Config.fromfile(CONFIGS / name)


def load(name: str) -> Config:
    return copy.deepcopy(_read(name))


@pytest.mark.parametrize('name', NAMES)
def test_checks_of_settings_pass(name: str) -> None:
    settings = load(name).to_dict()
    check_kinds(settings)
    check_settings(settings)


@cache
def _key(name: str, part: Callable[[Config], Any]) -> str:
    return repr(_without_weights(part(_read(name))))


def skip_twin(name: str, part: Callable[[Config], Any], what: str) -> None:
    """Leave out what is built for another config, weights aside."""
    own = _key(name, part)
    twin = next(other for other in NAMES if _key(other, part) == own)
    if twin != name:
        pytest.skip(f'{what} of {twin}, which is built')


def model_of(config: Config) -> tuple[Any, ...]:
    """All that a model and its optimizer are built from."""
    wrapper = {
        # Mixed precision asks for a GPU as soon as it is built.
        key: value
        for key, value in (config.get('optim_wrapper') or {}).items()
        if key in ('optimizer', 'clip_grad', 'paramwise_cfg')
    }
    preprocessor = config.get('data_preprocessor')
    return config.default_scope, config.model, preprocessor, wrapper


def datasets_of(config: Config) -> tuple[str, dict[str, Any]]:
    """What the data of a config are built from."""
    return config.default_scope, {
        loader: config[loader].dataset
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        if config.get(loader) is not None
    }


@pytest.mark.parametrize('name', NAMES)
def test_builds_model_and_optimizer(name: str) -> None:
    skip_twin(name, model_of, 'the model and the optimizer')
    config = load(name)
    init_default_scope(config.default_scope)
    _, model_config, preprocessor, wrapper_config = model_of(config)
    teacher = model_config.get('teacher')
    if teacher and 'checkpoint' in teacher:
        teacher.update(checkpoint=None, allow_random=True)
    if preprocessor is not None:
        model_config.setdefault('data_preprocessor', preprocessor)
    model = MODELS.build(model_config)
    if name not in TRAINED:
        return
    wrapper = build_optim_wrapper(model, wrapper_config)
    trained = {
        id(parameter)
        for group in wrapper.param_groups
        for parameter in group['params']
    }
    parameters = dict(model.named_parameters())
    assert trained >= {id(p) for p in parameters.values() if p.requires_grad}
    for key in wrapper_config.get('paramwise_cfg', {}).get('custom_keys', ()):
        assert any(key in parameter for parameter in parameters), key
    if model_config.type not in ('mmhgkd.HGKD', 'MAE'):
        return  # nothing is masked
    decayed = {
        id(parameter)
        for group in wrapper.param_groups
        for parameter in group['params']
        if group['weight_decay']
    }
    assert not {
        parameter
        for parameter, value in parameters.items()
        if id(value) in decayed and 'mask_token' in parameter
    }


@pytest.mark.parametrize('name', NAMES)
def test_builds_data(
    name: str, class_folders: Path, scene_folders: Path, tmp_path: Path
) -> None:
    skip_twin(name, datasets_of, 'the data')
    config = load(name)
    init_default_scope(config.default_scope)
    roots = dict(
        mmpretrain=class_folders,
        mmdet=scene_folders / 'det',
        mmseg=scene_folders / 'seg',
    )
    built: list[dict] = []
    for loader, dataset in datasets_of(config)[1].items():
        if dataset in built:
            continue
        built.append(copy.deepcopy(dataset))
        dataset.data_root = str(roots[config.default_scope])
        bands = dataset.pipeline[0].get('bands')
        if bands:
            np.save(tmp_path / 'a.npy', np.zeros((100, 90, bands), np.uint8))
            dataset.update(data_root=str(tmp_path), extensions=['.npy'])
        if config.default_scope == 'mmdet':
            dataset.metainfo = dict(classes=SHAPES)
        sample = DATASETS.build(dataset)[0]
        assert sample['inputs'].dtype == torch.uint8
        size = sample['inputs'].shape[1:]
        if config.default_scope == 'mmpretrain':
            assert size == _crop(dataset.pipeline)
        elif loader == 'train_dataloader':
            truth = sample['data_samples']
            if config.default_scope == 'mmseg':
                assert truth.gt_sem_seg.data.shape[1:] == size
            else:
                assert len(truth.gt_instances.bboxes)


def _crop(pipeline: list[dict]) -> tuple[int, int]:
    """Size of the images that a pipeline of mmpretrain makes."""
    for step in pipeline:
        kind = step.type.rpartition('.')[2]
        if kind in ('RandomResizedCrop', 'CenterCrop'):
            size = step.get('scale', step.get('crop_size'))
    return (size, size)


@pytest.mark.parametrize('name', [n for n in NAMES if n.startswith('hgkd/')])
def test_teacher_grid_fits_the_student(name: str) -> None:
    config = load(name)
    teacher = config.model.teacher
    part = config.model.get('neck') or config.model.head.direct_loss
    side = config.train_pipeline[1].scale
    if teacher.type == 'mmhgkd.TimmTeacher':
        size = timm.create_model(teacher.model_name).patch_embed.patch_size[0]
        grid = teacher.input_size // size
    else:
        assert teacher.backbone.img_size == side
        grid = side // teacher.backbone.patch_size
    assert grid == side // part.get('out_stride', 16)


@pytest.mark.parametrize('name', [n for n in NAMES if n.startswith('spark')])
def test_pixel_baseline_has_the_student_of_its_twin(name: str) -> None:
    ours = load(name)
    twin = {
        'spark/r50_pixels.py': 'hgkd/r50_mae_paper.py',
        'spark/r18_pixels_scenes.py': 'hgkd/r18_scenes_unet.py',
        'spark/r18_pixels_quickstart.py': 'hgkd/r18_quickstart.py',
    }[name]
    theirs = load(twin)
    assert ours.model.backbone == theirs.model.backbone
    # Pixels need a mask; the quick start hides nothing from the other.
    if name != 'spark/r18_pixels_quickstart.py':
        assert ours.model.mask == theirs.model.mask
    assert ours.model.mask.mask_ratio == 0.6
    for key in ('train_dataloader', 'optim_wrapper', 'param_scheduler'):
        assert ours[key] == theirs[key]
    if 'neck' in theirs.model:
        assert dict(ours.model.neck, out_channels=0) == dict(
            theirs.model.neck, out_channels=0
        )


@pytest.mark.parametrize(
    'name',
    [
        n
        for n in NAMES
        if n not in PRETRAINING and any(mark in n for mark in TWINS)
    ],
)
def test_transfer_differs_from_its_baseline_in_weights_only(name: str) -> None:
    ours = load(name).to_dict()
    twin = name
    for mark, other in TWINS.items():
        twin = twin.replace(mark, other)
    theirs = load(twin).to_dict()
    assert ours['model']['backbone']['init_cfg']['prefix'] == 'backbone.'
    assert (
        ours['student_checkpoint']
        == (ours['model']['backbone']['init_cfg']['checkpoint'])
    )
    assert ours != theirs
    assert _without_weights(ours) == _without_weights(theirs)


def _without_weights(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: _without_weights(value)
            for key, value in node.items()
            if key not in ('init_cfg', 'student_checkpoint')
        }
    if isinstance(node, (list, tuple)):
        return [_without_weights(value) for value in node]
    return node


@pytest.mark.parametrize(
    'name', [n for n in NAMES if '_scratch_' in n or '_scratch-' in n]
)
def test_baseline_from_scratch_has_no_weights(name: str) -> None:
    init_cfg = load(name).model.backbone.get('init_cfg')
    assert init_cfg is None or init_cfg.get('type') != 'Pretrained'


@pytest.mark.parametrize('name', NAMES)
def test_checks_what_is_loaded(name: str) -> None:
    hooks = [hook.type for hook in load(name).custom_hooks]
    assert hooks.count('mmhgkd.PretrainedCheckHook') == 1


def test_schedules_span_their_training() -> None:
    for name in TRAINED:
        config = load(name)
        length = config.train_cfg.get(
            'max_epochs', config.train_cfg.get('max_iters')
        )
        last = [s for s in config.param_scheduler if s.type != 'LinearLR']
        assert last and all(s.end == length for s in last), name
        for schedule in last:
            assert (
                schedule.get('T_max', length - schedule.begin)
                == length - schedule.begin
            ), name
