import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from test_hgkd import build, config, images
from torch import Tensor
from torch._dynamo.utils import counters


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def build_small(compile: bool | dict) -> Any:
    """A student of two stages: tracing takes longer than running."""
    return build(
        compile=compile,
        backbone=dict(
            type='mmhgkd.SparseResNet',
            depth=18,
            backend='packed',
            stem_channels=8,
            base_channels=8,
            num_stages=2,
            strides=(1, 2),
            dilations=(1, 1),
            out_indices=(0, 1),
            drop_path_rate=0.5,
        ),
        neck=dict(
            type='mmhgkd.UNetNeck',
            in_channels=(8, 16),
            width=16,
            out_channels=24,
        ),
    ).double()


def step(
    model: Any, seed: int, count: int = 4
) -> tuple[dict[str, Tensor], list[Tensor]]:
    torch.manual_seed(seed)  # of drop path
    losses = model.loss(images(count).double(), [])
    total = losses['loss_feat'] + losses['loss_sim']
    return losses, list(torch.autograd.grad(total, model.parameters()))


def test_trains_as_uncompiled_in_one_graph_a_part() -> None:
    model = build_small(dict(backend='eager', fullgraph=True))
    reference = build_small(False)
    for index in range(3):
        # One compilation must do for all masks.
        with torch._dynamo.config.patch(error_on_recompile=index > 0):
            losses, gradients = step(model, index)
        expected_losses, expected_gradients = step(reference, index)
        for name, loss in losses.items():
            assert loss.item() == pytest.approx(
                expected_losses[name].item(), abs=1e-12
            ), name
        for x, y in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-12)
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    assert counters['stats']['unique_graphs'] == 3


def test_a_smaller_batch_takes_no_graph_of_its_own() -> None:
    model = build_small(dict(backend='eager', fullgraph=True))
    reference = build_small(False)
    for index, count in enumerate((4, 3, 4)):
        with torch._dynamo.config.patch(error_on_recompile=index > 0):
            losses, gradients = step(model, index, count)
        expected_losses, expected_gradients = step(reference, index, count)
        for name, loss in losses.items():
            assert loss.item() == pytest.approx(
                expected_losses[name].item(), abs=1e-12
            ), name
        for x, y in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-12)
        assert counters['stats']['unique_graphs'] == 3


def test_dense_features_of_a_smaller_batch() -> None:
    model = build_small(dict(backend='eager', fullgraph=True)).eval()
    for count in (4, 1, 4):
        x = images(count).double()
        assert len(model.extract_feat(x)[0]) == count
        assert counters['stats']['unique_graphs'] == 1


def test_dense_features_and_copies() -> None:
    model = build_small(dict(backend='eager', fullgraph=True)).eval()
    reference = build_small(False).eval()
    x = images().double()
    expected = reference(x, mode='tensor')
    for compiled in (model, copy.deepcopy(model)):
        assert list(compiled.state_dict()) == list(reference.state_dict())
        for ours, theirs in zip(
            compiled.extract_feat(x), expected, strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert counters['stats']['unique_graphs'] == 1


def test_teacher_of_visible_patches() -> None:
    options = dict(
        teacher=dict(config()['teacher'], input='visible'),
        head=dict(
            type='mmhgkd.DistillationHead',
            feature_loss=dict(
                type='mmhgkd.FeatureImitationLoss', region='visible'
            ),
        ),
    )
    compiled = build(compile=dict(backend='eager', fullgraph=True), **options)
    reference = build(**options)
    x = images()
    for index in range(2):
        mask = reference.mask.draw(4, 64, 64, index)
        with torch._dynamo.config.patch(error_on_recompile=index > 0):
            actual = compiled.teacher(x, mask)
        torch.testing.assert_close(actual, reference.teacher(x, mask))


def test_options_of_cuda_graphs_are_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: list[dict] = []
    monkeypatch.setattr(
        torch.nn.Module,
        'compile',
        lambda module, **kwargs: options.append(kwargs),
    )
    steps: list[None] = []
    monkeypatch.setattr(
        torch.compiler, 'cudagraph_mark_step_begin', lambda: steps.append(None)
    )
    model = build(compile=dict(mode='reduce-overhead'))
    assert options == [dict(mode='reduce-overhead')] * 3
    x = images()
    model.loss(x, [])
    model.predict(x)
    model.extract_feat(x)
    # The parts of a step belong together.
    assert len(steps) == 3
    build().loss(x, [])
    assert len(steps) == 3


def test_without_options_nothing_is_compiled() -> None:
    model = build()
    model.loss(images(), [])
    assert not counters['stats']
