import pytest
import torch
from mmpretrain.models import SparKPretrainHead
from torchvision.transforms.v2 import functional as TF

from mmhgkd.registry import MODELS
from mmhgkd.teachers import PixelTeacher


def test_is_the_target_of_spark() -> None:
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    head = SparKPretrainHead(
        loss=dict(type='PixelReconstructionLoss', criterion='L2')
    )
    expected = head.construct_target(images)
    teacher = MODELS.build(
        dict(type='PixelTeacher', patch_size=32, norm_unit=32)
    ).double()
    assert teacher.embed_dims == 3 * 32**2
    assert teacher.grid(64, 96) == (2, 3)
    torch.testing.assert_close(teacher(images), expected)


def test_patches_share_the_statistics_of_their_square() -> None:
    images = torch.randn(2, 3, 32, 64, dtype=torch.float64)
    tokens = PixelTeacher(patch_size=8, norm_unit=32).double()(images)
    assert tokens.shape == (2, 4 * 8, 3 * 8**2)
    for row in range(4):
        for column in range(8):
            square = images[1, :, :, column // 4 * 32 : column // 4 * 32 + 32]
            deviation = (square.var() + 1e-6).sqrt()
            patch = images[
                1, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8
            ]
            expected = ((patch - square.mean()) / deviation).permute(1, 2, 0)
            torch.testing.assert_close(
                tokens[1, row * 8 + column], expected.flatten()
            )


def test_target_is_made_of_images_in_its_own_statistics() -> None:
    raw = 255 * torch.rand(1, 3, 32, 32, dtype=torch.float64)
    teacher = PixelTeacher(mean=(0, 0, 0), std=(1, 1, 1)).double()
    expected = teacher(raw)
    teacher.set_image_norm((10, 20, 30), (40, 50, 60))
    images = TF.normalize(raw, [10, 20, 30], [40, 50, 60])
    torch.testing.assert_close(teacher(images), expected)


@pytest.mark.parametrize('renormalized', [False, True])
def test_tokens_become_images_again(renormalized: bool) -> None:
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    images[0, :, :32, :32] = 0.5  # a square without variance
    images = images.to(memory_format=torch.channels_last)
    teacher = PixelTeacher(patch_size=16, norm_unit=32).double()
    if renormalized:
        teacher.set_image_norm((10, 20, 30), (40, 50, 60))
    tokens = teacher(images)
    torch.testing.assert_close(teacher.to_images(tokens, images), images)
    tokens[1, 6 + 2, (3 * 16 + 5) * 3 + 1] += 1
    changed = teacher.to_images(tokens, images) - images
    assert changed.abs().gt(1e-6).nonzero().tolist() == [[1, 1, 19, 37]]


def test_says_what_does_not_fit() -> None:
    for patch_size, norm_unit in ((16, 24), (0, 32)):
        with pytest.raises(
            ValueError, match=r'`teacher.norm_unit` .* must be'
        ):
            PixelTeacher(patch_size, norm_unit)
    with pytest.raises(ValueError, match='48x64 px is no whole number of'):
        PixelTeacher()(torch.zeros(1, 3, 48, 64))
