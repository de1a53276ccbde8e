from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log


def fall_back_to_full_precision(cfg: Config) -> None:
    """Let a config that asks for mixed precision train without a GPU.

    MMEngine's ``AmpOptimWrapper`` refuses to work on a CPU.

    Args:
        cfg (Config): The config; changed in place.
    """
    wrapper = cfg.get('optim_wrapper')
    if (
        wrapper is None
        or wrapper.get('type') != 'AmpOptimWrapper'
        or get_device() != 'cpu'
    ):
        return
    wrapper.type = 'OptimWrapper'
    for option in ('dtype', 'loss_scale', 'use_fsdp'):
        wrapper.pop(option, None)
    print_log('No GPU found: training in fp32 instead of mixed precision.')
