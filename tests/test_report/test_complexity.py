from typing import Any

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from torch import Tensor, nn

from mmhgkd.masks import RandomUnitMask, UnitMask
from mmhgkd.registry import MODELS
from mmhgkd.report import backbone_complexity, model_complexity

RESNET = dict(
    type='mmhgkd.SparseResNet',
    depth=18,
    stem_channels=8,
    base_channels=8,
    backend='masked',
)
EFFICIENT = dict(
    type='mmhgkd.SparseMobileNetV3', arch='small_050', backend='masked'
)


def naive_count(backbone: nn.Module, mask: UnitMask) -> int:
    """Multiply-adds of all convolutions, one visible output at a time."""
    total = 0

    def count(module: nn.Conv2d, inputs: Any, output: Tensor) -> None:
        nonlocal total
        weights = module.weight[0].numel() * module.out_channels
        height, width = output.shape[2:]
        side = mask.rows * mask.unit // height
        for y in range(height):
            for x in range(width):
                unit = y * side // mask.unit * mask.columns + (
                    x * side // mask.unit
                )
                # What is computed from the mean of an image has no place.
                if height == width == 1 or unit in mask.ids[0].tolist():
                    total += weights

    handles = [
        module.register_forward_hook(count)
        for module in backbone.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        backbone(
            torch.zeros(1, 3, mask.rows * mask.unit, mask.columns * mask.unit),
            mask,
        )
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize('ratio', [0.0, 0.4, 0.7])
def test_sparse_count_of_the_convolutions(ratio: float) -> None:
    backbone = MODELS.build(RESNET)
    backbone.eval()
    # So that only convolutions are counted.
    for name, module in list(backbone.named_modules()):
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            parent = backbone.get_submodule(name.rpartition('.')[0])
            setattr(parent, name.rpartition('.')[2], nn.Identity())
    mask = RandomUnitMask(mask_ratio=ratio)(1, 64, 96)
    complexity = backbone_complexity(backbone, mask)
    assert complexity.sparse == naive_count(backbone, mask)
    if ratio == 0:
        assert complexity.sparse == complexity.dense


def test_dense_count_is_that_of_mmengine() -> None:
    backbone = MODELS.build(RESNET)
    backbone.eval()
    complexity = backbone_complexity(backbone, RandomUnitMask()(1, 64, 64))
    info = get_model_complexity_info(
        backbone, (3, 64, 64), show_table=False, show_arch=False
    )
    assert complexity.dense == info['flops']
    assert complexity.params == info['params']


def test_squeeze_excite_costs_the_same_with_a_mask() -> None:
    backbone = MODELS.build(EFFICIENT)
    backbone.eval()
    mask = RandomUnitMask(mask_ratio=0.5)(1, 64, 64)
    complexity = backbone_complexity(backbone, mask)
    gates = sum(
        module.weight.numel()
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Conv2d) and '.se.' in name
    )
    assert gates > 0
    assert complexity.sparse == gates + (complexity.dense - gates) // 2


def test_parts_add_up() -> None:
    model = MODELS.build(
        dict(
            type='mmhgkd.HGKD',
            teacher=dict(
                type='mmhgkd.MIMTeacher',
                backbone=dict(
                    type='mmpretrain.MAEViT',
                    arch=dict(
                        embed_dims=24,
                        num_layers=1,
                        num_heads=2,
                        feedforward_channels=24,
                    ),
                    img_size=64,
                    patch_size=16,
                ),
                allow_random=True,
            ),
            backbone=RESNET,
            neck=dict(
                type='mmhgkd.UNetNeck',
                in_channels=(8, 16, 32, 64),
                width=16,
                out_channels=24,
            ),
            head=dict(
                type='mmhgkd.DistillationHead',
                feature_loss=dict(type='mmhgkd.FeatureImitationLoss'),
            ),
        )
    )
    *parts, total = model_complexity(model, 64, 64)
    assert [part.part for part in parts] == ['student', 'decoder', 'teacher']
    modules = (model.backbone, model.neck, model.teacher)
    for part, module in zip(parts, modules, strict=True):
        assert part.params == sum(x.numel() for x in module.parameters())
        assert (part.sparse < part.dense) == (part.part == 'student')
    # What takes the sparse features must not be missed by the trace.
    densify = sum(
        layer.projection.weight.numel() * side**2
        for layer, side in zip(model.neck.densify, (2, 4, 8, 16), strict=True)
    )
    assert parts[1].dense > densify
    for column in (1, 2, 3):
        assert total[column] == sum(part[column] for part in parts)


@pytest.mark.parametrize(('stride', 'stages'), [(32, (-1,)), (16, (-2,))])
def test_direct_loss_instead_of_a_decoder(
    stride: int, stages: tuple[int, ...]
) -> None:
    channels = {32: 64, 16: 32}[stride]
    model = MODELS.build(
        dict(
            type='mmhgkd.HGKD',
            teacher=dict(type='mmhgkd.PixelTeacher'),
            backbone=RESNET,
            head=dict(
                type='mmhgkd.DistillationHead',
                direct_loss=dict(
                    type='mmhgkd.DirectImitationLoss',
                    in_channels=(64, channels),
                    strides=(32, stride),
                    stages=(-1, *stages),
                    out_channels=768,
                ),
            ),
        )
    )
    *_, direct, total = model_complexity(model, 64, 64)
    # Each of the 4 units has 4 tokens; round(4 * 0.4) = 2 units are seen.
    unit = 4 * 768 * (64 + (64 if stride == 32 else 32))
    assert (direct.dense, direct.sparse) == (4 * unit, 2 * unit)
    assert direct.params == sum(x.numel() for x in model.head.parameters())
    assert total.params > direct.params


def test_teacher_that_sees_what_the_student_sees() -> None:
    arch = dict(
        embed_dims=96, num_layers=2, num_heads=2, feedforward_channels=192
    )
    model = MODELS.build(
        dict(
            type='mmhgkd.HGKD',
            teacher=dict(
                type='mmhgkd.MIMTeacher',
                backbone=dict(
                    type='mmpretrain.MAEViT',
                    arch=arch,
                    img_size=64,
                    patch_size=16,
                ),
                input='visible',
                allow_random=True,
            ),
            mask=dict(type='mmhgkd.RandomUnitMask', mask_ratio=0.5),
            backbone=RESNET,
            head=dict(
                type='mmhgkd.DistillationHead',
                direct_loss=dict(
                    type='mmhgkd.DirectImitationLoss',
                    in_channels=64,
                    out_channels=96,
                ),
            ),
        )
    )
    _, teacher, *_ = model_complexity(model, 64, 64)
    # Per token and block: keys, queries, values, their projection, the MLP.
    linear = 2 * (96 * 288 + 96 * 96 + 2 * 96 * 192)
    saved = teacher.dense - teacher.sparse
    assert 8 * linear <= saved <= 1.2 * 8 * linear
