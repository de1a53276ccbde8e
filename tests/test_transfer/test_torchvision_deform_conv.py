"""Deformable convolution against explicit bilinear sampling."""

import itertools
import math

import pytest
import torch
from mmcv.ops import (
    DeformConv2d,
    ModulatedDeformConv2d,
    deform_conv2d,
    modulated_deform_conv2d,
)
from torch import Tensor
from torch.autograd import gradcheck

CASES = [
    dict(),
    dict(stride=2, padding=1),
    dict(dilation=2, padding=(2, 1)),
    dict(groups=2, padding=1),
    dict(deform_groups=2, padding=1),
    dict(groups=2, deform_groups=4, stride=(1, 2), padding=1),
]


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def sample(channels: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear with zeros around, of ``(C, H, W)``; differentiable."""
    top, left = math.floor(y.item()), math.floor(x.item())
    value = channels.new_zeros(len(channels))
    for row, column in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= row < channels.size(1) and 0 <= column < channels.size(2):
            weight = (1 - (y - row).abs()) * (1 - (x - column).abs())
            value = value + weight * channels[:, row, column]
    return value


def naive_deform_conv(
    inputs: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    options: dict,
) -> Tensor:
    stride = pair(options.get('stride', 1))
    padding = pair(options.get('padding', 0))
    dilation = pair(options.get('dilation', 1))
    height, width = offset.shape[2:]
    output = []
    for b, i, j in itertools.product(
        range(len(inputs)), range(height), range(width)
    ):
        taps = []
        for u, v in itertools.product(range(3), range(3)):
            column = []
            for group, channels in enumerate(
                inputs[b].chunk(options.get('deform_groups', 1))
            ):
                tap = group * 9 + u * 3 + v
                y = (
                    i * stride[0]
                    - padding[0]
                    + u * dilation[0]
                    + offset[b, 2 * tap, i, j]
                )
                x = (
                    j * stride[1]
                    - padding[1]
                    + v * dilation[1]
                    + offset[b, 2 * tap + 1, i, j]
                )
                value = sample(channels, y, x)
                column.append(
                    value if mask is None else value * mask[b, tap, i, j]
                )
            taps.append(torch.cat(column))
        seen = torch.stack(taps, 1)
        groups = options.get('groups', 1)
        output.append(
            torch.cat(
                [
                    (kernel.flatten(2) * part).sum((1, 2))
                    for kernel, part in zip(
                        weight.chunk(groups), seen.chunk(groups), strict=True
                    )
                ]
            )
        )
    result = torch.stack(output, 1).view(-1, len(inputs), height, width)
    result = result.transpose(0, 1)
    return result if bias is None else result + bias[:, None, None]


def tensors(options: dict) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(
            *shape, generator=generator, dtype=torch.float64
        ).requires_grad_()

    stride = pair(options.get('stride', 1))
    padding = pair(options.get('padding', 0))
    dilation = pair(options.get('dilation', 1))
    size = [
        (extent + 2 * pad - 2 * step - 1) // jump + 1
        for extent, pad, step, jump in zip(
            (5, 4), padding, dilation, stride, strict=True
        )
    ]
    taps = 9 * options.get('deform_groups', 1)
    return dict(
        inputs=normal(2, 4, 5, 4),
        offset=normal(2, 2 * taps, *size),
        mask=normal(2, taps, *size),
        weight=normal(4, 4 // options.get('groups', 1), 3, 3),
        bias=normal(4),
    )


def assert_same(
    output: Tensor, expected: Tensor, inputs: list[Tensor]
) -> None:
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-10)
    weight = torch.randn_like(expected)
    theirs = torch.autograd.grad((expected * weight).sum(), inputs)
    ours = torch.autograd.grad((output * weight).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
        assert b.abs().sum() > 0


@pytest.mark.parametrize('options', CASES)
def test_deform_conv(options: dict) -> None:
    t = tensors(options)
    layer = DeformConv2d(4, 4, 3, **options).double()
    layer.weight.data.copy_(t['weight'])
    expected = naive_deform_conv(
        t['inputs'], t['offset'], None, layer.weight, None, options
    )
    assert_same(
        layer(t['inputs'], t['offset']),
        expected,
        [t['inputs'], t['offset'], layer.weight],
    )


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('options', CASES)
def test_modulated_deform_conv(options: dict, bias: bool) -> None:
    t = tensors(options)
    layer = ModulatedDeformConv2d(4, 4, 3, bias=bias, **options).double()
    layer.weight.data.copy_(t['weight'])
    parameters = [layer.weight]
    if bias:
        layer.bias.data.copy_(t['bias'])
        parameters.append(layer.bias)
    expected = naive_deform_conv(
        t['inputs'], t['offset'], t['mask'], layer.weight, layer.bias, options
    )
    assert_same(
        layer(t['inputs'], t['offset'], t['mask']),
        expected,
        [t['inputs'], t['offset'], t['mask'], *parameters],
    )


def test_gradcheck() -> None:
    t = tensors(dict(padding=1))
    inputs, offset = t['inputs'][:1, :, :2, :2], t['offset'][:1, :, :2, :2]
    inputs = inputs.detach().clone().requires_grad_()
    offset = offset.detach().clone().requires_grad_()
    mask = t['mask'][:1, :, :2, :2].detach().clone().requires_grad_()
    assert gradcheck(
        lambda *a: deform_conv2d(*a, 1, 1), (inputs, offset, t['weight'])
    )
    assert gradcheck(
        lambda *a: modulated_deform_conv2d(*a, 1, 1),
        (inputs, offset, mask, t['weight'], t['bias']),
    )


@pytest.mark.parametrize('frozen', ['inputs', 'weight'])
def test_frozen_parts_get_no_gradient(frozen: str) -> None:
    t = tensors(dict())
    t[frozen].requires_grad_(False)
    t['offset'].requires_grad_(False)
    trained = t['weight' if frozen == 'inputs' else 'inputs']
    expected = naive_deform_conv(
        t['inputs'], t['offset'], None, t['weight'], None, {}
    )
    output = deform_conv2d(t['inputs'], t['offset'], t['weight'])
    assert_same(output, expected, [trained])


@pytest.mark.parametrize(
    'dtype', [torch.float32, torch.float16, torch.bfloat16]
)
def test_precisions(dtype: torch.dtype) -> None:
    """fp32 products, so the error is that of the rounded result."""
    t = {k: v.detach().to(dtype) for k, v in tensors({}).items()}
    double = {k: v.double() for k, v in t.items()}
    expected = naive_deform_conv(
        double['inputs'],
        double['offset'],
        double['mask'],
        double['weight'],
        double['bias'],
        {},
    )
    output = modulated_deform_conv2d(
        t['inputs'], t['offset'], t['mask'], t['weight'], t['bias']
    )
    assert output.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(
        output.double(), expected, rtol=eps, atol=1e2 * eps**2 + 1e-5
    )


def test_larger_offsets_are_read_as_mmcv_reads_them() -> None:
    """As DyHead's: the first values of each image, at the output's size."""
    t = tensors(dict(padding=1, stride=2))
    fitting = [t['offset'].detach(), t['mask'].detach()]
    larger = []
    for values in fitting:
        whole = torch.randn(*values.shape[:2], 7, 5, dtype=torch.float64)
        whole.flatten(1)[:, : values[0].numel()] = values.flatten(1)
        larger.append(whole.requires_grad_())
    fitting = [values.requires_grad_() for values in fitting]
    given = (t['inputs'], *larger, t['weight'], t['bias'], 2, 1)
    expected = modulated_deform_conv2d(
        t['inputs'], *fitting, t['weight'], t['bias'], 2, 1
    )
    output = modulated_deform_conv2d(*given)
    assert torch.equal(output, expected)
    weight = torch.randn_like(output)
    theirs = torch.autograd.grad((expected * weight).sum(), fitting)
    ours = torch.autograd.grad((output * weight).sum(), larger)
    for a, b in zip(ours, theirs, strict=True):
        count = b[0].numel()
        assert torch.equal(a.flatten(1)[:, :count], b.flatten(1))
        assert not a.flatten(1)[:, count:].any()


def test_too_small_offsets_are_refused() -> None:
    t = tensors(dict(padding=1))
    small = [t[key][..., :2] for key in ('offset', 'mask')]
    with pytest.raises(RuntimeError, match='offset'):
        modulated_deform_conv2d(
            t['inputs'], *small, t['weight'], t['bias'], 1, 1
        )


def test_gradient_at_the_padded_border() -> None:
    """A fresh layer samples at -1, where the value falls off to one side."""
    inputs = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    offset = torch.zeros(1, 18, 3, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(1, 9, 3, 3, dtype=torch.float64)
    weight = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    out = modulated_deform_conv2d(inputs, offset, mask, weight, None, 1, 1)
    # Of the first tap at the first position: toward the picture.
    found = torch.autograd.grad(out[0, 0, 0, 1], offset)[0]
    assert found[0, 2, 0, 1] == 1
