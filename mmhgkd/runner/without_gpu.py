"""What a config that is written for GPUs needs on a machine without one."""

import logging
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from torch import distributed

from mmhgkd.utils import ConfigError
from mmhgkd.utils.preflight import (
    computes_bfloat16,
    is_mixed_precision,
    is_plain,
)

#: Name of the number of processes in MMEngine's log, and the one without GPU.
GPUS, PROCESSES = 'GPU number', 'Number of processes'


def fall_back_to_full_precision(cfg: Config) -> None:
    """Let a config that asks for mixed precision train without a GPU.

    MMEngine's ``AmpOptimWrapper`` refuses to work on a CPU. What is for
    bfloat16 alone stays where the processor has products of it; on others
    half precision saves no time.

    Args:
        cfg (Config): The config; changed in place.
    """
    wrapper = cfg.get('optim_wrapper')
    if is_plain(cfg):
        # Of the base of a config whose `type` somebody has changed.
        leave_precision_options_out(wrapper)
    if not is_mixed_precision(cfg) or get_device() != 'cpu':
        return
    if computes_bfloat16(cfg):
        print_log(
            'No GPU found: training in bfloat16, of which this processor has '
            'products.'
        )
        return
    wrapper.type = 'OptimWrapper'
    leave_precision_options_out(wrapper)
    print_log('No GPU found: training in fp32 instead of mixed precision.')


def leave_precision_options_out(wrapper: Config) -> None:
    """Leave out what only mixed precision has."""
    for option in ('dtype', 'loss_scale', 'use_fsdp'):
        wrapper.pop(option, None)


def leave_gpu_settings_out(cfg: Config) -> None:
    """Leave out what only a GPU uses, and what is warned of without one.

    Args:
        cfg (Config): The final config; changed in place.
    """
    if get_device() != 'cpu':
        return
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if (cfg.get(name) or {}).get('pin_memory'):
            cfg[name].pin_memory = False
    backend = (cfg.get('env_cfg') or {}).get('dist_cfg') or {}
    if cfg.get('launcher', 'none') == 'none' and backend.get('backend'):
        backend['backend'] = 'gloo'


@contextmanager
def words_without_gpu(logger: logging.Logger) -> Iterator[None]:
    """Let a log speak of processes where MMEngine counts them as GPUs."""

    def rename(record: logging.LogRecord) -> bool:
        if get_device() == 'cpu' and isinstance(record.msg, str):
            record.msg = record.msg.replace(
                f'    {GPUS}:', f'    {PROCESSES}:'
            )
        return True

    logger.addFilter(rename)
    try:
        yield
    finally:
        logger.removeFilter(rename)


def set_up_cpu_distributed(cfg: Config) -> None:
    """Let several processes train or test on a machine without a GPU.

    MMEngine binds each process to a GPU, both when it starts the process
    group and when it wraps the model, so without one the group is started
    here and the wrapper is told to bind to none.

    Args:
        cfg (Config): The final config; changed in place.

    Raises:
        ConfigError: If the launcher is neither PyTorch's nor Slurm's, or if
            Slurm has not started this process.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or get_device() != 'cpu':
        return
    if launcher == 'slurm':
        _take_place_from_slurm()
    elif launcher != 'pytorch':
        raise ConfigError(
            f'`--launcher {launcher}` needs GPUs and finds none; without them '
            'use `tools/dist_train.sh`, or `--launcher none`'
        )
    dist_cfg = cfg.setdefault('env_cfg', {}).setdefault('dist_cfg', {})
    if dist_cfg.get('backend', 'nccl') == 'nccl':
        dist_cfg['backend'] = 'gloo'
        print_log('No GPU found: `env_cfg.dist_cfg.backend` is set to gloo.')
    distributed.init_process_group(dist_cfg['backend'], timeout=time_out(cfg))
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = {**wrapper, 'device_ids': None}


def time_out(cfg: Mapping[str, Any]) -> timedelta | None:
    """How long a process waits for another one.

    Args:
        cfg (Mapping): The config of the run.

    Returns:
        timedelta: None for what PyTorch takes.
    """
    dist_cfg = (cfg.get('env_cfg') or {}).get('dist_cfg') or {}
    seconds = dist_cfg.get('timeout')
    return None if seconds is None else timedelta(seconds=seconds)


def time_out_words(cfg: Mapping[str, Any]) -> str:
    """Say how long a process waits for another one.

    Args:
        cfg (Mapping): The config of the run.
    """
    limit = time_out(cfg)
    text = (
        f'{limit.total_seconds():g} seconds'
        if limit
        else '10 minutes with NCCL and 30 with gloo'
    )
    return (
        f'A process that waits for another one gives up after {text}, see '
        '`env_cfg.dist_cfg.timeout`.'
    )


def _take_place_from_slurm() -> None:
    """Set what PyTorch wants to know, as MMEngine does where there are GPUs.

    Raises:
        ConfigError: If Slurm has not started this process.
    """
    if 'SLURM_PROCID' not in os.environ:
        raise ConfigError(
            '`--launcher slurm` is for processes that `srun` starts, but '
            'SLURM_PROCID is not set; use `tools/slurm_train.sh` or '
            '`tools/slurm_test.sh`, or `--launcher none`'
        )
    os.environ.update(
        RANK=os.environ['SLURM_PROCID'],
        LOCAL_RANK=os.environ['SLURM_LOCALID'],
        WORLD_SIZE=os.environ['SLURM_NTASKS'],
    )
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        nodes = subprocess.check_output(
            ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
            text=True,
        )
        os.environ['MASTER_ADDR'] = nodes.split()[0]
