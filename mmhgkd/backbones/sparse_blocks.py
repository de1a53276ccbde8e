"""Residual blocks of mmpretrain's ResNet that also take sparse features."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, noop_context_fn

from mmhgkd.sparse import SparseFeature
from mmhgkd.sparse.layers import apply_layer, norm_act

__all__ = ['SparseBasicBlock', 'SparseBottleneck']


class _SparseBlock(nn.Module):
    """Lets a block take dense maps and sparse features alike.

    With ``with_cp`` the block is computed a second time in the backward pass
    instead of being kept, but its norms count the batch once.
    """

    def __init__(
        self, *args: Any, with_cp: bool = False, **kwargs: Any
    ) -> None:
        # The dense block would count a batch twice.
        super().__init__(*args, with_cp=False, **kwargs)
        self.recomputed = with_cp

    def forward(
        self: Any, x: Tensor | SparseFeature
    ) -> Tensor | SparseFeature:
        """Transform ``x``; dense in gives dense out, sparse gives sparse."""
        if isinstance(x, Tensor):
            return self._run(super().forward, x)
        # What draws random numbers again does it on the devices of the
        # tensors that it is given.
        return self._run(lambda y: self._sparse_forward(x._with(y)), x.values)

    def _run(self: Any, function: Callable[[Tensor], Any], x: Tensor) -> Any:
        if not (self.recomputed and torch.is_grad_enabled()):
            return function(x)

        def contexts() -> Any:
            return nullcontext(), _own_buffers_kept(self)

        # A compiler does not repeat what changes the buffers.
        compiled = torch.compiler.is_compiling()
        return checkpoint(
            function,
            x,
            use_reentrant=False,
            context_fn=noop_context_fn if compiled else contexts,
        )

    def _sparse_forward(self: Any, x: SparseFeature) -> SparseFeature:
        out = norm_act(apply_layer(x, self.conv1), self.norm1, self.relu)
        conv, norm = self.conv2, self.norm2
        if isinstance(self, Bottleneck):
            out = norm_act(apply_layer(out, conv), norm, self.relu)
            conv, norm = self.conv3, self.norm3
        out = apply_layer(out, conv)
        shortcut = x
        if self.downsample is not None:
            shortcut = apply_layer(x, self.downsample)
        return norm_act(out, norm, self.relu, shortcut, self.drop_path)


class SparseBasicBlock(_SparseBlock, BasicBlock):
    """``BasicBlock`` that takes dense maps and sparse features alike."""


class SparseBottleneck(_SparseBlock, Bottleneck):
    """``Bottleneck`` that takes dense maps and sparse features alike."""


@contextmanager
def _own_buffers_kept(block: nn.Module) -> Iterator[None]:
    """Give all layers copies of their buffers for a while."""
    kept = [(layer, dict(layer._buffers)) for layer in block.modules()]
    for layer, buffers in kept:
        for name, buffer in buffers.items():
            layer._buffers[name] = None if buffer is None else buffer.clone()
    try:
        yield
    finally:
        for layer, buffers in kept:
            layer._buffers.update(buffers)
