import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from studies.run_study import check_arms
from studies.stage_configs import (
    TeacherFiles,
    finetuning_config,
    pretraining_config,
    teacher_config,
)
from studies.study_file import read_study

sys.path.append(str(Path(__file__).parent))
from tiny_study import content, write_study

from mmhgkd.datasets.scenes import write_scenes

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / 'configs' / 'study').glob('*.yml'))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(sedes=[0]), 'unknown key `sedes`; did you mean `seeds`?'),
        (
            dict(arms=[dict(name='x', config='a', optoins={})]),
            'arm `x` has the unknown key `optoins`; did you mean `options`?',
        ),
        (dict(arms=[dict(name='x')]), 'arm `x` is incomplete'),
        (dict(arms=[]), '`arms` must be a list of at least one arm'),
        (dict(arms=[dict(name='x', config='a')] * 2), 'two arms `x`'),
        (dict(arms=[dict(name='a/b', config='a')]), "the arm name 'a/b'"),
        (
            dict(arms=[dict(name='x', config='a', method='magic')]),
            "`method` of arm `x` must be one of ('pretrain',",
        ),
        (
            dict(
                arms=[
                    dict(
                        name='x',
                        config='a',
                        options={'train_cfg.max_epochs': 9},
                    )
                ]
            ),
            'or its own `epochs`',
        ),
        (dict(epochs='ten'), '`epochs` of the study must be a whole number'),
        (dict(seeds=['a']), '`seeds` must be a list of whole numbers'),
        (dict(reference='feta'), "`reference` names no arm: 'feta'; the arms"),
        (dict(finetune=3), '`finetune` must be a mapping'),
        (
            dict(teacher=dict(config='a', checkpoint='b')),
            'leave one of them out',
        ),
    ],
)
def test_bad_file_is_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write_study(tmp_path / 's.yml', content(tmp_path, **changes))
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_study(path)
    assert str(caught.value).startswith(f'{path}: ')
    assert '\n' not in str(caught.value)


def test_base(tmp_path: Path) -> None:
    path = write_study(tmp_path / 's.yml', content(tmp_path, seeds=[0, 1]))
    base = read_study(path)
    new = dict(name='new', config='hgkd/r18_scenes_unet')
    changes = dict(base='s.yml', seeds=[7], arms=[base.arms[1].name, new])
    study = read_study(write_study(tmp_path / 't.yml', changes))
    assert study.seeds == [7] and study.name == 't'
    assert [arm.name for arm in study.arms] == [base.arms[1].name, 'new']
    assert study.arms[0] == base.arms[1]
    for key in ('data_root', 'epochs', 'finetune', 'teacher', 'options'):
        assert getattr(study, key) == getattr(base, key)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(base=3), '`base` of the study must be a text'),
        (dict(base='none.yml'), 'cannot read the study'),
        (dict(base='t.yml'), '`base: t.yml` has a base itself; name `t.yml`'),
        (
            dict(base='s.yml', arms=['x']),
            'the base has no arm `x`; its arms are',
        ),
        (dict(base='s.yml', reference='x'), '`reference` names no arm'),
    ],
)
def test_bad_base(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_study(tmp_path / 's.yml', content(tmp_path))
    path = write_study(tmp_path / 't.yml', changes)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_study(path)
    assert str(caught.value).startswith(f'{path}: ')


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='cannot read the study'):
        read_study(tmp_path / 'none.yml')
    (tmp_path / 'bad.yml').write_text('a: [')
    with pytest.raises(ValueError, match='cannot read the study'):
        read_study(tmp_path / 'bad.yml')


@pytest.mark.parametrize(
    ('arm', 'message'),
    [
        (dict(config='hgkd/r19'), 'arm `x`: there is no config `hgkd/r19`'),
        (dict(config='hgkd/r50_mae'), '`val_dataloader`'),
        (
            dict(options={'modle.head': 1}),
            'arm `x`: the option modle.head: the '
            'config has no `modle`; did you mean `model`?',
        ),
        (
            dict(options={'model.head.similarity_loss.temprature': 1}),
            'is no option of `SimilarityDistributionLoss`; did you mean '
            '`temperature`?',
        ),
        (
            dict(options={'model.head.similarity_loss.temperature': -1}),
            'arm `x`: similarity_loss `temperature` must be positive',
        ),
    ],
)
def test_bad_arm_is_found_before_anything_runs(
    class_folders: Path, tmp_path: Path, arm: dict, message: str
) -> None:
    arm = {'name': 'x', 'config': 'hgkd/r18_scenes_unet', **arm}
    study = read_study(
        write_study(tmp_path / 's.yml', content(class_folders, arms=[arm]))
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        check_arms(study, study.arms, 2)


@pytest.mark.parametrize('path', STUDIES, ids=lambda path: path.stem)
def test_shipped_study(
    path: Path, class_folders: Path, tmp_path: Path
) -> None:
    study = read_study(path)
    assert len(study.seeds) >= 3
    study.data_root = str(class_folders)
    page = (ROOT / 'docs' / 'study.md').read_text(encoding='utf-8')
    assert f'<!-- table {study.name} -->' in page
    trained = study.teacher.config is not None
    if trained:
        teacher = teacher_config(study, tmp_path, 0)
    if study.finetune:
        recipe = finetuning_config(study, None, 0, 0.1, 2, tmp_path, 0)
        assert recipe.train_dataloader.dataset.label_fraction == 0.1
    models = {}
    for arm in study.arms:
        assert f'`{arm.name}`' in page
        assert arm.asks.endswith('?')
        cfg = pretraining_config(study, arm, 1, TeacherFiles(), 2, tmp_path, 0)
        assert cfg.train_cfg.max_epochs == (arm.epochs or study.epochs)
        # A warm-up, where the study asks for one, is not rounded away. Peers
        # have one of their own, and random weights need none.
        trains = not arm.peer and arm.method != 'scratch'
        if 'param_scheduler.0.end' in study.options and trains:
            assert [x.begin for x in cfg.param_scheduler] == [0, 1]
            assert cfg.param_scheduler[0].end == 1
        assert cfg.randomness.seed == 1
        if arm.method == 'pretrain':
            assert cfg.model.mask.seed == 1
            # The wrapper of the config itself depends on the processor.
            wrapper = arm.options.get('optim_wrapper.type')
            parts = cfg.model, cfg.data_preprocessor, wrapper
            models[arm.name] = repr(parts)
            if trained and cfg.model.teacher.type == 'mmhgkd.MIMTeacher':
                # The arms are taught by the network that is trained.
                for option in ('arch', 'patch_size'):
                    assert (
                        cfg.model.teacher.backbone[option]
                        == teacher.model.backbone[option]
                    )
    assert len(set(models.values())) == len(models)


@pytest.mark.parametrize('path', STUDIES, ids=lambda path: path.stem)
def test_shipped_arms_build(
    path: Path,
    class_folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    # Drawing weights takes most of the time.
    for layer in (nn.Linear, _ConvNd):
        monkeypatch.setattr(layer, 'reset_parameters', lambda self: None)
    monkeypatch.setattr(
        'mmpretrain.models.MAEViT.init_weights', lambda self: None
    )
    study = read_study(path)
    study.data_root = str(class_folders)
    if study.finetune:  # the networks are the same in all arms
        study.options['model.neck.width'] = 16
    if study.detect:
        scenes = write_scenes(tmp_path / 'det', 'det', 2, 2)
        study.detect.data_root = str(scenes)
    check_arms(study, study.arms, 2)


def test_numbers_of_the_yaml_are_numbers() -> None:
    for path in STUDIES:
        # YAML 1.1 takes 1e-3 for a text.
        assert not re.search(r': \d+e-\d', path.read_text())
        assert yaml.safe_load(path.read_text())['arms']
