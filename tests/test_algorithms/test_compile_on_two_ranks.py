"""DDP splits what is compiled, which some releases of PyTorch refuse."""

from typing import Any

import torch
from mmengine.model import MMDistributedDataParallel
from ranks import run_ranks

from mmhgkd.registry import MODELS


def gradients(rank: int, compile: bool | dict[str, Any]) -> list[torch.Tensor]:
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
                num_stages=1,
                strides=(1,),
                dilations=(1,),
                out_indices=(0,),
            ),
            head=dict(
                type='mmhgkd.DistillationHead',
                direct_loss=dict(
                    type='mmhgkd.DirectImitationLoss',
                    in_channels=8,
                    out_channels=768,
                    strides=4,
                ),
            ),
            compile=compile,
        )
    ).double()
    wrapped = MMDistributedDataParallel(model, broadcast_buffers=False)
    generator = torch.Generator().manual_seed(rank)
    images = torch.randn(2, 3, 64, 64, generator=generator).double()
    losses = wrapped(images, [None] * 2, mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    return [x.grad for x in model.parameters() if x.grad is not None]


def test_ddp_takes_compiled_parts() -> None:
    # The backend 'eager' of PyTorch 2.11 drops what `autograd.Function` does.
    compiled = run_ranks(gradients, dict(backend='aot_eager'))
    plain = run_ranks(gradients, False)
    assert len(compiled[0]) == len(plain[0])
    for x, y, z in zip(*compiled, plain[0], strict=True):
        assert torch.equal(x, y)
        torch.testing.assert_close(x, z, rtol=0, atol=1e-10)
