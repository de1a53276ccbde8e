from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmhgkd.masks import UnitMask
from mmhgkd.necks import UNetNeck
from mmhgkd.sparse import MaskedFeature
from mmhgkd.transfer.segmentation import UNetHead

CHANNELS = (4, 6, 8, 10)


def pretrained() -> UNetNeck:
    torch.manual_seed(0)
    neck = UNetNeck(CHANNELS, out_channels=12, width=16, depth=2)
    for value in neck.state_dict().values():
        value.copy_(torch.rand(value.shape) + 0.1)
    return neck.double()


def head(path: Path) -> UNetHead:
    """A head that starts from the neck of a distillation's checkpoint."""
    state = {f'neck.{k}': v for k, v in pretrained().state_dict().items()}
    torch.save(dict(state_dict=state), path)
    decoder = dict(
        width=16,
        depth=2,
        init_cfg=dict(type='Pretrained', checkpoint=str(path), prefix='neck.'),
    )
    network = UNetHead(CHANNELS, decoder, num_classes=3, dropout_ratio=0)
    network.double().init_weights()
    return network


def maps(height: int, width: int) -> list[Tensor]:
    torch.manual_seed(1)
    return [
        torch.randn(
            2,
            channels,
            -(-height // stride),
            -(-width // stride),
            dtype=torch.float64,
        )
        for channels, stride in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


def dense_decoder(neck: UNetNeck, features: list[Tensor]) -> Tensor:
    """The decoder on dense maps, without anything sparse."""
    skips = []
    for densify, x in zip(neck.densify, reversed(features), strict=True):
        norm = densify.norm
        x = F.batch_norm(
            x,
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
            norm.training,
            norm.momentum,
            norm.eps,
        )
        skips.append(densify.projection(x))
    x = skips[0]
    for block, skip in zip(neck.blocks, skips[1:], strict=True):
        x = block(x) + skip
    return x


@pytest.mark.parametrize('training', [True, False])
def test_feature_is_that_of_the_pretraining(
    tmp_path: Path, training: bool
) -> None:
    features = maps(64, 96)
    network = head(tmp_path / 'a.pth').train(training)
    decoded = network.decode(features)
    assert decoded.shape == (2, 2, 16, 24)
    reference = dense_decoder(pretrained().train(training), features)
    assert torch.allclose(decoded, reference, atol=1e-10)

    # What the neck itself makes of an image without a mask.
    neck = pretrained().train(training)
    ids = torch.arange(2 * 3).expand(2, -1)
    mask = UnitMask(ids, 2, 3, 32)
    tokens = neck(
        [
            MaskedFeature(x, mask, stride)
            for x, stride in zip(features, (4, 8, 16, 32), strict=True)
        ]
    )
    assert torch.allclose(neck.to_tokens(decoded), tokens, atol=1e-10)


def test_images_of_other_sizes(tmp_path: Path) -> None:
    """The maps are padded to units with zeros, and the result is cut."""
    features = maps(60, 70)
    network = head(tmp_path / 'a.pth').eval()
    decoded = network.decode(features)
    assert decoded.shape == (2, 2, 15, 18)
    padded = [
        F.pad(x, (0, 96 // stride - x.size(3), 0, 64 // stride - x.size(2)))
        for x, stride in zip(features, (4, 8, 16, 32), strict=True)
    ]
    expected = dense_decoder(pretrained().eval(), padded)[..., :15, :18]
    assert torch.allclose(decoded, expected, atol=1e-10)


def test_logits_are_a_linear_map_of_the_feature(tmp_path: Path) -> None:
    network = head(tmp_path / 'a.pth').eval()
    features = maps(64, 64)
    expected = torch.einsum(
        'kc,bchw->bkhw',
        network.conv_seg.weight[..., 0, 0],
        network.decode(features),
    )
    expected += network.conv_seg.bias[:, None, None]
    assert torch.allclose(network(features), expected, atol=1e-10)


def test_every_parameter_learns(tmp_path: Path) -> None:
    network = head(tmp_path / 'a.pth').train()
    network(maps(64, 64)).square().sum().backward()
    unused = {
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None
    }
    # Nothing is masked.
    assert unused <= {f'decoder.densify.{i}.mask_token' for i in range(4)}
    assert isinstance(network.decoder.to_tokens, nn.Identity)
