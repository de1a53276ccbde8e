"""The operators that MMDetection's detectors ask for, and their table."""

from pathlib import Path

import pytest
import torch
from mmcv.ops import CARAFE, DeformRoIPool, MaskedConv2d
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from mmdet.models.necks import DyHead
from operators_of_mmdet import FOLDER, PROVIDED, operators_of_config, table

from mmhgkd.transfer import MissingOperatorError

PAGE = Path(__file__).parents[2] / 'docs' / 'detection.md'

needs_configs = pytest.mark.skipif(
    not FOLDER.is_dir(), reason='MMDetection is installed without its configs'
)


@needs_configs
def test_the_table_is_up_to_date() -> None:
    assert table() in PAGE.read_text(encoding='utf-8')


@needs_configs
def test_what_is_found() -> None:
    """By what is known of these detectors."""

    def found(name: str) -> frozenset[str]:
        return operators_of_config(FOLDER / name)

    assert 'nms' in found('retinanet/retinanet_r50_fpn_1x_coco.py')
    rcnn = found('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')
    assert {'nms', 'roi_align_forward'} <= rcnn <= PROVIDED
    lacking = {
        'carafe/mask-rcnn_r50_fpn-carafe_1x_coco.py': 'carafe_forward',
        'dcn/faster-rcnn_r50_fpn_dpool_1x_coco.py': 'deform_roi_pool_forward',
        'guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco.py': (
            'masked_im2col_forward'
        ),
    }
    for name, operator in lacking.items():
        assert operator in found(name) - PROVIDED


def test_refusals_name_the_operator() -> None:
    x = torch.rand(1, 4, 8, 8)
    rois = torch.tensor([[0.0, 0, 0, 4, 4]])
    with pytest.raises(
        MissingOperatorError, match='`deform_roi_pool_forward`'
    ):
        DeformRoIPool(2)(x, rois)
    with pytest.raises(MissingOperatorError, match='`carafe_forward`'):
        CARAFE(3, 1, 2)(x, torch.rand(1, 9, 16, 16))
    layer = MaskedConv2d(4, 4, 3, padding=1).requires_grad_(False)
    with pytest.raises(MissingOperatorError, match='`masked_im2col_forward`'):
        layer(x, torch.ones(1, 8, 8))


def test_attention_as_on_cuda() -> None:
    """The function of MMCV that asks for the operator."""
    torch.manual_seed(0)
    shapes = torch.tensor([[4, 3], [2, 2]])
    starts = torch.tensor([0, 12])
    value = torch.rand(2, 16, 2, 3, dtype=torch.float64)
    locations = torch.rand(2, 5, 2, 2, 4, 2, dtype=torch.float64)
    weights = torch.rand(2, 5, 2, 2, 4, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (value, locations, weights)]
    found = MultiScaleDeformableAttnFunction.apply(
        value, shapes, starts, locations, weights, 64
    )
    expected = multi_scale_deformable_attn_pytorch(
        value, shapes, locations, weights
    )
    assert torch.equal(found, expected)
    factor = torch.rand_like(expected)
    ours = torch.autograd.grad((found * factor).sum(), inputs)
    theirs = torch.autograd.grad((expected * factor).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_dyhead_runs_and_trains() -> None:
    """Its offsets are larger than the outputs of the coarser level."""
    torch.manual_seed(0)
    head = DyHead(16, 16, num_blocks=2, zero_init_offset=False)
    maps = [torch.rand(2, 16, 16 >> i, 12 >> i) for i in range(3)]
    found = head(maps)
    assert [x.shape for x in found] == [x.shape for x in maps]
    sum(x.square().sum() for x in found).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())
