from pathlib import Path

import pytest
from mmengine.config import utils as config_utils

from mmhgkd.catalog import config_folder
from mmhgkd.utils import ConfigError, load_config
from mmhgkd.utils.config_options import check_option

CONFIG = {
    'model': {'backbone': {'type': 'ResNet'}},
    'optim_wrapper': {'optimizer': {'lr': 0.1}},
    'train_dataloader': {'dataset': {'data_root': 'data'}},
    'train_pipeline': [{'type': 'Crop'}, {'type': 'Flip'}],
    'val_dataloader': None,
}


@pytest.mark.parametrize(
    'option',
    [
        'optim_wrapper.optimizer.lr',
        'optim_wrapper.clip_grad.max_norm',
        'model.backbone.init_cfg.checkpoint',
        'train_pipeline.1.prob',
        'val_dataloader',
        'randomness.seed',
        'work_dir',
        'sync_bn',
        'model_wrapper_cfg.find_unused_parameters',
    ],
)
def test_accepted(option: str) -> None:
    check_option(CONFIG, option)


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('lr', 'the config has no `lr`'),
        ('train.batch_size', 'the config has no `train`'),
        (
            'train_dataloder.batch_size',
            'the config has no `train_dataloder`; did you mean '
            '`train_dataloader`?',
        ),
        (
            'model.backbones.depth',
            '`model` has no `backbones`; did you mean `backbone`?',
        ),
        (
            'train_pipeline.2.prob',
            '`train_pipeline` is of type list and has no `2`; set '
            '`train_pipeline` '
            'as a whole',
        ),
        (
            'train_pipeline.0',
            '`train_pipeline` is of type list and has no `0`; '
            'set `train_pipeline` as a whole',
        ),
        (
            'model.backbone.type.depth',
            '`model.backbone.type` is of type str and '
            'has no `depth`; set `model.backbone.type` as a whole',
        ),
        (
            'val_dataloader.batch_size',
            '`val_dataloader` is of type NoneType and has no `batch_size`; '
            'set '
            '`val_dataloader` as a whole',
        ),
    ],
)
def test_refused(option: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_option(CONFIG, option)
    assert str(raised.value) == f'--cfg-options {option}: {message}'


def test_slip_in_the_last_key_is_pointed_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    check_option(CONFIG, 'train_dataloader.dataset.dataroot')
    assert 'did you mean `data_root`?' in capsys.readouterr().out
    check_option(CONFIG, 'train_dataloader.dataset.indices')
    assert capsys.readouterr().out == ''


def test_merge_into_a_list(tmp_path: Path) -> None:
    path = tmp_path / 'config.py'
    path.write_text('train_pipeline = [dict(type="A"), dict(type="B")]\n')
    cfg = load_config(str(path), {'train_pipeline.1.prob': 0.5})
    assert cfg.train_pipeline == [{'type': 'A'}, {'type': 'B', 'prob': 0.5}]


def test_variable_changes_where_its_value_is_used(tmp_path: Path) -> None:
    path = tmp_path / 'config.py'
    path.write_text(
        "data_root = 'data/a'\n"
        "work_dir = 'run'\n"
        "train = dict(root=data_root, other='data/ab')\n"
        "val = [dict(ann_file=data_root + '/x.json'), 'run']\n"
    )
    cfg = load_config(str(path), {'data_root': 'b', 'work_dir': 'c'})
    assert cfg.data_root == 'b' and cfg.work_dir == 'c'
    assert cfg.train == {'root': 'b', 'other': 'data/ab'}
    # A setting of the run is no variable.
    assert cfg.val == [{'ann_file': 'b/x.json'}, 'run']
    both = load_config(str(path), {'data_root': 'b', 'train.root': 'c'})
    assert both.train.root == 'c' and both.val[0].ann_file == 'b/x.json'


@pytest.mark.parametrize(
    'option', ['data_root', 'train_dataloader.dataset.data_root']
)
def test_equal_values_of_other_keys_stay(tmp_path: Path, option: str) -> None:
    path = tmp_path / 'config.py'
    path.write_text(
        "data_root = 'data'\n"
        "log_root = 'data'\n"
        "model = dict(name='data', teacher=dict(checkpoint='data/mae.pth'))\n"
        'train_dataloader = dict(dataset=dict(data_root=data_root))\n'
        'val_dataloader = dict(dataset=dict(data_root=data_root))\n'
    )
    before = load_config(str(path))
    cfg = load_config(str(path), {option: 'photos'})
    assert cfg.log_root == 'data'
    assert cfg.model == before.model
    assert cfg.train_dataloader.dataset.data_root == 'photos'
    is_variable = option == 'data_root'
    assert cfg.data_root == ('photos' if is_variable else 'data')
    assert cfg.val_dataloader.dataset.data_root == cfg.data_root
    # Nothing of it is left for the next config.
    assert load_config(str(path)).to_dict() == before.to_dict()


def test_variable_of_a_base(tmp_path: Path) -> None:
    (tmp_path / 'base.py').write_text(
        "data_root = 'data/'\n"
        'def path(name):\n'
        "    data_root = 'other/'\n"
        '    return data_root + name\n'
        "train = dict(ann_file=data_root + 'a.json', other=path('b'))\n"
        'epochs = 3\n'
        'train_cfg = dict(max_epochs=epochs)\n'
    )
    path = tmp_path / 'config.py'
    path.write_text(
        "_base_ = 'base.py'\n"
        "checkpoint = '{{ fileBasenameNoExtension }}.pth'\n"
        'val = dict(root={{_base_.data_root}}, file=checkpoint)\n'
    )
    cfg = load_config(str(path), {'data_root': 'photos', 'epochs': 5})
    assert cfg.train == dict(ann_file='photos/a.json', other='other/b')
    assert cfg.val == dict(root='photos/', file='config.pth')
    assert cfg.train_cfg.max_epochs == 5
    assert cfg.data_root == 'photos'
    cfg = load_config(str(path), {'checkpoint': 'best.pth'})
    assert cfg.val == dict(root='data/', file='best.pth')


def test_base_of_this_project_from_anywhere(tmp_path: Path) -> None:
    file = tmp_path / 'own.py'
    file.write_text("_base_ = 'mmhgkd::hgkd/r18_scenes.py'")
    packages = dict(config_utils.MODULE2PACKAGE)
    found = load_config(str(file)).to_dict()
    expected = load_config(str(config_folder() / 'hgkd/r18_scenes.py'))
    assert found == expected.to_dict()
    assert packages == config_utils.MODULE2PACKAGE
    file.write_text(
        "_base_ = 'mmhgkd::hgkd/r18_scenes.py'\nmodel = dict(views=3)"
    )
    options = {'model.mask.mask_ratio': 0.25}
    assert load_config(str(file), options).model.views == 3
    # Another project's parts keep their scope.
    file.write_text("_base_ = 'mmpretrain::_base_/models/resnet18.py'\n")
    assert load_config(str(file)).model._scope_ == 'mmpretrain'
    file.write_text("_base_ = 'mmhgkd::hgkd/r18_scene.py'")
    with pytest.raises(ConfigError, match=r'cannot read the config .*own'):
        load_config(str(file))
