import numpy as np
import pytest
import torch

from mmhgkd.evaluation import global_embedding
from mmhgkd.utils import ConfigError


def test_map_is_averaged_over_positions() -> None:
    feats = torch.randn(3, 5, 2, 4)
    expected = np.zeros((3, 5))
    for y in range(2):
        for x in range(4):
            expected += feats[:, :, y, x].double().numpy() / 8
    np.testing.assert_allclose(global_embedding(feats), expected, atol=1e-6)


@pytest.mark.parametrize('num_extra_tokens', [0, 1, 2])
def test_extra_tokens_are_left_out(num_extra_tokens: int) -> None:
    patches = torch.randn(2, 6, 4)
    extra = torch.full((2, num_extra_tokens, 4), 1e6)
    tokens = torch.cat([extra, patches], dim=1)
    expected = torch.stack([sum(image) / 6 for image in patches])
    torch.testing.assert_close(
        global_embedding((tokens,), num_extra_tokens), expected
    )


def test_last_stage_counts_and_vectors_stay() -> None:
    stages = [torch.randn(2, 4, 8, 8), torch.randn(2, 7)]
    assert torch.equal(global_embedding(stages), stages[1])


def test_half_precision_is_averaged_in_float32() -> None:
    feats = torch.full((1, 1, 64, 64), 60000.0, dtype=torch.float16)
    embedding = global_embedding(feats)
    assert embedding.dtype == torch.float32
    assert embedding.item() == feats[0, 0, 0, 0].item()


def test_tokens_without_a_count_are_refused() -> None:
    with pytest.raises(ConfigError, match='num_extra_tokens'):
        global_embedding(torch.randn(2, 5, 4))


@pytest.mark.parametrize(
    'feats',
    [
        torch.randn(3),
        (),
        [torch.randn(2, 4), 'logits'],
        torch.randn(1, 2, 3, 4, 5),
    ],
)
def test_other_outputs_are_refused(feats: object) -> None:
    with pytest.raises(TypeError, match='extract_feat'):
        global_embedding(feats)  # type: ignore[arg-type]
