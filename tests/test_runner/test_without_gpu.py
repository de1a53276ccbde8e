import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from ranks import run_ranks

from mmhgkd.runner import without_gpu

VARIABLES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')


def start_task(rank: int) -> None:
    """Do what a task of Slurm does, and leave the group."""
    os.environ.update(SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank))
    without_gpu.get_device = lambda: 'cpu'
    cfg = Config(dict(launcher='slurm'))
    without_gpu.set_up_cpu_distributed(cfg)
    total = torch.tensor(rank + 1)
    dist.all_reduce(total)
    assert (dist.get_rank(), dist.get_backend(), total) == (rank, 'gloo', 3)
    assert os.environ['LOCAL_RANK'] == str(rank)
    assert os.environ['MASTER_ADDR'] == 'localhost'
    assert cfg.model_wrapper_cfg.device_ids is None
    dist.destroy_process_group()


def test_tasks_of_slurm_find_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text(
        '#!/bin/sh\n'
        '[ "$*" = "show hostnames n[1-2]" ] &&\n'
        'printf "localhost\\nn2\\n"\n'
    )
    scontrol.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv('SLURM_NTASKS', '2')
    monkeypatch.setenv('SLURM_NODELIST', 'n[1-2]')
    monkeypatch.setenv('MASTER_PORT', str(port))
    run_ranks(start_task, group=False)


TYPES = ('AmpOptimWrapper', 'mmhgkd.AutocastOptimWrapper')


def config(kind: str = TYPES[0]) -> Config:
    return Config(
        dict(
            optim_wrapper=dict(
                type=kind,
                dtype='bfloat16',
                optimizer=dict(type='SGD', lr=1),
            )
        )
    )


def set_processor(monkeypatch: pytest.MonkeyPatch, **found: bool) -> None:
    monkeypatch.setattr(without_gpu, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: found)


@pytest.mark.parametrize(
    ('kind', 'has_products'),
    [(TYPES[0], False), (TYPES[0], True), (TYPES[1], False)],
)
def test_cpu_trains_in_fp32(
    kind: str, has_products: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_processor(monkeypatch, avx2=True, avx512_bf16=has_products)
    cfg = config(kind)
    without_gpu.fall_back_to_full_precision(cfg)
    assert cfg.optim_wrapper == dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1)
    )


@pytest.mark.parametrize('name', ['avx512_bf16', 'amx_bf16'])
def test_cpu_with_products_of_bfloat16_trains_in_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_processor(monkeypatch, **{name: True})
    cfg = config(TYPES[1])
    without_gpu.fall_back_to_full_precision(cfg)
    assert cfg.optim_wrapper == config(TYPES[1]).optim_wrapper


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_options_of_mixed_precision_go_with_it(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `optim_wrapper.type=OptimWrapper` on the command line asks for."""
    monkeypatch.setattr(without_gpu, 'get_device', lambda: device)
    cfg = config('OptimWrapper')
    without_gpu.fall_back_to_full_precision(cfg)
    assert cfg.optim_wrapper == dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1)
    )


def test_gpu_keeps_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(without_gpu, 'get_device', lambda: 'cuda')
    cfg = config()
    without_gpu.fall_back_to_full_precision(cfg)
    assert cfg.optim_wrapper == config().optim_wrapper


@pytest.mark.parametrize('wrapper', [None, dict(optimizer=dict(type='SGD'))])
def test_other_wrappers_stay(
    wrapper: dict | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(without_gpu, 'get_device', lambda: 'cpu')
    cfg = Config(dict(optim_wrapper=wrapper))
    without_gpu.fall_back_to_full_precision(cfg)
    assert cfg.optim_wrapper == wrapper
