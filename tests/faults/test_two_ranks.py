"""Two ranks with half the batch compute what one rank does with all of it."""

from typing import Any

import torch
from ranks import run_ranks
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from mmhgkd.registry import MODELS

CONFIG = dict(
    type='mmhgkd.HGKD',
    teacher=dict(
        type='mmhgkd.MIMTeacher',
        backbone=dict(
            type='mmpretrain.MAEViT',
            arch=dict(
                embed_dims=24,
                num_layers=1,
                num_heads=2,
                feedforward_channels=48,
            ),
            img_size=64,
            patch_size=16,
        ),
        allow_random=True,
    ),
    backbone=dict(
        type='mmhgkd.SparseResNet', depth=18, stem_channels=8, base_channels=8
    ),
    neck=dict(
        type='mmhgkd.UNetNeck',
        in_channels=(8, 16, 32, 64),
        width=16,
        out_channels=24,
    ),
    head=dict(
        type='mmhgkd.DistillationHead',
        feature_loss=dict(type='mmhgkd.FeatureImitationLoss'),
        similarity_loss=dict(type='mmhgkd.SimilarityDistributionLoss'),
        embedding=dict(
            type='mmhgkd.StudentEmbedding', in_channels=24, out_channels=24
        ),
        queue=dict(type='mmhgkd.EmbeddingQueue', size=6, embed_dims=24),
    ),
)
STEPS = 3


def trained(rank: int = 0, world_size: int = 1) -> dict[str, Any]:
    """Losses, gradients, queue and running statistics of a few steps."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = MODELS.build(CONFIG)
    model.init_weights()
    model.double().train()
    wrapped: Any = model
    if world_size > 1:
        # An unused parameter would make it raise in the second step.
        wrapped = DistributedDataParallel(model, broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    losses, gradients = [], {}
    for _ in range(STEPS):
        images = torch.randn(
            4, 3, 64, 64, generator=generator, dtype=torch.float64
        )
        part = images.chunk(world_size)[rank]
        optimizer.zero_grad()
        parts = wrapped(part, [], mode='loss')
        loss = parts['loss_feat'] + parts['loss_sim']
        loss.backward()
        gradients = {
            name: parameter.grad.clone()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }
        optimizer.step()
        losses.append(
            torch.stack([parts['loss_feat'], parts['loss_sim']]).detach()
        )
    buffers = {
        name: value.clone()
        for name, value in model.named_buffers()
        if value.is_floating_point()
    }
    return dict(
        losses=torch.stack(losses),
        gradients=gradients,
        buffers=buffers,
        trained={
            name
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        },
    )


def assert_close(
    actual: dict[str, Tensor],
    expected: dict[str, Tensor],
) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            actual[name],
            value,
            rtol=1e-8,
            atol=1e-10,
            msg=lambda m, n=name: f'{n}: {m}',
        )


def test_two_ranks_equal_one() -> None:
    first, second = run_ranks(trained, 2)
    whole = trained()
    mean = (first['losses'] + second['losses']) / 2
    torch.testing.assert_close(mean, whole['losses'], rtol=1e-9, atol=1e-11)
    assert not torch.equal(first['losses'], second['losses'])
    assert whole['gradients'].keys() == whole['trained']
    for rank in (first, second):
        assert_close(rank['gradients'], whole['gradients'])
        # the queue, in the order of the whole batch, and the statistics
        assert_close(rank['buffers'], whole['buffers'])
