import contextlib
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from mmhgkd.masks import UnitMask
from mmhgkd.sparse import PackedFeature, SparseFeature
from mmhgkd.sparse.layers import sparse_form
from mmhgkd.sparse.operations import (
    KEPT_WHOLE,
    check_form,
    is_reduction,
    run_layer,
    run_operation,
)
from mmhgkd.sparse.sets import set_form
from mmhgkd.sparse.sparse_feature import NoSparseForm
from mmhgkd.sparse.sparse_map import SparseMap
from mmhgkd.utils import ConfigError

from .probes import probe_shapes


class SparseGraph:
    """The layers of a dense network, in the order in which it runs them.

    The forward pass of the network is recorded once, symbolically, and is
    run on sparse features from then on. A layer with a sparse form is one
    step; other modules are recorded through. What is computed from the mean
    of each image, such as the gates of squeeze-excite, are ordinary tensors.
    The graph names layers and parameters and holds none, so that it stays
    valid when they are moved, cast, copied or exchanged.

    Args:
        network (nn.Module): The dense network.
        method (str): Name of its forward method, which takes the images and
            returns the feature maps.

    Raises:
        ConfigError: If the network has layers without a sparse form. All of
            them are named.
    """

    def __init__(self, network: nn.Module, method: str) -> None:
        self.steps = _record(network, method)
        features = self._probe(network)
        self.strides = tuple(feature.stride for feature in features)
        self.channels = tuple(feature.rows().size(1) for feature in features)

    def run(
        self, network: nn.Module, feature: SparseFeature
    ) -> tuple[SparseFeature, ...]:
        """Run the network on sparse images.

        Args:
            network (nn.Module): The network, with its layers.
            feature (SparseFeature): The visible pixels, see
                :meth:`SparseFeature.from_images`.

        Returns:
            tuple[SparseFeature]: The feature maps that the network returns.
        """
        values: dict[str, Any] = {}
        for step in self.steps:
            values[step.name] = step.run(network, feature, values)
            for name in step.unused:
                del values[name]
        return values['output']

    @torch.no_grad()
    def _probe(self, network: nn.Module) -> tuple[SparseFeature, ...]:
        """Run on blank images, to find all that has no sparse form."""
        training = [m for m in network.modules() if m.training]
        for module in training:
            module.training = False
        probes = probe_shapes(network)
        try:
            for shape in probes[:-1]:
                with contextlib.suppress(ConfigError):
                    return self._collect(network, shape)
            return self._collect(network, probes[-1])
        finally:
            for module in training:
                module.training = True

    def _collect(
        self, network: nn.Module, shape: tuple[int, int, int]
    ) -> tuple[SparseFeature, ...]:
        weight, side = next(network.parameters()), math.gcd(*shape[1:])
        rows, columns = shape[1] // side, shape[2] // side
        ids = weight.new_zeros(3, 1, dtype=torch.int64)
        mask = UnitMask(ids, rows, columns, side)
        feature = PackedFeature.from_images(weight.new_zeros(3, *shape), mask)
        values: dict[str, Any] = {}
        refused: dict[str, str] = {}
        first: Exception | None = None
        for step in self.steps:
            inputs = (values[name] for name in step.inputs)
            x = next((x for x in inputs if isinstance(x, SparseMap)), None)
            try:
                if not refused:
                    x = step.run(network, feature, values)
                elif x is not None:
                    # Sizes are wrong past a refusal, names are not.
                    x = step.check(network, x)
            except Exception as error:
                first = first or error
                refused.setdefault(step.owner, str(error))
            values[step.name] = x
        if refused:
            lines = [f'{owner}: {why}' for owner, why in refused.items()]
            raise ConfigError(
                f'{type(network).__name__} cannot be made sparse because of\n'
                + '\n'.join(lines)
            ) from first
        return values['output']


class _Value(NamedTuple):
    """The result of an earlier step."""

    name: str


class _Step(NamedTuple):
    """One layer or operation.

    Args:
        name (str): Name of the result.
        kind (str): As in ``torch.fx.Node.op``.
        target (Any): As in ``torch.fx.Node.target``.
        args (tuple): Arguments; :class:`_Value` for earlier results.
        kwargs (dict): Named arguments, likewise.
        owner (str): Qualified name and type of the module, for errors.
        inputs (tuple[str]): Names of the earlier results.
        unused (tuple[str]): Results that no later step needs.
    """

    name: str
    kind: str
    target: Any
    args: tuple
    kwargs: dict[str, Any]
    owner: str
    inputs: tuple[str, ...]
    unused: tuple[str, ...]

    def run(
        self, network: nn.Module, images: SparseFeature, values: dict[str, Any]
    ) -> Any:
        if self.kind == 'placeholder':
            return SparseMap(images)
        if self.kind == 'get_attr':
            value: Any = network
            for name in self.target.split('.'):
                value = getattr(value, name)
            return value
        args = _fill(self.args, values)
        kwargs = {k: _fill(v, values) for k, v in self.kwargs.items()}
        if self.kind == 'output':
            return _outputs(args[0])
        sparse = any(_holds_map(values[name]) for name in self.inputs)
        if self.kind == 'call_module':
            module = network.get_submodule(self.target)
            if sparse:
                return run_layer(module, *args, **kwargs)
            return module(*args, **kwargs)
        if sparse:
            return run_operation(self.target, *args, **kwargs)
        if self.kind == 'call_method':
            return getattr(args[0], self.target)(*args[1:], **kwargs)
        return self.target(*args, **kwargs)

    def check(self, network: nn.Module, x: SparseMap) -> SparseMap | None:
        """Check that there is a sparse form, and compute nothing."""
        if self.kind == 'output':
            return x
        target = self.target
        if self.kind == 'call_module':
            target = network.get_submodule(target)
        check_form(target, *self.args)
        return None if is_reduction(target) else x


class _Tracer(fx.Tracer):
    """Records layers that have a sparse form, or belong to PyTorch."""

    # A buffer that is read as a value would miss later moves and casts.
    proxy_buffer_attributes = True

    def __init__(self, method: str) -> None:
        super().__init__(autowrap_functions=KEPT_WHOLE)
        self.traced_func_name = method

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (
            sparse_form(m) is not None
            or set_form(m) is not None
            or super().is_leaf_module(m, module_qualified_name)
        )


def _record(network: nn.Module, method: str) -> tuple[_Step, ...]:
    for name, module in network.named_modules():
        if getattr(module, 'with_cp', False):
            raise ConfigError(
                f'`{name}` ({type(module).__name__}): gradient checkpointing '
                'cannot be recorded for sparse features; set `with_cp=False`'
            )
    tracer = _Tracer(method)
    try:
        graph = tracer.trace(network)
    except Exception as error:
        owner = _owner(tracer.module_stack, network)
        raise ConfigError(
            f'{type(network).__name__} cannot be made sparse because of\n'
            f'{owner}: its forward cannot be recorded ({error})'
        ) from error
    # Checks of shapes go, too: the output does not depend on them.
    graph.eliminate_dead_code(lambda node: node.op == 'output')
    nodes = list(graph.nodes)
    last = {x: node for node in nodes for x in node.all_input_nodes}
    return tuple(
        _Step(
            node.name,
            node.op,
            node.target,
            _references(node.args),
            _references(node.kwargs),
            _owner(node.meta.get('nn_module_stack', {}), network),
            tuple(x.name for x in node.all_input_nodes),
            tuple(x.name for x in node.all_input_nodes if last[x] is node),
        )
        for node in nodes
    )


def _owner(stack: Any, network: nn.Module) -> str:
    if not stack:
        return f'the network itself ({type(network).__name__})'
    name, module_type = list(stack.values())[-1]
    return f'`{name}` ({module_type.__name__})'


def _references(argument: Any) -> Any:
    """Exchange nodes of the graph by names of results."""
    if isinstance(argument, fx.Node):
        return _Value(argument.name)
    if isinstance(argument, tuple):
        return tuple(_references(x) for x in argument)
    if isinstance(argument, list):
        return [_references(x) for x in argument]
    if isinstance(argument, dict):
        return {key: _references(value) for key, value in argument.items()}
    return argument


def _holds_map(value: Any) -> bool:
    if isinstance(value, SparseMap):
        return True
    return isinstance(value, (tuple, list)) and any(map(_holds_map, value))


def _fill(argument: Any, values: dict[str, Any]) -> Any:
    if isinstance(argument, _Value):
        return values[argument.name]
    if isinstance(argument, tuple):
        return tuple(_fill(x, values) for x in argument)
    if isinstance(argument, list):
        return [_fill(x, values) for x in argument]
    if isinstance(argument, dict):
        return {key: _fill(x, values) for key, x in argument.items()}
    return argument


def _outputs(result: Any) -> tuple[SparseFeature, ...]:
    maps = [result] if isinstance(result, (SparseMap, Tensor)) else result
    if isinstance(maps, dict):
        maps = list(maps.values())
    if not maps:
        raise NoSparseForm(
            'it returns no feature map that can be recorded, as where hooks '
            'collect them; choose a network that returns the maps of its '
            'stages'
        )
    features = []
    for index, x in enumerate(maps):
        if not isinstance(x, SparseMap) or x.channels_last or x.folds:
            raise NoSparseForm(
                f'output {index} is no feature map (B, C, H, W); a sparse '
                'student returns the maps of its stages'
            )
        features.append(x.feature)
    return tuple(features)
