import pytest
import torch
import torch.nn.functional as F
from ranks import run_ranks

from mmhgkd.losses import DistillationHead, SimilarityDistributionLoss
from mmhgkd.losses.distillation_head import teacher_embedding

SIMILARITY = dict(
    similarity_loss=dict(type='mmhgkd.SimilarityDistributionLoss'),
    embedding=dict(
        type='mmhgkd.StudentEmbedding', in_channels=4, out_channels=4
    ),
    queue=dict(type='mmhgkd.EmbeddingQueue', size=8, embed_dims=4),
)
FEATURE = dict(feature_loss=dict(type='mmhgkd.FeatureImitationLoss'))


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(3, 6, 4), torch.randn(3, 6, 4), torch.rand(3, 6) < 0.5


def test_queue_holds_the_teacher_of_earlier_steps() -> None:
    head = DistillationHead(**FEATURE, **SIMILARITY)
    first, second = batch(0), batch(1)
    losses = head.loss(first[0], (), first[1], first[2])
    assert losses['loss_sim'].item() == 0
    assert losses['loss_feat'].item() == pytest.approx(
        F.mse_loss(first[0], first[1]).item()
    )
    losses = head.loss(second[0], (), second[1], second[2])
    student = F.normalize(second[0].mean(1), dim=-1)
    teacher = F.normalize(second[1].mean(1), dim=-1)
    bank = F.normalize(first[1].mean(1), dim=-1)
    expected, logs = SimilarityDistributionLoss()(student, teacher, bank)
    assert losses['loss_sim'].item() == pytest.approx(expected.item())
    assert losses['pearson'].item() == pytest.approx(logs['pearson'].item())
    assert losses['embedding_cosine'].item() == pytest.approx(
        (student * teacher).sum(-1).mean().item()
    )
    assert len(head.queue()) == 6


def test_losses_can_be_left_out() -> None:
    tokens, target, visible = batch(0)
    assert set(
        DistillationHead(**FEATURE).loss(tokens, (), target, visible)
    ) == {'loss_feat'}
    losses = DistillationHead(**SIMILARITY).loss(tokens, (), target, visible)
    assert 'loss_sim' in losses and 'loss_feat' not in losses


def test_first_step_reaches_every_parameter() -> None:
    config = dict(
        SIMILARITY,
        embedding=dict(
            type='mmhgkd.StudentEmbedding',
            projector='mlp',
            in_channels=4,
            out_channels=4,
        ),
    )
    head = DistillationHead(**config)
    tokens, target, visible = batch(0)
    head.loss(tokens, (), target, visible)['loss_sim'].backward()
    assert all(p.grad is not None for p in head.parameters())


def test_teacher_embedding_of_visible_tokens() -> None:
    # A teacher that saw only some tokens leaves the others at zero.
    _, target, visible = batch(0)
    visible[:, 0] = True
    actual = teacher_embedding(target * visible[..., None])
    for image in range(3):
        expected = F.normalize(target[image][visible[image]].mean(0), dim=0)
        assert torch.allclose(actual[image], expected, atol=1e-6)


def test_tokens_against_a_queue_of_tokens() -> None:
    config = dict(
        SIMILARITY,
        embedding=dict(
            type='mmhgkd.StudentEmbedding',
            source='tokens',
            in_channels=4,
            out_channels=4,
        ),
    )
    head = DistillationHead(**config)
    first, second = batch(0), batch(1)
    head.loss(first[0], (), first[1], first[2])
    losses = head.loss(second[0], (), second[1], second[2])
    # Of 6 tokens the three images bring number 0, 2 and 4.
    bank = torch.stack(
        [
            first[1][image, token] / first[1][image, token].norm()
            for image, token in ((0, 0), (1, 2), (2, 4))
        ]
    )
    student, teacher = (
        torch.stack([token / token.norm() for image in x for token in image])
        for x in second[:2]
    )
    expected, _ = SimilarityDistributionLoss()(student, teacher, bank)
    assert losses['loss_sim'].item() == pytest.approx(expected.item())
    assert len(head.queue()) == 6


@pytest.mark.parametrize('center', ['mean', 'whiten'])
def test_centered_loss_after_a_resume(center: str) -> None:
    config = dict(
        SIMILARITY,
        similarity_loss=dict(
            type='mmhgkd.SimilarityDistributionLoss', center=center
        ),
    )
    head, resumed = DistillationHead(**config), DistillationHead(**config)
    for seed in range(3):
        tokens, target, visible = batch(seed)
        head.loss(tokens, (), target, visible)
    resumed.load_state_dict(head.state_dict())
    tokens, target, visible = batch(9)
    values = [
        module.loss(tokens, (), target, visible)['loss_sim'].item()
        for module in (head, resumed)
    ]
    assert values[0] == values[1] > 0


def run_rank(rank: int) -> torch.Tensor:
    return centered_losses(slice(2 * rank, 2 * rank + 2))


def centered_losses(images: slice) -> torch.Tensor:
    """Losses of three steps, with a share of the images of a batch."""
    losses = []
    for center in ('mean', 'whiten'):
        similarity = dict(
            type='mmhgkd.SimilarityDistributionLoss', center=center
        )
        head = DistillationHead(**dict(SIMILARITY, similarity_loss=similarity))
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            tokens, target = torch.randn(2, 4, 6, 4, generator=generator)
            losses.append(
                head.loss(
                    tokens[images], (), target[images], torch.ones(4, 6)
                )['loss_sim']
            )
    return torch.stack(losses).detach()


def test_centered_loss_of_two_ranks_is_that_of_one() -> None:
    ranks = run_ranks(run_rank)
    one = centered_losses(slice(0, 4))
    assert (one[1:3] > 0).all()
    assert torch.allclose((ranks[0] + ranks[1]) / 2, one, atol=1e-6)


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(), 'feature_loss'),
        (dict(similarity_loss=SIMILARITY['similarity_loss']), 'head.queue'),
    ],
)
def test_incomplete_config(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistillationHead(**config)
