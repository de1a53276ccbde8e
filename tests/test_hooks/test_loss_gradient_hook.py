import copy
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from mmhgkd.hooks import LossGradientHook
from mmhgkd.registry import MODELS

SIMILARITY = dict(
    similarity_loss=dict(
        type='mmhgkd.SimilarityDistributionLoss', loss_weight=3.0
    ),
    embedding=dict(
        type='mmhgkd.StudentEmbedding', in_channels=768, out_channels=768
    ),
    queue=dict(type='mmhgkd.EmbeddingQueue', size=16, embed_dims=768),
)


def build(**head: Any) -> Any:
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmhgkd.HGKD',
            teacher=dict(type='mmhgkd.PixelTeacher'),
            backbone=dict(
                type='mmhgkd.SparseResNet',
                depth=18,
                stem_channels=8,
                base_channels=4,
            ),
            neck=dict(
                type='mmhgkd.UNetNeck',
                in_channels=(4, 8, 16, 32),
                width=16,
                out_channels=768,
            ),
            head=dict(
                type='mmhgkd.DistillationHead',
                feature_loss=dict(type='mmhgkd.FeatureImitationLoss'),
                **head,
            ),
        )
    )
    model.init_weights()
    return model


def steps(model: Any, count: int, hook: LossGradientHook | None) -> list[dict]:
    wrapper = build_optim_wrapper(
        model, dict(optimizer=dict(type='SGD', lr=0.01))
    )
    runner: Any = SimpleNamespace(model=model, iter=0)
    if hook:
        hook.before_train(runner)
    logs = []
    for runner.iter in range(count):
        if hook:
            hook.before_train_iter(runner, runner.iter)
        generator = torch.Generator().manual_seed(runner.iter)
        logs.append(
            model.train_step(
                dict(
                    inputs=torch.randn(4, 3, 64, 64, generator=generator),
                    data_samples=[None] * 4,
                ),
                wrapper,
            )
        )
    if hook:
        hook.after_train(runner)
    return logs


def test_figures_equal_gradients_by_hand() -> None:
    model = build(**SIMILARITY)
    steps(model, 2, None)
    reference = copy.deepcopy(model)
    inputs = torch.randn(
        4, 3, 64, 64, generator=torch.Generator().manual_seed(0)
    )
    found = {}
    for name in ('loss_feat', 'loss_sim'):
        # One ordinary backward pass each.
        twin = copy.deepcopy(reference)
        twin.loss(inputs, [])[name].backward()
        found[name] = [
            value
            for parameter in twin.backbone.parameters()
            for value in parameter.grad.double().flatten().tolist()
        ]
    feat, sim = found['loss_feat'], found['loss_sim']
    norms = [math.fsum(x * x for x in values) ** 0.5 for values in (feat, sim)]
    dot = math.fsum(x * y for x, y in zip(feat, sim, strict=True))
    assert min(norms) > 0
    logs = steps(model, 1, LossGradientHook(interval=1))[0]
    assert logs['gradient_feat'].item() == pytest.approx(norms[0], rel=1e-3)
    assert logs['gradient_sim'].item() == pytest.approx(norms[1], rel=1e-3)
    assert logs['gradient_cosine'].item() == pytest.approx(
        dot / norms[0] / norms[1], abs=1e-3
    )


def test_training_stays_as_it_is() -> None:
    plain, watched = build(**SIMILARITY), build(**SIMILARITY)
    expected = steps(plain, 4, None)
    logs = steps(watched, 4, LossGradientHook(interval=2))
    assert ['gradient_sim' in log for log in logs] == [
        False,
        True,
        False,
        True,
    ]
    for one, two in zip(expected, logs, strict=True):
        assert one['loss'] == two['loss']
    for key, value in plain.state_dict().items():
        assert torch.equal(value, watched.state_dict()[key]), key
    assert not watched._forward_hooks


def test_one_loss_alone() -> None:
    log = steps(build(), 1, LossGradientHook(interval=1))[0]
    assert log['gradient_feat'] > 0
    assert 'gradient_sim' not in log and 'gradient_cosine' not in log


def test_empty_queue_has_no_gradient() -> None:
    log = steps(build(**SIMILARITY), 1, LossGradientHook(interval=1))[0]
    assert log['gradient_sim'] == 0 and log['gradient_cosine'] == 0


def test_bad_use() -> None:
    with pytest.raises(ValueError, match='interval'):
        LossGradientHook(interval=0)
    model: Any = SimpleNamespace(compiled=True)
    with pytest.raises(ValueError, match=r'model\.compile=False'):
        LossGradientHook().before_train(SimpleNamespace(model=model))
