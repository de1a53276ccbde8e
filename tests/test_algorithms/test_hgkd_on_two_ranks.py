"""Without unused parameters DDP needs a gradient of every one."""

from typing import Any

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from ranks import run_ranks

from mmhgkd.registry import MODELS

SIMILARITY = dict(
    similarity_loss=dict(type='mmhgkd.SimilarityDistributionLoss'),
    embedding=dict(
        type='mmhgkd.StudentEmbedding',
        source='encoder',
        projector='linear',
        in_channels=64,
        out_channels=768,
    ),
    queue=dict(type='mmhgkd.EmbeddingQueue', size=16, embed_dims=768),
)
DIRECT = dict(
    direct_loss=dict(
        type='mmhgkd.DirectImitationLoss', in_channels=64, out_channels=768
    )
)


def train(rank: int, losses: dict[str, Any]) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmhgkd.HGKD',
            teacher=dict(type='mmhgkd.PixelTeacher'),
            backbone=dict(
                type='mmhgkd.SparseResNet',
                depth=18,
                stem_channels=8,
                base_channels=8,
            ),
            # The decoder is there in the config, and no loss reads it.
            neck=dict(type='mmhgkd.UNetNeck', in_channels=(8, 16, 32, 64)),
            head=dict(type='mmhgkd.DistillationHead', **losses),
        )
    )
    wrapped = MMDistributedDataParallel(
        model, find_unused_parameters=False, broadcast_buffers=False
    )
    optimizer = build_optim_wrapper(
        model, dict(optimizer=dict(type='SGD', lr=0.1))
    )
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for step in range(3):
        torch.manual_seed(10 * step + rank)
        images = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
        data = dict(inputs=images, data_samples=[None] * 2)
        wrapped.train_step(data, optimizer)
    after = [parameter.detach() for parameter in model.parameters()]
    assert all(
        not torch.equal(old, new)
        for old, new in zip(before, after, strict=True)
    )
    return after


@pytest.mark.parametrize(
    'losses', [SIMILARITY, DIRECT, {**DIRECT, **SIMILARITY}]
)
def test_losses_of_the_encoder(losses: dict[str, Any]) -> None:
    first, second = run_ranks(train, losses)
    for left, right in zip(first, second, strict=True):
        assert torch.equal(left, right)
