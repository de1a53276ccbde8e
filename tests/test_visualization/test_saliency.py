import numpy as np
import pytest
import torch
from torch import nn

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError
from mmhgkd.visualization import unit_saliency
from mmhgkd.visualization.saliency import central_tokens, token_gradient


@pytest.fixture(scope='module')
def model() -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmhgkd.HGKD',
            data_preprocessor=dict(
                type='mmpretrain.SelfSupDataPreprocessor',
                mean=[123.675, 116.28, 103.53],
                std=[58.395, 57.12, 57.375],
            ),
            teacher=dict(type='mmhgkd.PixelTeacher'),
            mask=dict(type='mmhgkd.RandomUnitMask', mask_ratio=0.5),
            backbone=dict(
                type='mmhgkd.SparseResNet',
                depth=18,
                stem_channels=8,
                base_channels=8,
            ),
            neck=dict(
                type='mmhgkd.UNetNeck',
                in_channels=(8, 16, 32, 64),
                width=16,
                out_channels=768,
            ),
            head=dict(
                type='mmhgkd.DistillationHead',
                feature_loss=dict(type='mmhgkd.FeatureImitationLoss'),
            ),
        )
    )
    model.double().eval()
    return model


@pytest.fixture(scope='module')
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 64, 96, generator=generator).double()


def value(
    model: nn.Module,
    images: torch.Tensor,
    tokens: torch.Tensor,
    source: str,
    target: torch.Tensor,
) -> list[float]:
    """What is differentiated, of each image on its own."""
    mask = model.mask.draw(len(images), *images.shape[2:], 5)
    with torch.no_grad():
        student = model.neck(model.backbone(images, mask))
    values = []
    for index, (row, column) in enumerate(tokens.tolist()):
        token = student[index, :, row, column].numpy()
        if source == 'output':
            values.append(np.sqrt((token**2).sum()))
        else:
            teacher = target[index, row * student.size(3) + column].numpy()
            values.append(((token - teacher) ** 2).sum() / len(token))
    return values


@pytest.mark.parametrize('source', ['output', 'error'])
def test_gradient_is_the_slope(
    model: nn.Module, images: torch.Tensor, source: str
) -> None:
    tokens = torch.tensor([[0, 3], [2, 4]])
    gradient = token_gradient(model, images, 5, tokens, source)
    # Held fixed: the pixels are the target here, too.
    target = model.teacher(images)
    seen = model.mask.draw(2, 64, 96, 5).visible(1)[:, 0]
    rng = np.random.default_rng(0)
    step = 1e-5
    for _ in range(12):
        index = rng.integers(2)
        place = rng.choice(np.argwhere(seen[index].numpy()))
        at = (index, rng.integers(3), *place)
        low, high = images.clone(), images.clone()
        low[at] -= step
        high[at] += step
        slope = (
            (
                value(model, high, tokens, source, target)[index]
                - value(model, low, tokens, source, target)[index]
            )
            / 2
            / step
        )
        assert gradient[at].item() == pytest.approx(slope, rel=1e-3, abs=1e-7)


def test_units_sum_the_gradient(
    model: nn.Module, images: torch.Tensor
) -> None:
    saliency = unit_saliency(model, images, draw=5)
    mask = model.mask.draw(2, 64, 96, 5)
    gradient = token_gradient(model, images, 5, saliency.tokens, 'output')
    for index in range(2):
        row, column = saliency.tokens[index].tolist()
        assert not mask.visible(16)[index, 0, row, column]
        visible = mask.ids[index].tolist()
        for unit in range(mask.num_units):
            row, column = divmod(unit, mask.columns)
            block = gradient[
                index,
                :,
                32 * row : 32 * row + 32,
                32 * column : 32 * column + 32,
            ].numpy()
            actual = saliency.units[index, row, column].item()
            assert actual == pytest.approx(sum(abs(block.flatten())))
            # The student sees nothing of a masked unit.
            assert (actual > 0) == (unit in visible)


def test_images_do_not_mix(model: nn.Module, images: torch.Tensor) -> None:
    both = unit_saliency(model, images, draw=5)
    changed = images.clone()
    changed[1] = 0
    alone = unit_saliency(model, changed, draw=5)
    torch.testing.assert_close(alone.units[0], both.units[0])


@pytest.mark.parametrize('shape', [(4, 6), (5, 5), (1, 7)])
def test_token_is_the_hidden_one_nearest_to_the_center(
    shape: tuple[int, int],
) -> None:
    generator = torch.Generator().manual_seed(2)
    hidden = torch.rand(20, *shape, generator=generator) < 0.4
    hidden[0] = False
    for grid, token in zip(hidden, central_tokens(hidden), strict=True):
        places = [
            place
            for place in np.ndindex(*shape)
            if grid[place] or not grid.any()
        ]
        distances = [
            sum(
                (2 * x - side + 1) ** 2
                for x, side in zip(place, shape, strict=True)
            )
            for place in places
        ]
        assert tuple(token.tolist()) == places[int(np.argmin(distances))]


def test_wrong_use_is_refused(model: nn.Module, images: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match='output or error'):
        unit_saliency(model, images, source='attention')
    model.train()
    try:
        with pytest.raises(ValueError, match=r'model\.eval'):
            unit_saliency(model, images)
    finally:
        model.eval()
