"""Residual blocks of mmpretrain's ResNet that also take sparse features."""

from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmhgkd.sparse import SparseFeature

__all__ = ['SparseBasicBlock', 'SparseBottleneck']


class SparseBasicBlock(BasicBlock):
    """``BasicBlock`` that takes dense maps and sparse features alike."""

    def forward(self, x: Tensor | SparseFeature) -> Tensor | SparseFeature:
        """Transform ``x``; dense in gives dense out, sparse gives sparse."""
        if isinstance(x, Tensor):
            return super().forward(x)
        return _residual(
            self, x, [(self.conv1, self.norm1), (self.conv2, self.norm2)]
        )


class SparseBottleneck(Bottleneck):
    """``Bottleneck`` that takes dense maps and sparse features alike."""

    def forward(self, x: Tensor | SparseFeature) -> Tensor | SparseFeature:
        """Transform ``x``; dense in gives dense out, sparse gives sparse."""
        if isinstance(x, Tensor):
            return super().forward(x)
        return _residual(
            self,
            x,
            [
                (self.conv1, self.norm1),
                (self.conv2, self.norm2),
                (self.conv3, self.norm3),
            ],
        )


def _residual(
    block: BasicBlock | Bottleneck,
    x: SparseFeature,
    layers: list[tuple[nn.Module, nn.Module]],
) -> SparseFeature:

    def transform(x: SparseFeature) -> SparseFeature:
        out = x
        for conv, norm in layers[:-1]:
            out = out.apply(conv).norm_act(norm, block.relu)
        conv, norm = layers[-1]
        out = out.apply(conv)
        shortcut = x if block.downsample is None else x.apply(block.downsample)
        if isinstance(block.drop_path, nn.Identity):
            return out.norm_act(norm, block.relu, shortcut)
        out = out.apply(norm).apply(block.drop_path)
        return out.add(shortcut).apply(block.relu)

    if block.with_cp and block.training:
        return checkpoint(transform, x, use_reentrant=False)
    return transform(x)
