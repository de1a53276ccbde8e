"""Each student of docs/students.md goes on in Mask R-CNN and UPerNet."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.modules.conv import _ConvNd

CONFIGS = Path(__file__).parents[2] / 'configs'
PAGE = CONFIGS.parent / 'docs' / 'students.md'
READY_MADE = (
    "dict(type='mmhgkd.SparseResNet', depth=18)",
    "dict(type='mmhgkd.SparseResNet', depth=34)",
    "dict(type='mmhgkd.SparseResNet', depth=50)",
    "dict(type='mmhgkd.SparseResNet', depth=101)",
    "dict(type='mmhgkd.SparseResNet', depth=152)",
    "dict(type='mmhgkd.SparseConvNeXt', arch='atto')",
    "dict(type='mmhgkd.SparseConvNeXt', arch='tiny')",
    "dict(type='mmhgkd.SparseConvNeXt', arch='small')",
    "dict(type='mmhgkd.SparseConvNeXt', arch='base')",
    "dict(type='mmhgkd.SparseMobileNetV2')",
    "dict(type='mmhgkd.SparseMobileNetV3', arch='small')",
    "dict(type='mmhgkd.SparseMobileNetV3', arch='large')",
    "dict(type='mmhgkd.SparseEfficientNet', arch='b0')",
    "dict(type='mmhgkd.SparseEfficientNet', arch='b1')",
)
# The maps that the students return, where the dense network returns others.
STAGES: dict[str, tuple[int, ...]] = {
    'ResNet': (0, 1, 2, 3),
    'ConvNeXt': (0, 1, 2, 3),
    'MobileNetV2': (1, 2, 4, 7),
    'MobileNetV3small': (1, 3, 8, 12),
    'MobileNetV3large': (3, 6, 12, 16),
    'EfficientNet': (2, 3, 4, 6),
}
TIMM = ('regnetx_002', 'regnety_002', 'resnet26d', 'efficientnet_lite0')


def _networks() -> dict[str, dict[str, Any]]:
    found = {text: eval(text) for text in READY_MADE}
    found['ConvNeXt V2'] = dict(
        type='mmhgkd.SparseConvNeXt',
        arch='atto',
        use_grn=True,
        layer_scale_init_value=0.0,
    )
    made_sparse: dict[str, dict[str, Any]] = {
        name: dict(
            type='mmpretrain.TIMMBackbone',
            model_name=name,
            features_only=True,
            out_indices=(1, 2, 3, 4),
        )
        for name in TIMM
    }
    made_sparse['RegNet'] = dict(
        type='mmpretrain.RegNet', arch='regnetx_400mf', out_indices=range(4)
    )
    for name in ('CSPNeXt', 'CSPDarknet'):
        made_sparse[name] = dict(
            type=f'mmdet.{name}',
            deepen_factor=0.167,
            widen_factor=0.25,
            out_indices=(1, 2, 3, 4),
        )
    for name, network in made_sparse.items():
        found[name] = dict(type='mmhgkd.SparseNetwork', network=network)
    return found


NETWORKS = _networks()


def plain(student: dict[str, Any]) -> dict[str, Any]:
    """Config of the dense network of the library."""
    if 'network' in student:
        return dict(student['network'])
    options = dict(student)
    family = options.pop('type').removeprefix('mmhgkd.Sparse')
    key = family + (options['arch'] if family == 'MobileNetV3' else '')
    options.update(type=f'mmpretrain.{family}', out_indices=STAGES[key])
    if family == 'ConvNeXt':
        options['gap_before_final_norm'] = False
    return options


def build(
    scope: str, file: str, backbone: dict[str, Any], channels: list[int]
) -> Any:
    model = Config.fromfile(CONFIGS / '_base_' / 'models' / file).model
    model.pop('backbone')
    if scope == 'mmdet':
        model.neck.in_channels = channels
    else:
        model.decode_head.in_channels = channels
        model.data_preprocessor.size = (64, 64)
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(dict(model, backbone=backbone))


def detection_samples() -> list[Any]:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    sample = DetDataSample(
        metainfo=dict(
            img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0)
        )
    )
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[0, 10:50, 8:40] = 1
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 10, 40, 50]]),
        labels=torch.tensor([1]),
        masks=BitmapMasks(masks.numpy(), 64, 64),
    )
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
    return [sample, sample]


def segmentation_samples() -> list[Any]:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    labels = torch.arange(64).view(1, 1, 64).expand(1, 64, 64) // 8
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=labels.clone()),
        metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)),
    )
    return [sample, sample]


TASKS = {
    'mask-rcnn': ('mmdet', 'detection_mask-rcnn_r18_fpn.py'),
    'upernet': ('mmseg', 'upernet_r18_small.py'),
}


@pytest.fixture(autouse=True)
def no_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave weights unset: drawing them takes most of the time."""
    for layer in (nn.Linear, _ConvNd):
        monkeypatch.setattr(layer, 'reset_parameters', lambda self: None)


@lru_cache(maxsize=1)
def distilled(name: str) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Weights of a student, and the channels of its maps."""
    generator = torch.Generator().manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        student = MODELS.build(NETWORKS[name])
    state = student.state_dict()
    for value in state.values():
        if value.dim() > 1:
            bound = value[0].numel() ** -0.5
            value.uniform_(-bound, bound, generator=generator)
        elif value.is_floating_point():
            value.uniform_(0.5, 1.5, generator=generator)
    return state, list(student.feature_channels)


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('name', NETWORKS)
def test_goes_on(name: str, task: str, tmp_path: Path) -> None:
    scope, file = TASKS[task]
    pytest.importorskip(scope)
    torch.manual_seed(0)
    state, channels = distilled(name)
    checkpoint = tmp_path / 'epoch_1.pth'
    torch.save(
        dict(state_dict={f'backbone.{k}': v for k, v in state.items()}),
        checkpoint,
    )
    init = dict(
        type='Pretrained', checkpoint=str(checkpoint), prefix='backbone.'
    )
    backbone = dict(plain(NETWORKS[name]), init_cfg=init)
    model = build(scope, file, backbone, channels)
    model.init_weights()
    loaded = model.backbone.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    assert not hasattr(model.backbone, 'backend')  # the library's own network

    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)] * 2
    samples = (
        detection_samples() if scope == 'mmdet' else segmentation_samples()
    )
    data = model.data_preprocessor(
        dict(inputs=images, data_samples=samples), training=True
    )
    losses = model.loss(data['inputs'], data['data_samples'])
    loss, _ = model.parse_losses(losses)
    loss.backward()
    for key, parameter in model.backbone.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    optimizer.step()
    first = next(
        x for x in model.backbone.modules() if isinstance(x, nn.Conv2d)
    )
    (key,) = (k for k, x in model.backbone.named_modules() if x is first)
    assert not torch.equal(first.weight, state[f'{key}.weight'])


def test_all_of_the_page() -> None:
    text = PAGE.read_text(encoding='utf-8')
    listed = [
        line.split('`')[1]
        for line in text.splitlines()
        if line.startswith("| `dict(type='mmhgkd.Sparse")
    ]
    assert listed == list(READY_MADE)
