"""SparK's masked dense network, made of any dense network by hooks."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from mmpretrain.models.utils import GRN
from timm.layers import SEModule
from timm.layers.grn import GlobalResponseNorm
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhgkd.masks import UnitMask


class MaskedReference:
    """Hides masked positions from every layer that mixes or counts them."""

    def __init__(self, network: nn.Module, mask: UnitMask) -> None:
        self.network = network
        self.units = mask.visible(mask.unit).double()
        for module in list(network.modules()):
            if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
                module.register_forward_pre_hook(
                    lambda _, args: (self.hide(args[0]),)
                )
            for types, forward in self.forwards().items():
                if isinstance(module, types):
                    module.forward = partial(forward, module)

    def __call__(self, images: Tensor) -> list[Tensor]:
        return [self.hide(x) for x in self.network(images)]

    def forwards(self) -> dict[tuple[type, ...], Callable[..., Tensor]]:
        return {
            (_BatchNorm,): self.norm,
            (GRN, GlobalResponseNorm): self.response_norm,
            (nn.AdaptiveAvgPool2d,): lambda _, x: self.mean(x),
            (SEModule,): self.squeeze_excite,
            (SqueezeExcite,): self.squeeze_excite_block,
        }

    def seen(self, x: Tensor) -> Tensor:
        return F.interpolate(self.units, x.shape[2:], mode='nearest')

    def hide(self, x: Tensor) -> Tensor:
        return x if x.shape[2:] == (1, 1) else x * self.seen(x)

    def mean(self, x: Tensor) -> Tensor:
        total = self.hide(x).sum((2, 3), keepdim=True)
        return total / self.seen(x).sum((2, 3), keepdim=True)

    def norm(self, norm: nn.Module, x: Tensor) -> Tensor:
        mean, var = norm.running_mean, norm.running_var
        if norm.training:
            rows = x.permute(0, 2, 3, 1)[self.seen(x)[:, 0].bool()]
            mean, var = rows.mean(0), rows.var(0, unbiased=False)
        shape = (1, -1, 1, 1)
        y = (x - mean.view(shape)) / (var.view(shape) + norm.eps).sqrt()
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
        return norm.act(y) if hasattr(norm, 'act') else y

    def response_norm(
        self, grn: nn.Module, x: Tensor, data_format: str = 'channel_first'
    ) -> Tensor:
        last = data_format == 'channel_last' or getattr(
            grn, 'spatial_dim', ()
        ) == (1, 2)
        y = x.permute(0, 3, 1, 2) if last else x
        gamma, beta = (
            (grn.gamma, grn.beta)
            if isinstance(grn, GRN)
            else (grn.weight, grn.bias)
        )
        images = []
        for image, seen in zip(y, self.seen(y)[:, 0].bool(), strict=True):
            energy = image[:, seen].square().sum(1).sqrt()
            scale = gamma * energy / (energy.mean() + grn.eps) + 1
            images.append(image * scale[:, None, None] + beta[:, None, None])
        y = torch.stack(images)
        return y.permute(0, 2, 3, 1) if last else y

    def squeeze_excite(self, se: nn.Module, x: Tensor) -> Tensor:
        return x * se.gate(se.fc2(se.act(se.bn(se.fc1(self.mean(x))))))

    def squeeze_excite_block(self, se: nn.Module, x: Tensor) -> Tensor:
        squeezed = se.act1(se.conv_reduce(self.mean(x)))
        return x * se.gate(se.conv_expand(squeezed))


def randomize(network: nn.Module) -> nn.Module:
    """Give every vector of parameters a value that matters."""
    for parameter in network.parameters():
        if parameter.dim() == 1:
            with torch.no_grad():
                parameter.add_(torch.randn_like(parameter) * 0.2)
    for name, buffer in network.named_buffers():
        if 'running' in name:
            buffer.add_(torch.rand_like(buffer))
    return network.double()


def assert_equal(actual: list[Tensor], expected: list[Tensor]) -> None:
    for x, y in zip(actual, expected, strict=True):
        assert x.shape == y.shape
        assert (x - y).abs().max() <= 1e-10 * max(1, y.abs().max())


def assert_parity(
    student: nn.Module, reference: nn.Module, images: Tensor, mask: UnitMask
) -> None:
    """Outputs and gradients of both backends equal the reference's."""
    expected = MaskedReference(reference, mask)(images)
    weights = [torch.randn_like(x) for x in expected]

    def gradients(network: nn.Module, outs: list[Tensor]) -> list[Tensor]:
        total = sum((x * w).sum() for x, w in zip(outs, weights, strict=True))
        return torch.autograd.grad(total, list(network.parameters()))

    truth = gradients(reference, expected)
    for backend in ('masked', 'packed'):
        student.backend = backend
        features = student(images, mask)
        assert tuple(x.stride for x in features) == student.feature_strides
        dense = [x.dense() for x in features]
        assert tuple(x.size(1) for x in dense) == student.feature_channels
        assert_equal(dense, expected)
        assert_equal(gradients(student, dense), truth)
