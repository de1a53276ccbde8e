import pytest
import torch
from torch import Tensor

from mmhgkd.masks import RandomUnitMask
from mmhgkd.necks import GridProjection
from mmhgkd.sparse.rows import dense_to_rows

MASK = RandomUnitMask()(2, 64, 96)


def naive(module: GridProjection, x: Tensor) -> Tensor:
    """Loop over the output positions of a dense map ``(B, C, H, W)``."""
    merged, split = module.merged, module.split
    batch, _, height, width = x.shape
    out = x.new_zeros(
        batch,
        module.layers[-1].out_features // split**2,
        height * split // merged,
        width * split // merged,
    )
    for image in range(batch):
        for row in range(height // merged):
            for column in range(width // merged):
                top, left = row * merged, column * merged
                patch = x[image, :, top : top + merged, left : left + merged]
                value = module.layers(patch.permute(1, 2, 0).flatten())
                parts = value.view(split, split, -1).permute(2, 0, 1)
                out[
                    image,
                    :,
                    row * split : (row + 1) * split,
                    column * split : (column + 1) * split,
                ] = parts
    return out


@pytest.mark.parametrize('projector', ['linear', 'mlp'])
@pytest.mark.parametrize('strides', [(4, 16), (8, 16), (16, 16), (32, 16)])
def test_equals_a_loop_over_the_dense_map(
    strides: tuple[int, int], projector: str
) -> None:
    torch.manual_seed(0)
    stride, out_stride = strides
    module = GridProjection(3, 5, *strides, projector).double()
    x = torch.randn(2, 3, 64 // stride, 96 // stride, dtype=torch.float64)
    x.requires_grad_()
    actual = module(dense_to_rows(x, MASK, stride), MASK)
    expected = dense_to_rows(naive(module, x), MASK, out_stride)
    assert actual.shape == (2 * MASK.num_visible * (32 // out_stride) ** 2, 5)
    assert torch.allclose(actual, expected, atol=1e-12)
    weight = torch.randn_like(expected)
    inputs = [x, *module.parameters()]
    got = torch.autograd.grad((actual * weight).sum(), inputs)
    want = torch.autograd.grad((expected * weight).sum(), inputs)
    for left, right in zip(got, want, strict=True):
        assert torch.allclose(left, right, atol=1e-11)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(stride=32, out_stride=14), 'every 14 px'),
        (dict(stride=8, out_stride=16, projector='tree'), 'projector'),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridProjection(3, 5, **options)
