"""Every shipped config builds what a run needs."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, DefaultScope

CONFIGS = Path(__file__).parents[2] / 'configs'
NAMES = sorted(
    str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob('*.py')
    if '_base_' not in path.parts)


@pytest.fixture(autouse=True)
def scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.mark.parametrize('name', NAMES)
def test_builds_model_optimiser_and_data(name: str,
                                         class_folders: Path) -> None:
    config = Config.fromfile(CONFIGS / name)
    assert config.default_scope == 'mmpretrain'
    model_config = copy.deepcopy(config.model)
    teacher = model_config.get('teacher')
    if teacher and 'checkpoint' in teacher:
        teacher.update(checkpoint=None, allow_random=True)
    preprocessor = config.get('data_preprocessor')
    model_config.setdefault('data_preprocessor', preprocessor)
    model = MODELS.build(model_config)
    # Mixed precision asks for a GPU as soon as it is built.
    wrapper_config = {
        key: value
        for key, value in config.optim_wrapper.items()
        if key in ('optimizer', 'clip_grad', 'paramwise_cfg')
    }
    wrapper = build_optim_wrapper(model, copy.deepcopy(wrapper_config))
    trained = {
        id(parameter)
        for group in wrapper.param_groups
        for parameter in group['params']
    }
    assert trained >= {id(p) for p in model.parameters() if p.requires_grad}

    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if config.get(loader) is None:
            continue
        dataset = copy.deepcopy(config[loader].dataset)
        dataset.data_root = str(class_folders)
        sample = DATASETS.build(dataset)[0]
        assert sample['inputs'].shape[1:] == _image_size(config)


def _image_size(config: Config) -> tuple[int, int]:
    size = config.train_pipeline[1].scale
    return (size, size)


@pytest.mark.parametrize('name', NAMES)
def test_teacher_grid_fits_the_student(name: str) -> None:
    config = Config.fromfile(CONFIGS / name)
    teacher = config.model.get('teacher')
    if teacher is None or 'backbone' not in teacher:
        pytest.skip('this config has no teacher network')
    assert teacher.backbone.patch_size == config.model.neck.out_stride
    assert teacher.backbone.img_size == config.train_pipeline[1].scale


@pytest.mark.parametrize('name', [n for n in NAMES if n.startswith('spark')])
def test_pixel_baseline_has_the_student_of_its_twin(name: str) -> None:
    ours = Config.fromfile(CONFIGS / name)
    twin = dict(r50_pixels='r50_mae').get(Path(name).stem, Path(name).stem)
    theirs = Config.fromfile(CONFIGS / 'hgkd' / f'{twin}.py')
    for key in ('backbone', 'mask'):
        assert ours.model[key] == theirs.model[key]
    for key in ('train_dataloader', 'optim_wrapper', 'param_scheduler'):
        assert ours[key] == theirs[key]
    assert dict(
        ours.model.neck, out_channels=0) == dict(
            theirs.model.neck, out_channels=0)


def test_schedules_span_their_epochs() -> None:
    for name in NAMES:
        config = Config.fromfile(CONFIGS / name)
        epochs = config.train_cfg.max_epochs
        last = [s for s in config.param_scheduler if s.type != 'LinearLR']
        assert all(s.end == epochs for s in last), name
        for schedule in last:
            assert schedule.get(
                'T_max',
                epochs - schedule.begin) == epochs - schedule.begin, name
