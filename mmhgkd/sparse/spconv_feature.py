import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from mmhgkd.masks import UnitMask
from mmhgkd.utils import ConfigError

from .packed_feature import PackedFeature, autocast_operands
from .rows import gather
from .sparse_feature import NoSparseForm
from .window import Window, window_and_weight


class SpconvFeature(PackedFeature):
    """Packed features whose windows are computed by spconv.

    A second opinion on the packed student, and a neighbor to compare its
    speed with: only convolutions larger than 1x1 and max-pooling differ.
    spconv gives a strided layer an output wherever its window meets a visible
    position; those at masked positions are dropped.

    It needs the package and CUDA: on the CPU spconv has no gradients.
    spconv has no bfloat16, so what is bfloat16 is computed in float32 and
    rounded; float16 is computed as such. Where several positions of a window
    share the maximum, each of them receives the gradient of max-pooling.

    Args:
        values (Tensor): ``(N, C)`` in packed row order (image, unit, y, x).
        geometry (Geometry): Tables of the mask, shared by all features of a
            forward pass.
        stride (int): Pixels between two positions. Defaults to 1.
    """

    @classmethod
    @override
    def check_network(cls, network: nn.Module) -> None:
        refused = []
        for name, module in network.named_modules():
            why = _refusal(module)
            if why:
                refused.append(f'`{name}`: {why}')
        if refused:
            raise ConfigError(
                "`backend='spconv'` cannot compute these layers; use "
                "`backend='packed'`\n" + '\n'.join(refused)
            )
        _spconv()

    @classmethod
    @override
    def from_images(cls, images: Tensor, mask: UnitMask) -> PackedFeature:
        if not images.is_cuda:
            raise ConfigError(
                "`backend='spconv'` needs a GPU, and the images are on "
                f"`{images.device}`; use `backend='packed'`"
            )
        return super().from_images(images, mask)

    @override
    def conv(self, module: nn.Conv2d) -> PackedFeature:
        why = _refusal(module)
        if why:
            raise NoSparseForm(f"{why}; use `backend='packed'`")
        window, weight = window_and_weight(module)
        if window.is_pointwise:
            return super().conv(module)
        rows, weight = autocast_operands(self.values, weight)
        layer = _convolution(window, self.stride, *weight.shape[:2])
        # spconv has the input channels last.
        rows = self._run(layer, window, rows, weight.permute(0, 2, 3, 1))
        if module.bias is not None:
            rows = rows + module.bias.to(rows.dtype)
        return self._with(rows, window.stride)

    @override
    def max_pool(self, module: nn.MaxPool2d) -> PackedFeature:
        window = Window.of(module)
        rows = self._run(_max_pooling(window), window, self.values)
        # spconv skips masked positions, but they count as zero.
        table = self.geometry.table(self.stride, window, mark_outside=True)
        masked = table == self.geometry.num_rows(self.stride)
        rows = rows.clamp(min=0).where(masked.any(1, keepdim=True), rows)
        return self._with(rows, window.stride)

    @torch.compiler.disable
    def _run(
        self,
        layer: Any,
        window: Window,
        rows: Tensor,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Run a layer of spconv and keep the visible outputs in order."""
        dtype = torch.float32 if rows.dtype == torch.bfloat16 else rows.dtype
        if dtype not in (torch.float16, torch.float32):
            raise NoSparseForm(
                f"spconv has no {dtype}; use `backend='packed'`"
            )
        mask, stride = self.mask, self.stride
        block = mask.block(stride)
        # Neighbors of each position, which layers of one window share.
        pairs = self.geometry.cached(('spconv pairs',), dict)
        sparse = _spconv().SparseConvTensor(
            rows.to(dtype).contiguous(),
            self.geometry.cached(
                ('spconv positions', stride), lambda: _positions(mask, stride)
            ),
            [mask.rows * block, mask.columns * block],
            mask.ids.size(0),
            indice_dict=pairs,
        )
        parameters = {}
        if weight is not None:
            parameters['weight'] = weight.to(dtype).contiguous()
        # Autocast in spconv always means float16.
        with torch.autocast(rows.device.type, enabled=False):
            out = functional_call(layer, parameters, (sparse,))
        pairs.update(out.indice_dict)
        features = out.features.to(rows.dtype)
        if layer.subm:
            return features
        return gather(
            features, _rows_of(out.indices, mask, stride * window.stride)
        )


def _spconv() -> Any:
    try:
        import spconv.pytorch
    except ImportError as error:
        raise ConfigError(
            f"`backend='spconv'` needs spconv ({error}): "
            "pip install 'mmhgkd[spconv]', or use `backend='packed'`"
        ) from error
    return spconv.pytorch


def _refusal(module: nn.Module) -> str | None:
    """Why spconv cannot compute a layer, None if it can."""
    if isinstance(module, nn.Conv2d):
        if module.groups > 1:
            return f'{module} has groups, which spconv has not'
        if max(module.stride) > 1 and max(module.dilation) > 1:
            return (
                f'{module} has a stride and a dilation, of which spconv '
                'has only one at a time'
            )
    return None


@functools.cache
def _convolution(
    window: Window, stride: int, out_channels: int, in_channels: int
) -> Any:
    """Layer of spconv without a weight of its own."""
    options: dict[str, Any] = dict(dilation=window.dilation, bias=False)
    if window.stride == 1 and all(size % 2 for size in window.kernel):
        # Its outputs are where its inputs are.
        kind = _spconv().SubMConv2d
        options['indice_key'] = f'{stride} {window.kernel} {window.dilation}'
    else:
        kind = _spconv().SparseConv2d
        options.update(stride=window.stride, padding=window.padding)
    layer = kind(in_channels, out_channels, window.kernel, **options)
    return layer.to('meta')


@functools.cache
def _max_pooling(window: Window) -> Any:
    return _spconv().SparseMaxPool2d(
        window.kernel, window.stride, window.padding, window.dilation
    )


def _positions(mask: UnitMask, stride: int) -> Tensor:
    """Image, y and x of every visible position, ``(N, 3)`` int32."""
    columns = mask.columns * mask.block(stride)
    places = mask.positions(stride)
    image = torch.arange(len(places), device=places.device)[:, None]
    y = places.div(columns, rounding_mode='floor')
    parts = [image.expand_as(places), y, places.remainder(columns)]
    # spconv takes other memory layouts and computes something else.
    return torch.stack(parts, -1).flatten(0, 1).int().contiguous()


def _rows_of(found: Tensor, mask: UnitMask, stride: int) -> Tensor:
    """Where in ``found`` the visible positions are, one past it for none.

    Args:
        found (Tensor): Image, y and x of all outputs, ``(N, 3)``.
        mask (UnitMask): Which units are visible.
        stride (int): Pixels between two of the positions.

    Returns:
        Tensor: In packed order, ``(N_visible, )``.
    """
    block = mask.block(stride)
    height, width = mask.rows * block, mask.columns * block
    size = len(found)
    rows = found.new_full((mask.ids.size(0), height * width), size)
    image, y, x = found.long().unbind(1)
    rows[image, y * width + x] = torch.arange(
        size, dtype=rows.dtype, device=rows.device
    )
    return rows.gather(1, mask.positions(stride)).flatten()
