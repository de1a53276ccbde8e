import copy
from typing import Any

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmpretrain.models import ResNet
from torch.utils._python_dispatch import TorchDispatchMode

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def config(**changes: Any) -> dict:
    result = dict(
        type='mmhgkd.HGKD',
        data_preprocessor=dict(
            type='mmpretrain.SelfSupDataPreprocessor', mean=MEAN, std=STD
        ),
        teacher=dict(
            type='mmhgkd.MIMTeacher',
            backbone=dict(
                type='mmpretrain.MAEViT',
                arch=dict(
                    embed_dims=24,
                    num_layers=2,
                    num_heads=2,
                    feedforward_channels=48,
                ),
                img_size=64,
                patch_size=16,
            ),
            allow_random=True,
        ),
        backbone=dict(
            type='mmhgkd.SparseResNet',
            depth=18,
            stem_channels=8,
            base_channels=8,
        ),
        neck=dict(
            type='mmhgkd.UNetNeck',
            in_channels=(8, 16, 32, 64),
            width=32,
            out_channels=24,
        ),
        head=dict(
            type='mmhgkd.DistillationHead',
            feature_loss=dict(type='mmhgkd.FeatureImitationLoss'),
            similarity_loss=dict(type='mmhgkd.SimilarityDistributionLoss'),
            embedding=dict(
                type='mmhgkd.StudentEmbedding', in_channels=24, out_channels=24
            ),
            queue=dict(type='mmhgkd.EmbeddingQueue', size=16, embed_dims=24),
        ),
    )
    result.update(changes)
    return copy.deepcopy(result)


def build(seed: int = 0, **changes: Any) -> Any:
    torch.manual_seed(seed)
    model = MODELS.build(config(**changes))
    model.init_weights()
    return model


def images(count: int = 4, size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(count, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, size, mode='bilinear')


def data(count: int = 4) -> dict:
    pixels = (images(count) * 50 + 120).clamp(0, 255).round()
    return dict(inputs=pixels.byte(), data_samples=[None] * count)


def test_loss_equals_its_parts_wired_by_hand() -> None:
    model = build()
    x = images()
    model.loss(x, [])  # fills the queue
    bank = model.head.queue()
    reference = copy.deepcopy(model)
    losses = model.loss(x, [])
    mask = reference.mask.draw(4, 64, 64, 1)
    target = reference.teacher(x)
    tokens = reference.neck(reference.backbone(x, mask))
    tokens = tokens.flatten(2).transpose(1, 2)
    assert losses['loss_feat'].item() == pytest.approx(
        (tokens - target).square().mean().item(), rel=1e-5
    )
    student = torch.nn.functional.normalize(tokens.mean(1), dim=-1)
    teacher = torch.nn.functional.normalize(target.mean(1), dim=-1)
    expected, logs = reference.head.similarity_loss(student, teacher, bank)
    assert losses['loss_sim'].item() == pytest.approx(
        expected.item(), rel=1e-4
    )
    assert losses['pearson'].item() == pytest.approx(
        logs['pearson'].item(), rel=1e-4
    )


@pytest.mark.parametrize('mask_ratio', [0.0, 0.5])
@pytest.mark.parametrize('views', [2, 3])
def test_views_share_the_tokens_of_the_teacher(
    views: int, mask_ratio: float
) -> None:
    model = build(
        views=views,
        neck=None,
        mask=dict(type='mmhgkd.RandomUnitMask', mask_ratio=mask_ratio),
        head=dict(
            type='mmhgkd.DistillationHead',
            direct_loss=dict(
                type='mmhgkd.DirectImitationLoss',
                in_channels=64,
                out_channels=24,
            ),
        ),
    ).double()
    x = images(size=96)[..., :64].double()
    reference = copy.deepcopy(model)
    calls = []
    model.teacher.register_forward_hook(lambda *args: calls.append(args))
    loss = model.loss(x, [])['loss_direct']
    assert len(calls) == 1
    mask = reference.mask.draw(4 * views, 96, 64, 0)
    order = [
        image * views + view for view in range(views) for image in range(4)
    ]
    mask = mask._replace(ids=mask.ids[order])
    # Six rows of four patches: a mirror turns each row around.
    rows = reference.teacher(x).reshape(4, 6, 4, 24)
    seen = torch.cat([x.flip(3) if view % 2 else x for view in range(views)])
    wanted = torch.cat(
        [
            torch.stack(
                [rows[:, :, 3 - i if view % 2 else i] for i in range(4)], 2
            )
            for view in range(views)
        ]
    )
    expected = reference.head.direct_loss(
        reference.backbone(seen, mask), wanted.flatten(1, 2)
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    assert model.mask.draws == 1


@pytest.mark.parametrize('views', [1, 2])
def test_masks_of_an_image_do_not_depend_on_the_ranks(
    views: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(views=views)
    seen = []
    model.backbone.register_forward_hook(
        lambda module, args, output: seen.append(args[1].ids)
    )
    model.loss(images(size=96), [])
    for rank in range(2):
        monkeypatch.setattr(
            'mmhgkd.algorithms.hgkd.get_rank', lambda r=rank: r
        )
        model.mask.draws = 0
        model.loss(images(size=96)[2 * rank :][:2], [])
    whole, *parts = (ids.unflatten(0, (views, -1)) for ids in seen)
    assert len(whole.unique(dim=1)[0]) > 1
    assert torch.equal(whole, torch.cat(parts, 1))


def test_a_step_reads_nothing_from_the_device() -> None:
    """What a loss reads, the host waits for on a GPU."""
    model = build()
    model.teacher.target_norm = 'whiten'

    class Reads(TorchDispatchMode):
        found: list[str] = []

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = func.overloadpacket.__name__
            if name in ('_local_scalar_dense', 'equal'):
                self.found.append(name)
            return func(*args, **(kwargs or {}))

    with Reads() as reads:
        losses = model.loss(images(size=96), [])
        sum(losses[name] for name in ('loss_feat', 'loss_sim')).backward()
        assert not reads.found
        losses['loss_feat'].item()
    assert reads.found == ['_local_scalar_dense']


@pytest.mark.parametrize('views', [0, -1, 1.5, True])
def test_views_out_of_range(views: Any) -> None:
    with pytest.raises(ConfigError, match=r'model\.views'):
        build(views=views)


def test_views_of_a_teacher_that_sees_one_mask() -> None:
    changes = config()
    changes['teacher']['input'] = 'visible'
    changes['head'] = dict(
        type='mmhgkd.DistillationHead',
        feature_loss=dict(
            type='mmhgkd.FeatureImitationLoss', region='visible'
        ),
    )
    build(**changes)
    with pytest.raises(ConfigError, match=r'model\.views=1'):
        build(**changes, views=2)


def test_overfitting_one_batch() -> None:
    model = build(
        head=dict(
            type='mmhgkd.DistillationHead',
            feature_loss=dict(type='mmhgkd.FeatureImitationLoss'),
        )
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x = images()
    history = []
    for _ in range(100):
        model.mask.draws = 0
        loss = model.loss(x, [])['loss_feat']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < history[0] / 10


def test_teacher_is_outside_optimizer_checkpoint_and_training() -> None:
    model = build()
    teacher = {id(p) for p in model.teacher.parameters()}
    assert teacher and not teacher & {id(p) for p in model.parameters()}
    assert not any('teacher' in key for key in model.state_dict())
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='Adam')))
    assert not teacher & {
        id(p) for group in wrapper.param_groups for p in group['params']
    }
    before = copy.deepcopy(model.teacher.state_dict())
    model.train()
    assert not any(m.training for m in model.teacher.modules())
    for _ in range(2):
        model.train_step(data(), wrapper)
    for key, value in model.teacher.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_teacher_moves_with_the_model() -> None:
    model = build().double()
    assert next(model.teacher.parameters()).dtype == torch.float64
    assert model.to('meta').teacher.backbone.pos_embed.is_meta


def test_backbone_loads_into_a_plain_resnet() -> None:
    model = build()
    weights = {
        key.removeprefix('backbone.'): value
        for key, value in model.state_dict().items()
        if key.startswith('backbone.')
    }
    plain = ResNet(18, stem_channels=8, base_channels=8, out_indices=range(4))
    plain.load_state_dict(weights, strict=True)
    x = images()
    model.eval()
    plain.eval()
    for ours, theirs in zip(model(x, mode='tensor'), plain(x), strict=True):
        assert torch.equal(ours, theirs)


def test_resumed_model_goes_on_identically() -> None:
    model = build()
    wrapper = build_optim_wrapper(
        model, dict(optimizer=dict(type='SGD', lr=0.01))
    )
    for _ in range(2):
        model.train_step(data(), wrapper)
    resumed = build()
    resumed.load_state_dict(model.state_dict())
    other = build_optim_wrapper(
        resumed, dict(optimizer=dict(type='SGD', lr=0.01))
    )
    resumed.train()
    for _ in range(2):
        model.train_step(data(), wrapper)
        resumed.train_step(data(), other)
    for key, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_predict_returns_both_maps_and_the_mask() -> None:
    model = build().eval()
    x = images()
    samples = model(x, mode='predict')
    mask = model.mask.draw(4, 64, 64, 0)
    assert torch.equal(
        torch.stack([s.visible for s in samples]), mask.visible(16)[:, 0]
    )
    target = model.teacher(x).view(4, 4, 4, 24)
    tokens = model.neck(model.backbone(x, mask)).permute(0, 2, 3, 1)
    for index, sample in enumerate(samples):
        assert torch.equal(sample.teacher_tokens, target[index])
        assert torch.allclose(sample.student_tokens, tokens[index], atol=1e-6)
        assert sample.student_tokens.requires_grad is False
    assert model.mask.draws == 0


def test_visible_teacher() -> None:
    teacher = dict(config()['teacher'], input='visible')
    head = dict(
        config()['head'],
        feature_loss=dict(
            type='mmhgkd.FeatureImitationLoss', region='visible'
        ),
    )
    model = build(teacher=teacher, head=head)
    x = images()
    mask = model.mask.draw(4, 64, 64, 0)
    losses = model.loss(x, [])
    tokens = model.neck(model.backbone(x, mask)).flatten(2).transpose(1, 2)
    target = model.teacher(x, mask)
    seen = mask.visible(16).flatten(1)
    assert losses['loss_feat'].item() == pytest.approx(
        (tokens - target)[seen].square().mean().item(), rel=1e-4
    )


def test_pixel_teacher_makes_it_spark() -> None:
    model = build(
        teacher=dict(type='mmhgkd.PixelTeacher', patch_size=16, norm_unit=32),
        neck=dict(
            type='mmhgkd.UNetNeck',
            in_channels=(8, 16, 32, 64),
            width=32,
            out_channels=768,
        ),
        head=dict(
            type='mmhgkd.DistillationHead',
            feature_loss=dict(
                type='mmhgkd.FeatureImitationLoss', region='masked'
            ),
        ),
    )
    x = images()
    losses = model.loss(x, [])
    mask = model.mask.draw(4, 64, 64, 0)
    prediction = model.neck(model.backbone(x, mask))
    # SparK: pixels of each masked 32 px unit against its own statistics.
    total, count = 0.0, 0
    for image in range(4):
        for unit in range(4):
            if unit in mask.ids[image].tolist():
                continue
            top, left = unit // 2 * 32, unit % 2 * 32
            square = x[image, :, top : top + 32, left : left + 32]
            square = (square - square.mean()) / (square.var() + 1e-6).sqrt()
            for row in range(2):
                for column in range(2):
                    patch = square[
                        :,
                        row * 16 : row * 16 + 16,
                        column * 16 : column * 16 + 16,
                    ]
                    token = prediction[
                        image, :, top // 16 + row, left // 16 + column
                    ]
                    total += (
                        (token - patch.permute(1, 2, 0).flatten())
                        .square()
                        .mean()
                        .item()
                    )
                    count += 1
    assert losses['loss_feat'].item() == pytest.approx(total / count, rel=1e-4)


def test_every_student_parameter_gets_a_gradient(
    device: torch.device,
) -> None:
    model = build().to(device)
    losses = model.loss(images().to(device), [])
    (losses['loss_feat'] + losses['loss_sim']).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert not missing


DIRECT = dict(
    type='mmhgkd.DirectImitationLoss', in_channels=64, out_channels=24
)
ENCODER = dict(
    type='mmhgkd.StudentEmbedding',
    source='encoder',
    projector='linear',
    in_channels=64,
    out_channels=24,
)


def direct_head(**changes: Any) -> dict:
    """Losses that read the encoder only."""
    head = dict(
        config()['head'],
        feature_loss=None,
        direct_loss=DIRECT,
        embedding=ENCODER,
    )
    return dict(head, **changes)


@pytest.mark.parametrize(
    'changes',
    [
        dict(),
        dict(direct_loss=None),
        dict(similarity_loss=None, embedding=None, queue=None),
    ],
)
def test_no_decoder_where_no_loss_reads_it(changes: dict) -> None:
    model = build(head=direct_head(**changes))
    assert model.neck is None
    assert hasattr(model.head, 'queue') == ('queue' not in changes)
    for _ in range(2):
        losses = model.loss(images(), [])
        model.zero_grad()
        sum(v for k, v in losses.items() if 'loss' in k).backward()
        missing = [n for n, p in model.named_parameters() if p.grad is None]
        assert not missing
    assert build(neck=None, head=direct_head(**changes)).neck is None


def test_direct_loss_equals_its_parts_wired_by_hand() -> None:
    model = build(head=direct_head())
    x = images()
    losses = model.loss(x, [])
    mask = model.mask.draw(4, 64, 64, 0)
    target = model.teacher(x)
    last = model.backbone(x, mask)[-1].dense()
    layer = model.head.direct_loss.projections[0].layers[-1]
    tokens = layer(last.permute(0, 2, 3, 1)).unflatten(3, (2, 2, 24))
    tokens = tokens.permute(0, 1, 3, 2, 4, 5).reshape(4, 16, 24)
    seen = mask.visible(16).flatten(1)
    assert losses['loss_direct'].item() == pytest.approx(
        (tokens - target)[seen].square().mean().item(), rel=1e-4
    )
    model.eval()
    tokens = layer(model.backbone(x, mask)[-1].dense().permute(0, 2, 3, 1))
    tokens = tokens.unflatten(3, (2, 2, 24)).permute(0, 1, 3, 2, 4, 5)
    tokens = tokens.reshape(4, 4, 4, 24)
    for index, sample in enumerate(model.predict(x)):
        expected = tokens[index] * sample.visible[..., None]
        assert torch.allclose(sample.student_tokens, expected, atol=1e-5)


def test_losses_without_tokens_draw_no_picture() -> None:
    model = build(head=direct_head(direct_loss=None))
    with pytest.raises(ValueError, match='no tokens to draw'):
        model.predict(images())


def test_copy_shares_the_teacher_and_nothing_else() -> None:
    model = build()
    other = ExponentialMovingAverage(model, momentum=0.5)
    assert other.module.teacher is model.teacher
    assert set(other.module.state_dict()) == set(model.state_dict())
    theirs = {id(p) for p in other.module.parameters()}
    assert not theirs & {id(p) for p in model.parameters()}
    before = other.module.eval()(images(), mode='predict')
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    after = other.module(images(), mode='predict')
    for left, right in zip(before, after, strict=True):
        assert torch.equal(left.student_tokens, right.student_tokens)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(
                neck=dict(
                    type='mmhgkd.UNetNeck',
                    in_channels=(8, 16, 32, 64),
                    out_channels=32,
                    width=32,
                )
            ),
            r'neck\.out_channels=24',
        ),
        (
            dict(teacher=dict(config()['teacher'], input='visible')),
            r"feature_loss\.region='visible'",
        ),
        (dict(neck=None), r'set `model\.neck`'),
        (
            dict(head=direct_head(direct_loss=dict(DIRECT, out_channels=32))),
            r'head\.direct_loss\.out_channels=24',
        ),
        (
            dict(
                head=dict(
                    type='mmhgkd.DistillationHead',
                    direct_loss=dict(
                        DIRECT, stages=(-2,), in_channels=32, strides=16
                    ),
                )
            ),
            'no loss reaches the last stage',
        ),
        (
            dict(
                teacher=dict(config()['teacher'], input='visible'),
                head=dict(
                    config()['head'],
                    embedding=dict(
                        type='mmhgkd.StudentEmbedding',
                        source='tokens',
                        in_channels=24,
                        out_channels=24,
                    ),
                ),
            ),
            r"head\.embedding\.source='decoder'",
        ),
    ],
)
def test_parts_that_do_not_fit(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_grid_that_does_not_fit() -> None:
    model = build(
        neck=dict(
            type='mmhgkd.UNetNeck',
            in_channels=(8, 16, 32, 64),
            width=32,
            out_channels=24,
            out_stride=8,
        )
    )
    with pytest.raises(ValueError, match=r'4x4 grid.*8x8.*out_stride'):
        model.loss(images(), [])


def test_image_size_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match='multiple of the mask unit'):
        build().loss(torch.zeros(1, 3, 80, 80), [])
