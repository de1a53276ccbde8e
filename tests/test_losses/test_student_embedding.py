import pytest
import torch
import torch.nn.functional as F

from mmhgkd.losses import StudentEmbedding
from mmhgkd.masks import RandomUnitMask
from mmhgkd.sparse import MaskedFeature


def test_decoder_embedding_is_the_normalized_mean_token() -> None:
    tokens = torch.randn(2, 9, 8)
    embedding = StudentEmbedding(in_channels=8, out_channels=8)(tokens, ())
    assert torch.allclose(embedding, F.normalize(tokens.mean(1), dim=-1))


def test_encoder_embedding_reads_visible_positions_only() -> None:
    mask = RandomUnitMask()(2, 96, 96)
    x = torch.randn(2, 5, 6, 6)
    visible = mask.visible(16)
    feature = MaskedFeature(x * visible, mask, 16)
    module = StudentEmbedding('encoder', 'linear', 5, 8)
    expected = torch.stack(
        [
            x[image].flatten(1)[:, visible[image].flatten()].mean(1)
            for image in range(2)
        ]
    )
    assert torch.allclose(
        module(torch.randn(2, 4, 8), (feature,)),
        F.normalize(module.projector(expected), dim=-1),
        atol=1e-6,
    )


def test_source_of_another_width_is_named() -> None:
    tokens, module = (
        torch.randn(2, 9, 8),
        StudentEmbedding('decoder', 'mlp', 5),
    )
    with pytest.raises(ValueError, match=r"'decoder' has 8 .*in_channels=8`"):
        module(tokens, ())


def test_half_precision_is_promoted() -> None:
    tokens = torch.randn(2, 9, 8, dtype=torch.bfloat16)
    embedding = StudentEmbedding(in_channels=8, out_channels=8)(tokens, ())
    assert embedding.norm(dim=-1).tolist() == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(source='neck'), 'source'),
        (dict(projector='conv'), 'projector'),
        (dict(in_channels=512), "projector='linear'"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StudentEmbedding(**options)
