from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmhgkd.registry import MODELS
from mmhgkd.visualization import feature_panel, model_panel
from mmhgkd.visualization.model_panel import save_model_panel

FEATURE_LOSS = dict(type='mmhgkd.FeatureImitationLoss')
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def build(teacher: dict, channels: int, **losses: dict) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='mmhgkd.HGKD',
            data_preprocessor=dict(
                type='mmpretrain.SelfSupDataPreprocessor', mean=MEAN, std=STD
            ),
            teacher=teacher,
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
                out_channels=channels,
            ),
            head=dict(
                type='mmhgkd.DistillationHead',
                **(losses or dict(feature_loss=FEATURE_LOSS)),
            ),
        )
    )


def pixels() -> torch.Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def normalized(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, STD))
    return (images * 255 - mean) / std


def test_panel_shows_the_images_and_both_maps(tmp_path: Path) -> None:
    teacher = dict(
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
    )
    model = build(teacher, 24).train()
    inputs = normalized(pixels())
    save_model_panel(tmp_path / 'panel.png', model, inputs, draw=3)
    assert model.training
    mask = model.mask.draw(2, 64, 96, 3)
    model.eval()
    with torch.no_grad():
        student = model.neck(model.backbone(inputs, mask))
    expected = feature_panel(
        pixels(),
        mask.visible(1),
        student.permute(0, 2, 3, 1),
        model.teacher(inputs).view(2, 4, 6, 24),
    )
    actual = np.asarray(Image.open(tmp_path / 'panel.png'))
    # Rounding to bytes may differ by one.
    assert np.abs(actual.astype(int) - expected.astype(int)).max() <= 2


def test_pixel_teacher_adds_the_reconstruction(tmp_path: Path) -> None:
    model = build(dict(type='mmhgkd.PixelTeacher'), 768)
    inputs = normalized(pixels())
    save_model_panel(tmp_path / 'pixels.png', model, inputs)
    mask = model.mask.draw(2, 64, 96, 0)
    model.eval()
    with torch.no_grad():
        tokens = model.neck(model.backbone(inputs, mask)).permute(0, 2, 3, 1)
    target = model.teacher(inputs).view(2, 4, 6, 768)
    std = torch.tensor(STD).view(3, 1, 1)
    mean = torch.tensor(MEAN).view(3, 1, 1)
    restored = model.teacher.to_images(tokens.flatten(1, 2), inputs)
    restored = ((restored * std + mean) / 255).clamp(0, 1)
    restored = torch.where(mask.visible(1), pixels(), restored)
    expected = feature_panel(
        pixels(), mask.visible(1), tokens, target, restored, pixels=True
    )
    actual = np.asarray(Image.open(tmp_path / 'pixels.png'))
    assert np.abs(actual.astype(int) - expected.astype(int)).max() <= 2


def gray_tokens(panel: np.ndarray, column: int) -> np.ndarray:
    """Tokens of the first image that are gray; column 0 is the last."""
    left = panel.shape[1] - 62 - (column + 1) * (336 + 8)
    shown = panel[30:, left : left + 336][:224, :][28::56, 28::56]
    return np.isclose(shown, 255 * 0.55, atol=1).all(-1)


def test_without_a_decoder_hidden_tokens_are_gray() -> None:
    direct = dict(type='mmhgkd.DirectImitationLoss', in_channels=64)
    model = build(dict(type='mmhgkd.PixelTeacher'), 768, direct_loss=direct)
    assert model.neck is None
    panel = model_panel(model, normalized(pixels()))
    seen = model.mask.draw(2, 64, 96, 0).visible(16)[0, 0].numpy()
    for column, expected in enumerate((~seen, ~seen, seen & False)):
        np.testing.assert_array_equal(gray_tokens(panel, column), expected)
    with pytest.raises(ValueError, match='a model without a decoder'):
        model_panel(model, normalized(pixels()), saliency='output')


@pytest.mark.parametrize('region', ['masked', 'visible'])
def test_error_is_shown_where_the_loss_counts_it(region: str) -> None:
    model = build(dict(type='mmhgkd.PixelTeacher'), 768)
    inputs = normalized(pixels())
    everywhere = model_panel(model, inputs)
    model.head.feature_loss.region = region
    panel = model_panel(model, inputs)
    hidden = gray_tokens(panel, 0)
    seen = model.mask.draw(2, 64, 96, 0).visible(16)[0, 0].numpy()
    np.testing.assert_array_equal(
        hidden, seen if region == 'masked' else ~seen
    )
    assert panel.shape == everywhere.shape


def test_saliency_is_one_more_column() -> None:
    model = build(dict(type='mmhgkd.PixelTeacher'), 768).train()
    inputs = normalized(pixels())
    plain = model_panel(model, inputs)
    panel = model_panel(model, inputs, saliency='output')
    assert panel.shape[1] == plain.shape[1] + 336 + 8
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
