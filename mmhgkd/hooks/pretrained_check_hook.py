from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import BaseLoop, Runner, find_latest_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from mmhgkd.registry import HOOKS
from mmhgkd.teachers.checkpoint import (
    find_differences,
    find_tensors,
    read_checkpoint,
    strip_prefix,
    summarize,
)
from mmhgkd.utils import ConfigError
from mmhgkd.utils.find_type import find_type
from mmhgkd.utils.unwrapped import unwrapped

State = dict[str, Tensor]

_HEADS = ('fc.', 'head.', 'classifier.', 'aux1.', 'aux2.')


@HOOKS.register_module()
class PretrainedCheckHook(Hook):
    """Makes sure that pre-trained weights get into the model, all of them.

    MMEngine only warns where a checkpoint does not fit, and goes on with
    random weights. This hook compares every module that has an ``init_cfg``
    of type 'Pretrained' with its checkpoint before any weight is loaded, and
    looks at the start of the training whether its weights are those of the
    file. Checkpoints are read without running code from them. Parts of a
    checkpoint that the module does not have as a whole, such as the
    classifier beside a backbone, are left out on purpose and only reported.

    A checkpoint in ``load_from`` must hold the whole backbone in training,
    and the whole model in testing. In training it may be one of the backbone
    alone, such as the supervised weights of torchvision or timm, or those of
    SparK, which then go to the backbone. When a run is resumed nothing is
    checked, as its weights come from its own checkpoint. What does not fit is
    a ConfigError.

    Args:
        strict (bool): Whether weights that do not fit end the run; if not
            they are reported only. Defaults to True.
    """

    priority = 'VERY_HIGH'

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict
        self._expected: list[tuple[str, nn.Module, State]] = []
        self._lead: str | None = None

    def before_run(self, runner: Runner) -> None:
        """Compare modules and checkpoints."""
        self._expected, self._lead = [], None
        training = isinstance(runner._train_loop, BaseLoop)
        load_from = runner._load_from
        if runner._resume and (
            load_from or find_latest_checkpoint(runner.work_dir)
        ):
            return
        model = unwrapped(runner.model)
        pretrained = _pretrained_modules(model) if training else ()
        for name, module, init_cfg in pretrained:
            source, prefix = init_cfg['checkpoint'], init_cfg.get('prefix')
            option = f'model.{name}.init_cfg'.replace('..', '.')
            state = self._check(runner, name, module, source, prefix, option)
            self._expected.append((name, module, state))
        if load_from:
            is_part = training and hasattr(model, 'backbone')
            name, prefix = ('backbone', 'backbone.') if is_part else ('', None)
            module = model.get_submodule(name)
            self._check(runner, name, module, load_from, prefix, 'load_from')

    def after_load_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Give weights of a backbone alone the names within the model."""
        if self._lead is None:
            return
        own = unwrapped(runner.model).state_dict()
        names = f'backbone.{self._lead}'
        bare = _part(checkpoint.get('state_dict', checkpoint), None)
        named = {names + key: value for key, value in bare.items()}
        checkpoint['state_dict'] = {k: v for k, v in named.items() if k in own}

    def before_train(self, runner: Runner) -> None:
        """Look whether the weights of the modules are those of the files."""
        expected, self._expected = self._expected, []
        if runner._has_loaded:
            return
        for name, module, state in expected:
            different = [
                key
                for key, value in module.state_dict().items()
                if key in state
                and value.shape == state[key].shape
                and not torch.equal(value.cpu(), state[key].to(value.dtype))
            ]
            if different:
                self._complain(
                    runner,
                    f'{len(different)} weights of `{name or "model"}` '
                    'are not those of its checkpoint after the '
                    f'initialization, such as {different[0]}; look for an '
                    '`init_cfg` or `init_weights` of a part of it',
                )

    def _check(
        self,
        runner: Runner,
        name: str,
        module: nn.Module,
        source: str,
        prefix: str | None,
        option: str,
    ) -> State:
        """Compare a module with its part of a checkpoint, and return that."""
        where = option if option == 'load_from' else f'{option}.checkpoint'
        weights = _weights(source, where)
        state = _part(weights, prefix)
        own = {
            key: value
            for key, value in module.state_dict().items()
            # A counter, which files of old versions of PyTorch lack.
            if not key.endswith('num_batches_tracked')
        }
        if not state and option == 'load_from':
            self._lead, state = _alone(weights, own)
        label = f'`{name}` ({type(module).__name__})' if name else 'the model'
        if not state:
            found = sorted({key.split('.')[0] + '.' for key in weights})
            raise ConfigError(
                f'{source}: no key starts with `{prefix}`, the prefixes that '
                f'exist are {", ".join(found)}; '
                f'{_advice(weights, own, option)}'
            )
        parts = {key.split('.')[0] for key in own}
        inside = {
            key: value
            for key, value in state.items()
            if key.split('.')[0] in parts
            and not key.endswith('num_batches_tracked')
        }
        differences = find_differences(own, inside)
        lines = summarize(differences)
        lost = differences['missing'] + differences['of another shape']
        loaded = f'{len(own) - len(lost)} of {len(own)} weights'
        text = f'{source}: fits {loaded} of {label}'
        others = sorted({key.split('.')[0] for key in state} - parts)
        if lines:
            advice = _advice(weights, own, option)
            self._complain(runner, f'{text}: {"; ".join(lines)}; {advice}')
        elif others:
            runner.logger.info(f'{text}, not used: {", ".join(others)}')
        else:
            runner.logger.info(text)
        return state

    def _complain(self, runner: Runner, message: str) -> None:
        if self.strict:
            raise ConfigError(
                message + '; to go on all the same, set `strict=False` of '
                'PretrainedCheckHook in `custom_hooks`'
            )
        runner.logger.warning(message)


def _pretrained_modules(
    model: nn.Module,
) -> Iterator[tuple[str, nn.Module, dict]]:
    """Modules with the `init_cfg` by which MMEngine loads a checkpoint."""
    for name, module in model.named_modules():
        init_cfgs = getattr(module, 'init_cfg', None) or []
        if isinstance(init_cfgs, dict):
            init_cfgs = [init_cfgs]
        for init_cfg in init_cfgs:
            kind = find_type(WEIGHT_INITIALIZERS, init_cfg['type'])
            if kind is PretrainedInit:
                yield name, module, init_cfg


def _weights(source: str, option: str) -> State:
    """The weights that MMEngine finds in a checkpoint."""
    if source.endswith('.safetensors'):
        raise ConfigError(
            f'{source}: MMEngine loads no safetensors; set `{option}` to the '
            'checkpoint of the training, or save the weights by `torch.save`'
        )
    if '://' in source and not source.startswith('http'):
        content = CheckpointLoader.load_checkpoint(source, 'cpu')
    else:
        try:
            content = read_checkpoint(source, option)
        except FileNotFoundError as error:
            raise ConfigError(str(error)) from error
    state = content
    if isinstance(content, Mapping):
        state = content.get('state_dict', content)
    return find_tensors(
        state,
        content,
        f'{source}: holds no weights under `state_dict` or at its top',
        f'set `{option}` to a checkpoint of a training',
    )


def _part(weights: State, prefix: str | None) -> State:
    """The part of a checkpoint that MMEngine loads for a prefix."""
    if prefix is None:
        return {key.removeprefix('module.'): v for key, v in weights.items()}
    return strip_prefix(weights, prefix.rstrip('.') + '.')


def _alone(weights: State, own: State) -> tuple[str | None, State]:
    """Weights of a backbone alone, in the names that it has.

    Returns:
        tuple[str or None, dict[str, Tensor]]: What comes before their names,
        None if they are another network's; and the weights.
    """
    bare = _part(weights, None)
    for lead in ('', 'model.', 'timm_model.'):
        state = {lead + key: value for key, value in bare.items()}
        if 2 * sum(key in state for key in own) > len(own):
            heads = tuple(lead + name for name in _HEADS) if lead else ()
            return lead, {
                k: v for k, v in state.items() if not k.startswith(heads)
            }
    return None, {}


def _advice(weights: State, own: State, option: str) -> str:
    """What to change: the prefix if another one fits, else the depth."""
    if option != 'load_from':
        names = {key.split('.')[0] for key in weights}
        for prefix in (None, *sorted(f'{name}.' for name in names)):
            part = _part(weights, prefix)
            if all(
                key in part and part[key].shape == value.shape
                for key, value in own.items()
            ):
                return f'set `{option}.prefix={prefix!r}`'
    return (
        'choose the architecture (depth, width) as in the pre-training, '
        'or another checkpoint'
    )
