import pytest
import torch
import torch.nn.functional as F

from mmhgkd.losses import DistillationHead, SimilarityDistributionLoss
from mmhgkd.losses.distillation_head import teacher_embedding

SIMILARITY = dict(
    similarity_loss=dict(type='mmhgkd.SimilarityDistributionLoss'),
    embedding=dict(
        type='mmhgkd.StudentEmbedding', in_channels=4, out_channels=4),
    queue=dict(type='mmhgkd.EmbeddingQueue', size=8, embed_dims=4))
FEATURE = dict(feature_loss=dict(type='mmhgkd.FeatureImitationLoss'))


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(3, 6, 4), torch.randn(3, 6, 4), torch.rand(3, 6) < .5


def test_queue_holds_the_teacher_of_earlier_steps() -> None:
    head = DistillationHead(**FEATURE, **SIMILARITY)
    first, second = batch(0), batch(1)
    losses = head.loss(first[0], (), first[1], first[2])
    assert losses['loss_sim'].item() == 0
    assert losses['loss_feat'].item() == pytest.approx(
        F.mse_loss(first[0], first[1]).item())
    losses = head.loss(second[0], (), second[1], second[2])
    student = F.normalize(second[0].mean(1), dim=-1)
    teacher = F.normalize(second[1].mean(1), dim=-1)
    bank = F.normalize(first[1].mean(1), dim=-1)
    expected, logs = SimilarityDistributionLoss()(student, teacher, bank)
    assert losses['loss_sim'].item() == pytest.approx(expected.item())
    assert losses['pearson'].item() == pytest.approx(logs['pearson'].item())
    assert losses['embedding_cosine'].item() == pytest.approx(
        (student * teacher).sum(-1).mean().item())
    assert len(head.queue()) == 6


def test_losses_can_be_left_out() -> None:
    tokens, target, visible = batch(0)
    assert set(DistillationHead(**FEATURE).loss(tokens, (), target,
                                                visible)) == {'loss_feat'}
    losses = DistillationHead(**SIMILARITY).loss(tokens, (), target, visible)
    assert 'loss_sim' in losses and 'loss_feat' not in losses


def test_first_step_reaches_every_parameter() -> None:
    config = dict(
        SIMILARITY,
        embedding=dict(
            type='mmhgkd.StudentEmbedding',
            projector='mlp',
            in_channels=4,
            out_channels=4))
    head = DistillationHead(**config)
    tokens, target, visible = batch(0)
    head.loss(tokens, (), target, visible)['loss_sim'].backward()
    assert all(p.grad is not None for p in head.parameters())


def test_teacher_embedding_of_visible_tokens() -> None:
    _, target, visible = batch(0)
    visible[:, 0] = True
    for image in range(3):
        expected = F.normalize(target[image][visible[image]].mean(0), dim=0)
        assert torch.allclose(
            teacher_embedding(target, visible)[image], expected, atol=1e-6)


@pytest.mark.parametrize(('config', 'message'), [
    (dict(), 'feature_loss'),
    (dict(similarity_loss=SIMILARITY['similarity_loss']), 'head.queue'),
])
def test_incomplete_config(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistillationHead(**config)
