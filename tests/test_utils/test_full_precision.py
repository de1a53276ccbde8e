import pytest
from mmengine.config import Config

from mmhgkd.utils import fall_back_to_full_precision, full_precision


def config() -> Config:
    return Config(
        dict(
            optim_wrapper=dict(
                type='AmpOptimWrapper',
                dtype='bfloat16',
                optimizer=dict(type='SGD', lr=1),
            )
        )
    )


def test_cpu_trains_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_precision, 'get_device', lambda: 'cpu')
    cfg = config()
    fall_back_to_full_precision(cfg)
    assert cfg.optim_wrapper == dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1)
    )


def test_gpu_keeps_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_precision, 'get_device', lambda: 'cuda')
    cfg = config()
    fall_back_to_full_precision(cfg)
    assert cfg.optim_wrapper == config().optim_wrapper


@pytest.mark.parametrize('wrapper', [None, dict(optimizer=dict(type='SGD'))])
def test_other_wrappers_stay(
    wrapper: dict | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_precision, 'get_device', lambda: 'cpu')
    cfg = Config(dict(optim_wrapper=wrapper))
    fall_back_to_full_precision(cfg)
    assert cfg.optim_wrapper == wrapper
