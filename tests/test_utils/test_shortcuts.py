import pytest
from mmengine.config import Config

from mmhgkd.utils import ConfigError
from mmhgkd.utils.shortcuts import (
    set_batch_size,
    set_data,
    set_epochs,
    set_teacher,
)


def test_schedules_follow_the_epochs() -> None:

    def config() -> Config:
        return Config(
            dict(
                train_cfg=dict(max_epochs=100),
                param_scheduler=[
                    dict(type='LinearLR', begin=0, end=5),
                    dict(type='CosineAnnealingLR', begin=5, end=100, T_max=95),
                    dict(type='StepLR', by_epoch=False, step_size=9, end=30),
                ],
            )
        )

    cfg = config()
    set_epochs(cfg, 20)
    assert cfg.train_cfg.max_epochs == 20
    assert cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin == 1
    assert (cfg.param_scheduler[1].end, cfg.param_scheduler[1].T_max) == (
        20,
        19,
    )
    assert cfg.param_scheduler[2].end == 30
    cfg = config()
    set_epochs(cfg, 3)
    assert [s.type for s in cfg.param_scheduler] == [
        'CosineAnnealingLR',
        'StepLR',
    ]
    assert (cfg.param_scheduler[0].begin, cfg.param_scheduler[0].end) == (0, 3)


def test_length_in_iterations_is_no_length_in_epochs() -> None:
    with pytest.raises(ConfigError, match=r'set `train_cfg\.max_iters`'):
        set_epochs(Config(dict(train_cfg=dict(max_iters=5))), 3)
    with pytest.raises(ConfigError, match=r'at least 1'):
        set_epochs(Config(dict(train_cfg=dict(max_epochs=5))), 0)


def test_the_rate_follows_the_batch_size() -> None:
    cfg = Config(
        dict(
            train_dataloader=dict(batch_size=64),
            optim_wrapper=dict(optimizer=dict(lr=1e-3)),
        )
    )
    set_batch_size(cfg, 16)
    assert cfg.train_dataloader.batch_size == 16
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(2.5e-4)
    cfg.auto_scale_lr = dict(enable=True)
    set_batch_size(cfg, 32)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(2.5e-4)
    with pytest.raises(ConfigError, match=r'at least 1'):
        set_batch_size(cfg, 0)


def test_data_and_teacher() -> None:
    loader = dict(dataset=dict(data_root='a'))
    nested = dict(dataset=dict(datasets=[dict(data_root='a')]))
    cfg = Config(
        dict(
            train_dataloader=loader,
            val_dataloader=nested,
            test_dataloader=None,
            model=dict(teacher=dict(checkpoint='a.pth')),
        )
    )
    set_data(cfg, 'b')
    set_teacher(cfg, 'b.pth')
    assert cfg.train_dataloader.dataset.data_root == 'b'
    assert cfg.val_dataloader.dataset.datasets[0].data_root == 'b'
    assert cfg.model.teacher.checkpoint == 'b.pth'
    empty = Config(dict(model=dict(type='ResNet')))
    with pytest.raises(ConfigError, match='no dataset'):
        set_data(empty, 'b')
    with pytest.raises(ConfigError, match='is a file; name the folder'):
        set_data(cfg, __file__)
    with pytest.raises(ConfigError, match=r'no `model\.teacher'):
        set_teacher(empty, 'b.pth')
