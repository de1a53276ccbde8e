import pytest
import torch

from mmhgkd.losses import DirectImitationLoss
from mmhgkd.masks import RandomUnitMask, UnitMask
from mmhgkd.sparse import MaskedFeature


def feature(mask: UnitMask, channels: int, stride: int) -> MaskedFeature:
    x = torch.randn(
        len(mask.ids),
        channels,
        mask.rows * 32 // stride,
        mask.columns * 32 // stride,
        dtype=torch.float64,
    )
    return MaskedFeature(
        (x * mask.visible(stride)).requires_grad_(), mask, stride
    )


def naive_last_stage(
    loss: DirectImitationLoss, last: MaskedFeature, target: torch.Tensor
) -> torch.Tensor:
    """Loop over units and their 2x2 tokens."""
    layer, mask = loss.projections[0].layers[-1], last.mask
    errors = []
    for image, units in enumerate(mask.ids.tolist()):
        for unit in units:
            row, column = divmod(unit, mask.columns)
            tokens = layer(last.values[image, :, row, column]).view(2, 2, -1)
            for y in range(2):
                for x in range(2):
                    place = (2 * row + y) * 2 * mask.columns + 2 * column + x
                    errors.append(
                        (tokens[y, x] - target[image, place]).square().mean()
                    )
    return torch.stack(errors).mean()


@pytest.mark.parametrize('ratio', [0.0, 0.6])
def test_equals_a_loop_over_visible_tokens(ratio: float) -> None:
    torch.manual_seed(0)
    mask = RandomUnitMask(mask_ratio=ratio)(2, 64, 96)
    loss = DirectImitationLoss(7, 5, loss_weight=2.0).double()
    last = feature(mask, 7, 32)
    target = torch.randn(2, 24, 5, dtype=torch.float64)
    actual = loss([last], target)
    expected = 2 * naive_last_stage(loss, last, target)
    assert torch.allclose(actual, expected, atol=1e-12)
    inputs = [last.values, *loss.parameters()]
    for got, want in zip(
        torch.autograd.grad(actual, inputs),
        torch.autograd.grad(expected, inputs),
        strict=True,
    ):
        assert torch.allclose(got, want, atol=1e-12)


def test_hidden_targets_do_not_count() -> None:
    torch.manual_seed(0)
    mask = RandomUnitMask()(2, 64, 96)
    loss = DirectImitationLoss(7, 5).double()
    features = [feature(mask, 7, 32)]
    target = torch.randn(2, 24, 5, dtype=torch.float64)
    hidden = ~mask.visible(16).flatten(1)
    assert torch.equal(
        loss(features, target),
        loss(features, target + 100 * hidden[..., None]),
    )


@pytest.mark.parametrize(
    'named', [dict(stages=(-2, -1), strides=(16, 32)), {}]
)
def test_stages_are_averaged(named: dict) -> None:
    """Whether they are named, or follow from their number."""
    torch.manual_seed(0)
    mask = RandomUnitMask()(2, 64, 96)
    features = [feature(mask, 3, 16), feature(mask, 7, 32)]
    target = torch.randn(2, 24, 5, dtype=torch.float64)
    both = DirectImitationLoss((3, 7), 5, **named).double()
    single = []
    for index, (channels, stride) in enumerate([(3, 16), (7, 32)]):
        alone = DirectImitationLoss(
            channels, 5, stages=(index - 2,), strides=stride
        ).double()
        alone.projections[0].load_state_dict(
            both.projections[index].state_dict()
        )
        single.append(alone(features, target))
    assert torch.allclose(both(features, target), sum(single) / 2, atol=1e-14)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(stages=(3,)), 'counts from the last'),
        (dict(stages=(-1,)), 'the same stages'),
        (dict(stages=(), in_channels=(), strides=()), 'at least one'),
        (dict(distance='kl'), 'distance'),
        (dict(projector='tree'), 'projector'),
        (dict(out_stride=14), 'every 14 px'),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DirectImitationLoss(**options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(in_channels=8), 'has 7 channels and a stride of 32'),
        (dict(in_channels=7, strides=16), 'and `strides` to 32'),
        (dict(in_channels=7, stages=(-2,)), 'gives 1 features'),
    ],
)
def test_features_of_another_backbone(options: dict, message: str) -> None:
    mask = RandomUnitMask()(1, 64, 64)
    loss = DirectImitationLoss(out_channels=5, **options).double()
    target = torch.randn(1, 16, 5, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        loss([feature(mask, 7, 32)], target)
