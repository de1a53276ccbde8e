from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import torch
from mmengine.analysis import FlopAnalyzer
from torch import Tensor, nn

from mmhgkd.algorithms import HGKD
from mmhgkd.losses import DirectImitationLoss
from mmhgkd.masks import UnitMask
from mmhgkd.necks import GridProjection
from mmhgkd.sparse import MaskedFeature


class Complexity(NamedTuple):
    """Size and cost of a part of a model for one image."""

    part: str
    params: int
    dense: int  #: multiply-adds on the whole image, as MMEngine counts them
    sparse: int  #: multiply-adds with a mask


@torch.no_grad()
def model_complexity(model: HGKD, height: int, width: int) -> list[Complexity]:
    """Count parameters and multiply-adds of the parts of a distillation.

    Args:
        model (HGKD): The model; left in evaluation mode.
        height (int): Height of an image in pixels.
        width (int): Width of an image in pixels.

    Returns:
        list[Complexity]: Student, decoder and projections of ``L_direct`` as
        far as there are any, teacher, and their sum, for one view of the
        image. The decoder is a dense network, so a mask changes nothing
        there, nor in a teacher that sees all.
    """
    model.eval()
    mask = model.mask.draw(1, height, width, 0)
    image = torch.zeros(1, model.image_channels, height, width)
    parts = [backbone_complexity(model.backbone, mask, model.image_channels)]
    if model.neck is not None:
        decoder = _DenseDecoder(model.neck, mask)
        cost = int(_count(decoder, tuple(model.backbone(image)))[''])
        params = _num_params(decoder)
        parts.append(Complexity('decoder', params, cost, cost))
    all_units = mask._replace(ids=torch.arange(mask.num_units)[None])
    costs = [
        int(_count(_MaskedTeacher(model.teacher, shown), (image,))[''])
        for shown in (all_units, mask)
    ]
    parts.append(Complexity('teacher', _num_params(model.teacher), *costs))
    if model.head.direct_loss is not None:
        parts.append(_direct_complexity(model.head.direct_loss, mask))
    columns = list(zip(*parts, strict=True))[1:]
    return [*parts, Complexity('all', *map(sum, columns))]


def _direct_complexity(
    loss: DirectImitationLoss, mask: UnitMask
) -> Complexity:
    """Count the projections of ``L_direct``."""
    total = [0, 0]
    for projection in cast(Iterable[GridProjection], loss.projections):
        stride = max(projection.stride, projection.out_stride)
        for index, units in enumerate((mask.num_units, mask.num_visible)):
            rows = torch.zeros(
                units * mask.block(stride) ** 2,
                projection.width,
            )
            total[index] += int(_count(projection.layers, (rows,))[''])
    return Complexity('direct loss', _num_params(loss), *total)


@torch.no_grad()
def backbone_complexity(
    backbone: nn.Module, mask: UnitMask, channels: int = 3
) -> Complexity:
    """Count a sparse backbone in evaluation mode, dense and with a mask.

    A sparse layer computes the outputs at visible positions, with all taps
    of its window. Every image keeps the same number of whole units, so at
    each stride the share of visible positions is that of visible units. What
    is computed from the mean of an image, as the gates of squeeze-excite,
    costs the same with a mask.

    Args:
        backbone (nn.Module): The student's.
        mask (UnitMask): The mask of one image.
        channels (int): Channels of an image. Defaults to 3.
    """
    pooled: set[str] = set()
    handles = [
        module.register_forward_hook(_note_pooled(name, pooled))
        for name, module in backbone.named_modules()
        if not list(module.children())
    ]
    size = mask.rows * mask.unit, mask.columns * mask.unit
    image = torch.zeros(1, channels, *size)
    try:
        backbone(image)
    finally:
        for handle in handles:
            handle.remove()
    flops = _count(backbone, (image,))
    dense = flops['']
    same = sum(flops[name] for name in pooled)
    # Division last, for a whole number wherever there is one.
    sparse = same + (dense - same) * mask.num_visible // mask.num_units
    return Complexity(
        'student', _num_params(backbone), int(dense), int(sparse)
    )


def _count(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, int]:
    """Multiply-adds of a module and of all parts, by name."""
    analyzer = FlopAnalyzer(module, inputs)
    analyzer.unsupported_ops_warnings(False)
    analyzer.uncalled_modules_warnings(False)
    analyzer.tracer_warnings('none')
    return analyzer.by_module()


def _num_params(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _note_pooled(name: str, pooled: set[str]) -> Any:
    """Hook that notes a layer whose input is one value a channel."""

    def hook(
        module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> None:
        shape = inputs[0].shape
        if len(shape) == 2 or shape[2:] == (1, 1):
            pooled.add(name)

    return hook


class _DenseDecoder(nn.Module):
    """Decoder that takes dense maps, which can be traced."""

    def __init__(self, neck: nn.Module, mask: UnitMask) -> None:
        super().__init__()
        self.neck = neck
        self.mask = mask

    def forward(self, *maps: Tensor) -> Tensor:
        height = self.mask.rows * self.mask.unit
        return self.neck(
            [
                MaskedFeature(values, self.mask, height // values.size(2))
                for values in maps
            ]
        )


class _MaskedTeacher(nn.Module):
    """Teacher of images with a given mask, which can be traced."""

    def __init__(self, teacher: nn.Module, mask: UnitMask) -> None:
        super().__init__()
        self.teacher = teacher
        self.mask = mask

    def forward(self, images: Tensor) -> Tensor:
        return self.teacher(images, self.mask)
