import math
from pathlib import Path
from typing import Any

import pytest
import torch
from mmpretrain.models import ResNet
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from studies.soft_labels import SoftLabelDistiller, fit_linear

from mmhgkd.registry import MODELS

STATISTICS = dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0])


@pytest.mark.parametrize('classes', [2, 3])
def test_probe_equals_the_one_of_the_evaluation(classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = 5 + 3 * torch.randn(60, 4, generator=generator)
    y = torch.arange(60) % classes
    x[:, 0] += y
    weight, bias = fit_linear(x, y)
    reference = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)
    )
    reference.fit(x.double().numpy(), y.numpy())
    expected = torch.from_numpy(reference.predict_proba(x.double().numpy()))
    assert torch.allclose(
        (x @ weight.T + bias).softmax(-1).double(), expected, atol=1e-5
    )


@pytest.fixture
def model(tmp_path: Path) -> Any:
    torch.manual_seed(0)
    probe = str(tmp_path / 'probe.pth')
    torch.save(dict(weight=torch.randn(5, 24), bias=torch.randn(5)), probe)
    network = MODELS.build(
        dict(
            type='mmhgkd.SoftLabelDistiller',
            data_preprocessor=dict(
                type='mmpretrain.SelfSupDataPreprocessor', **STATISTICS
            ),
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
                target_norm='batch_norm',
                allow_random=True,
            ),
            backbone=dict(
                type='mmhgkd.SparseResNet',
                depth=18,
                stem_channels=8,
                base_channels=8,
            ),
            in_channels=64,
            probe=probe,
        )
    )
    network.init_weights()
    return network


def test_loss_equals_naive_cross_entropy(model: SoftLabelDistiller) -> None:
    images = torch.randn(3, 3, 64, 64)
    losses = model.loss(images, [])
    assert model.teacher.renormalize
    tokens = model.teacher.extract_tokens(model.teacher.prepare(images), None)[
        0
    ]
    logits = model.classifier(model.backbone(images)[-1].flatten(2).mean(2))
    total, agreement = 0.0, 0
    for image in range(3):
        mean = tokens[image].mean(0)
        scores = (model.probe_weight @ mean + model.probe_bias).tolist()
        target = [math.exp(x) / sum(map(math.exp, scores)) for x in scores]
        ours = logits[image].tolist()
        log_sum = math.log(sum(map(math.exp, ours)))
        total -= sum(
            p * (x - log_sum) for p, x in zip(target, ours, strict=True)
        )
        agreement += ours.index(max(ours)) == target.index(max(target))
    assert losses['loss_soft'].item() == pytest.approx(total / 3, rel=1e-4)
    assert losses['agreement'].item() == pytest.approx(agreement / 3)


def test_only_the_student_is_trained_and_saved(
    model: SoftLabelDistiller,
) -> None:
    model.loss(torch.randn(2, 3, 64, 64), [])['loss_soft'].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(p.grad is None for p in model.teacher.parameters())
    keys = set(model.state_dict())
    assert {key.split('.')[0] for key in keys} == {'backbone', 'classifier'}
    plain = ResNet(18, stem_channels=8, base_channels=8)
    plain.load_state_dict(
        {
            key.removeprefix('backbone.'): value
            for key, value in model.state_dict().items()
            if key.startswith('backbone.')
        }
    )
    model.eval()
    plain.eval()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(model.extract_feat(images)[-1], plain(images)[-1])


def test_teacher_moves_with_the_model(model: SoftLabelDistiller) -> None:
    model.double()
    assert (
        model.soft_labels(torch.randn(1, 3, 64, 64).double()).dtype
        == torch.float64
    )
