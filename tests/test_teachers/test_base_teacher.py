import re
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ranks import run_ranks
from scipy import linalg
from timm.layers import StdConv2d
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as TF

from mmhgkd.masks import RandomUnitMask, UnitMask
from mmhgkd.teachers import BaseTeacher
from mmhgkd.teachers.precision import round_weights
from mmhgkd.teachers.target_norm import normalize_target

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class ConvTeacher(BaseTeacher):
    """One linear layer, with a dropout that must never be active."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(6, 4, **{'mean': MEAN, 'std': STD, **kwargs})
        self.layer = nn.Conv2d(3, 6, 4, 4)
        self.dropout = nn.Dropout(0.9)
        self.freeze()

    def extract_tokens(
        self, images: Tensor, visible: Tensor | None
    ) -> list[Tensor]:
        tokens = self.dropout(self.layer(images)).flatten(2).transpose(1, 2)
        if visible is None:
            return [tokens]
        return [self.select_tokens(tokens, visible, 0)]


def convolve(teacher: ConvTeacher, images: Tensor) -> Tensor:
    return teacher.layer(images).flatten(2).transpose(1, 2)


def test_is_frozen_and_stays_in_evaluation_mode() -> None:
    teacher = ConvTeacher()
    assert teacher.train() is teacher
    assert not any(module.training for module in teacher.modules())
    student = nn.ModuleDict({'teacher': teacher})
    student.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    images = torch.randn(1, 3, 8, 8, requires_grad=True)
    assert not teacher(images).requires_grad
    assert not [key for key in teacher.state_dict() if 'input_' in key]


def test_renormalizes_to_the_statistics_of_its_own_training() -> None:
    teacher = ConvTeacher(target_norm='none').double()
    raw = 255 * torch.rand(2, 3, 8, 12, dtype=torch.float64)

    def normalize(mean: tuple, std: tuple) -> Tensor:
        return TF.normalize(raw, mean, std)

    expected = convolve(teacher, normalize(MEAN, STD))
    torch.testing.assert_close(teacher(normalize(MEAN, STD)), expected)
    mean, std = (127.5, 90.0, 3.0), (58.0, 127.5, 20.0)
    teacher.set_image_norm(mean, torch.tensor(std).view(3, 1, 1))
    torch.testing.assert_close(
        teacher(normalize(mean, std)), expected, rtol=1e-6, atol=1e-5
    )
    teacher.set_image_norm(torch.tensor(MEAN), STD)
    images = normalize(MEAN, STD)
    assert teacher.prepare(images) is images


def test_normalizes_the_tokens() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 8, 12)
    for target_norm, expected in {
        'none': lambda x: x,
        'layer_norm': lambda x: F.layer_norm(x, (6,), eps=1e-6),
        'l2': lambda x: x / x.square().sum(-1, keepdim=True).sqrt(),
        'batch_norm': lambda x: F.batch_norm(
            x.flatten(0, 1), None, None, training=True, eps=1e-6
        ).view_as(x),
        'phi_s': lambda x: (
            (x - x.mean((0, 1)))
            / (x.var((0, 1), unbiased=False).mean() + 1e-6).sqrt()
        ),
    }.items():
        teacher = ConvTeacher(target_norm=target_norm)
        torch.testing.assert_close(
            teacher(images), expected(convolve(teacher, images))
        )


@pytest.mark.parametrize('combine', ['concat', 'mean'])
def test_normalizes_each_layer_on_its_own(combine: str) -> None:
    class TwoLayers(ConvTeacher):
        def extract_tokens(
            self, images: Tensor, visible: Tensor | None
        ) -> list[Tensor]:
            first = super().extract_tokens(images, visible)[0]
            return [first, 100 * first.square()]

    teacher = TwoLayers(num_layers=2, combine=combine)
    images = torch.randn(2, 3, 8, 12)
    tokens = convolve(teacher, images)
    parts = [
        F.layer_norm(x, (6,), eps=1e-6) for x in (tokens, 100 * tokens**2)
    ]
    if combine == 'concat':
        expected = torch.cat(parts, -1)
    else:
        expected = (parts[0] + parts[1]) / 2
    assert teacher.embed_dims == expected.size(-1)
    torch.testing.assert_close(teacher(images), expected)


@pytest.mark.parametrize(
    ('batch', 'group_size', 'groups'),
    [(4, 2, 2), (4, 4, 1), (4, 3, 1), (2, 16, 1), (6, 4, 1), (6, 2, 3)],
)
def test_groups_of_images_are_whitened(
    batch: int, group_size: int, groups: int
) -> None:
    torch.manual_seed(0)
    tokens = 5 + torch.randn(batch, 6, 8, dtype=torch.float64) @ torch.randn(
        8, 8, dtype=torch.float64
    )
    expected = []
    for group in np.split(tokens.numpy(), groups):
        rows = group.reshape(-1, 8)
        rows = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-6)
        correlation = rows.T @ rows / len(rows)
        mean = np.trace(correlation) / 8
        root = linalg.sqrtm(0.9 * correlation + 0.1 * mean * np.eye(8)).real
        expected.append(np.linalg.solve(root, rows.T).T.reshape(group.shape))
    actual = normalize_target(tokens, 'whiten', group_size)
    np.testing.assert_allclose(actual, np.concatenate(expected), atol=1e-10)


def test_whitening_of_fewer_tokens_than_channels() -> None:
    assert normalize_target(torch.randn(1, 3, 64), 'whiten').isfinite().all()
    assert normalize_target(torch.ones(1, 3, 64), 'whiten').abs().max() < 1e-3


def half(rank: int, kind: str) -> Tensor:
    return normalize_target(tokens_of_two_ranks()[2 * rank :][:2], kind)


def tokens_of_two_ranks() -> Tensor:
    torch.manual_seed(0)
    return 5 + 3 * torch.randn(4, 6, 8, dtype=torch.float64)


@pytest.mark.parametrize('kind', ['batch_norm', 'phi_s'])
def test_two_ranks_share_the_statistics(kind: str) -> None:
    tokens = torch.cat(run_ranks(half, kind))
    torch.testing.assert_close(
        tokens,
        normalize_target(tokens_of_two_ranks(), kind),
        rtol=1e-10,
        atol=1e-10,
    )


@pytest.mark.parametrize(
    ('input_size', 'size'), [(8, (8, 8)), ([8, 16], (8, 16))]
)
def test_resizes_its_input(
    input_size: int | list[int], size: tuple[int, int]
) -> None:
    images = torch.randn(2, 3, 2 * size[0], 2 * size[1])
    teacher = ConvTeacher(input_size=input_size, target_norm='none')
    assert teacher.grid(*images.shape[2:]) == (size[0] // 4, size[1] // 4)
    resized = TF.resize(
        images, list(size), TF.InterpolationMode.BICUBIC, antialias=True
    )
    torch.testing.assert_close(teacher(images), convolve(teacher, resized))


@pytest.mark.parametrize('input_size', [None, (16, 24), (8, 12)])
def test_visible_tokens_lie_in_visible_units(
    input_size: tuple[int, int] | None,
) -> None:
    mask = RandomUnitMask(unit=8, mask_ratio=0.5)(3, 16, 24)
    images = torch.randn(3, 3, 16, 24)
    teacher = ConvTeacher(input='visible', input_size=input_size)
    full = ConvTeacher(input_size=input_size)
    full.layer = teacher.layer
    tokens, expected = teacher(images, mask), full(images)
    # The patch size of the teacher in pixels of the student.
    stride = 4 if input_size is None else 4 * 16 // input_size[0]
    visible = mask.visible(stride).flatten(1)
    assert 0 < visible.sum() < visible.numel()
    torch.testing.assert_close(tokens[visible], expected[visible])
    assert not tokens[~visible].any()


def test_says_what_is_wrong_with_its_arguments() -> None:
    with pytest.raises(ValueError, match=r'combine. must be one of'):
        ConvTeacher(combine='sum')
    with pytest.raises(ValueError, match='group_size'):
        ConvTeacher(group_size=0)
    for kwargs, message in (
        (dict(input='masked'), "`teacher.input` must be 'full' or 'visible'"),
        (dict(target_norm='bn'), '`teacher.target_norm` must be one of'),
        (dict(input_size=10), 'multiple of the patch size of 4 px'),
        (dict(input_size=[8, 8, 8]), 'got [8, 8, 8]'),
        (dict(input_size=0), 'got (0, 0)'),
        (dict(std=(0.229, 0.224, 0.225)), 'in 0..255 (not 0..1)'),
        (dict(mean=(120.0,)), 'image `mean` must be three numbers'),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            ConvTeacher(**kwargs)
    with pytest.raises(ValueError, match='image `std` must be three'):
        ConvTeacher().set_image_norm(MEAN, (58.0, 57.0, float('nan')))


def test_says_which_images_do_not_fit() -> None:
    with pytest.raises(ValueError, match='10x8 px is no whole number of the'):
        ConvTeacher()(torch.zeros(1, 3, 10, 8))
    with pytest.raises(ValueError, match='resizing 16x8 px to'):
        ConvTeacher(input_size=8)(torch.zeros(1, 3, 16, 8))
    teacher = ConvTeacher()
    teacher.fixed_grid = (2, 3)
    assert teacher.grid(8, 12) == (2, 3)
    with pytest.raises(
        ValueError, match=r'8x12 px only, and 8x8 px have another shape'
    ):
        teacher(torch.zeros(1, 3, 8, 8))
    with pytest.raises(
        ValueError, match=r'8x12 px only, got 16x24; set .*input'
    ):
        teacher(torch.zeros(1, 3, 16, 24))


def test_says_which_masks_do_not_fit() -> None:
    teacher = ConvTeacher(input='visible')
    images = torch.zeros(1, 3, 12, 12)
    ids = torch.tensor([[0]])
    with pytest.raises(ValueError, match="needs the student's mask"):
        teacher(images)
    with pytest.raises(ValueError, match='2x2 units of 8 px does not belong'):
        teacher(images, UnitMask(ids, 2, 2, 8))
    for unit in (6, 2):
        mask = UnitMask(ids, 12 // unit, 12 // unit, unit)
        with pytest.raises(ValueError, match='3x3 patches of the teacher are'):
            teacher(images, mask)


def test_bfloat16_is_of_the_network_alone() -> None:
    torch.manual_seed(0)
    reference = ConvTeacher(target_norm='whiten')
    images = torch.randn(8, 3, 32, 32)
    exact = convolve(reference.double(), images.double())
    teacher = ConvTeacher(target_norm='whiten', precision='bfloat16')
    teacher.load_state_dict(reference.float().state_dict())
    seen = []
    teacher.layer.register_forward_hook(lambda *x: seen.append(x[-1].dtype))
    actual = teacher(images)
    assert seen == [torch.bfloat16] and actual.dtype == torch.float32
    expected = normalize_target(exact, 'whiten', 16)
    error = (actual - expected).norm() / expected.norm()
    # Below half a unit in the last place, 2**-9, and not exact.
    assert 1e-5 < error < 2**-7
    rounded = normalize_target(exact.bfloat16().float(), 'whiten', 16)
    assert torch.allclose(actual, rounded, atol=0.05)


def test_automatic_precision_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: dict[str, bool] = {}
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: found)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for name, expected in (
        ('avx2', torch.float32),
        ('avx512_bf16', torch.bfloat16),
    ):
        found[name] = True
        teacher = ConvTeacher(precision='auto')
        seen = []
        teacher.layer.register_forward_hook(
            lambda *x, seen=seen: seen.append(x[-1].dtype)
        )
        teacher(torch.randn(1, 3, 8, 8))
        assert seen == [expected]


def test_weights_of_products_are_kept_in_bfloat16() -> None:
    """To which autocast would round them."""
    torch.manual_seed(0)
    reference = ConvTeacher(target_norm='none')
    teacher = ConvTeacher(target_norm='none', precision='bfloat16')
    teacher.load_state_dict(reference.state_dict())
    dtypes = [x.layer.weight.dtype for x in (reference, teacher)]
    assert dtypes == [torch.float32, torch.bfloat16]
    images = torch.randn(8, 3, 32, 32)
    with torch.autocast('cpu', torch.bfloat16):
        expected = reference(images)
    assert torch.equal(teacher(images), expected)
    # Standardized weights are rounded after that.
    network = nn.Sequential(StdConv2d(3, 4, 3), nn.Conv2d(4, 4, 1))
    round_weights(network)
    dtypes = [layer.weight.dtype for layer in network]
    assert dtypes == [torch.float32, torch.bfloat16]
    (raw,) = teacher.raw_tokens(images)
    assert raw.dtype == torch.float32 and torch.equal(raw, expected)


def test_full_precision_is_what_is_set_outside() -> None:
    teacher = ConvTeacher()
    seen = []
    teacher.layer.register_forward_hook(lambda *x: seen.append(x[-1].dtype))
    teacher(torch.randn(1, 3, 8, 8))
    with torch.autocast('cpu', torch.bfloat16):
        teacher(torch.randn(1, 3, 8, 8))
    assert seen == [torch.float32, torch.bfloat16]
    with pytest.raises(ValueError, match=r'teacher\.precision'):
        ConvTeacher(precision='half')
