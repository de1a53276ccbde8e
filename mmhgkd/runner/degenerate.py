"""Settings with which a training runs to its end and learns nothing."""

from collections.abc import Mapping
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from PIL import Image

from mmhgkd.algorithms import HGKD
from mmhgkd.utils import ConfigError
from mmhgkd.utils.errors import closest
from mmhgkd.utils.unwrapped import unwrapped

#: Images whose size is looked at.
_SAMPLES = 16


def check_loop(runner: Runner, loop: Any) -> None:
    """Check length and order of the data.

    Args:
        runner (Runner): The runner.
        loop (BaseLoop): Its training loop.

    Raises:
        ConfigError: If an epoch has no end, or has no batch.
    """
    sampler = getattr(loop.dataloader.batch_sampler, 'sampler', None)
    endless = isinstance(sampler, InfiniteSampler)
    if endless and isinstance(loop, EpochBasedTrainLoop):
        raise ConfigError(
            f'`train_dataloader.sampler` is {type(sampler).__name__}, with '
            'which an epoch never ends; set it to DefaultSampler, or '
            "`train_cfg.type='IterBasedTrainLoop'` with `max_iters`"
        )
    size = loop.dataloader.batch_size
    dataset = loop.dataloader.dataset
    if not hasattr(dataset, '__len__'):
        return
    if not endless and not len(loop.dataloader):
        raise ConfigError(
            f'the {len(dataset)} training images do not fill a batch of '
            'every process; lower `train_dataloader.batch_size`, or set '
            '`train_dataloader.drop_last=False`'
        )
    # Samplers of whole batches have sizes of their own.
    if size is not None and len(dataset) < size * runner.world_size:
        what = (
            'a batch has images twice' if endless else 'an epoch is one step'
        )
        runner.logger.warning(
            f'The {len(dataset)} training images do not fill one batch of '
            f'{size * runner.world_size} of all processes, so that {what}; '
            'lower `train_dataloader.batch_size`, and the learning rate with '
            'it.'
        )


def check_best(runner: Runner) -> None:
    """Check that there is something to choose the best checkpoint by.

    Args:
        runner (Runner): The runner.

    Raises:
        ConfigError: If the best one is to be kept without a validation.
    """
    for hook in runner.hooks:
        best = getattr(hook, 'save_best', None)
        if (
            isinstance(hook, CheckpointHook)
            and best
            and runner._val_loop is None
        ):
            raise ConfigError(
                f'`default_hooks.checkpoint.save_best={best[0]}` takes a '
                'figure of the validation, and there is none; set '
                '`val_dataloader`, `val_cfg` and `val_evaluator`, or leave '
                '`save_best` out'
            )


def check_named_modules(runner: Runner) -> None:
    """Check the parts of the model that settings of MMEngine name.

    Args:
        runner (Runner): The runner.

    Raises:
        ConfigError: If the model has no such part.
    """
    known = dict(unwrapped(runner.model).named_modules())
    for option in ('activation_checkpointing', 'efficient_conv_bn_eval'):
        names = runner.cfg.get(option) or []
        for name in [names] if isinstance(names, str) else names:
            if name not in known:
                raise ConfigError(
                    f'the model has no part `{name}` of `{option}`; '
                    f'{closest(str(name), known, "leave it out")}'
                )


def warn_of_unused_keys(
    runner: Runner, optim_wrapper: Mapping[str, Any]
) -> None:
    """Warn of keys of ``paramwise_cfg`` that fit no parameter.

    Args:
        runner (Runner): The runner.
        optim_wrapper (Mapping[str, Any]): Config of the optimizer wrapper.
    """
    settings = optim_wrapper.get('paramwise_cfg') or {}
    names = [name for name, _ in unwrapped(runner.model).named_parameters()]
    for key in settings.get('custom_keys') or ():
        if not any(key in name for name in names):
            runner.logger.warning(
                f'`optim_wrapper.paramwise_cfg.custom_keys.{key}` fits no '
                'parameter of the model and changes nothing.'
            )


def check_distillation(runner: Runner, loop: Any) -> None:
    """Check queue and images of a distillation.

    Args:
        runner (Runner): The runner.
        loop (BaseLoop): Its training loop.

    Raises:
        ConfigError: If the images are smaller than a unit of the mask.
    """
    model: Any = unwrapped(runner.model)
    dataset = loop.dataloader.dataset
    if not isinstance(model, HGKD) or not hasattr(dataset, '__len__'):
        return
    queue = getattr(model.head, 'queue', None)
    if queue is not None and queue.size > len(dataset) / 4:
        fitting = max(1, len(dataset) // 4)
        runner.logger.warning(
            f'`head.queue.size` is {queue.size}, more than a quarter of the '
            f'{len(dataset)} images: the queue holds stale views of the very '
            f'images it is compared with; set `head.queue.size={fitting}` '
            'or less.'
        )
    sizes = _sizes(dataset)
    unit = model.mask.unit
    if sizes and all(min(size) < unit for size in sizes):
        width, height = sizes[0]
        raise ConfigError(
            f'the images of `train_dataloader.dataset` are small, such as '
            f'{width}x{height} px, less than one unit of the mask of {unit} '
            'px: enlarged ones hold nothing that could be hidden; use larger '
            'images'
        )


def _sizes(dataset: Any) -> list[tuple[int, int]]:
    """Width and height of some images; headers are read only."""
    sizes = []
    for index in range(0, len(dataset), max(1, len(dataset) // _SAMPLES)):
        try:
            with Image.open(dataset.get_data_info(index)['img_path']) as image:
                sizes.append(image.size)
        except Exception:  # unreadable ones have their own message
            continue
    return sizes
