import json
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from mmengine.registry import MODELS, DefaultScope
from mmpretrain import get_model
from safetensors import safe_open
from student_files import CLASSES, STUDENTS, write_checkpoint
from torch import Tensor

from mmhgkd.deploy import export_onnx
from mmhgkd.deploy.onnx_file import draw_photos
from mmhgkd.transfer.converters import export_student, read_student
from mmhgkd.utils import ConfigError


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 64, 96, generator=generator)


def sparse_network(name: str, checkpoint: str) -> torch.nn.Module:
    """The student itself, with the weights of its checkpoint."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        network = MODELS.build(STUDENTS[name])
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    network.load_state_dict(
        {
            key.removeprefix('backbone.'): value
            for key, value in state.items()
            if key.startswith('backbone.')
        }
    )
    network.train(False)
    return network


EQUAL = [
    ('resnet18', 'torchvision', True),
    ('resnet50', 'torchvision', False),
    ('convnext_tiny', 'torchvision', True),
    ('mobilenet_v2', 'torchvision', True),
    ('mobilenet_v3_small', 'torchvision', False),
    ('mobilenet_v3_large', 'torchvision', True),
    ('resnet50', 'timm', True),
    ('convnext_atto', 'timm', False),
    ('convnextv2_atto', 'timm', True),
    ('mobilenet_v2', 'timm', True),
    ('mobilenet_v3_small', 'timm', False),
    ('mobilenet_v3_large', 'timm', True),
    ('efficientnet_b0', 'timm', False),
    ('convnextv2_atto', 'mmpretrain', False),
    ('mobilenet_v3_small', 'mmpretrain', True),
    ('efficientnet_b0', 'mmpretrain', True),
]


@pytest.mark.parametrize(('name', 'layout', 'with_head'), EQUAL)
def test_every_student(
    name: str, layout: str, with_head: bool, tmp_path: Path
) -> None:
    checkpoint = write_checkpoint(tmp_path, name, with_head)
    out = tmp_path / 'new' / 'out.pth'
    export = export_student(checkpoint, out, layout)
    assert set(export.differences) == (
        {'embedding', 'logits'} if with_head else {'embedding'}
    )
    assert max(export.differences.values()) < 1e-4
    state = torch.load(out, weights_only=True)
    state = state.get('state_dict', state)
    assert len(state) == export.tensors
    # The printed code loads the file.
    scope: dict = {'timm': timm, 'torchvision': torchvision, 'torch': torch}
    exec(export.usage, scope)
    if layout != 'mmpretrain':
        own = scope['model'].state_dict()
        assert state and all(
            torch.equal(own[key], state[key]) for key in state
        )


def test_torchvision_sees_what_the_student_sees(
    tmp_path: Path, images: Tensor
) -> None:
    """Not the tool's own comparison, but one by hand."""
    checkpoint = write_checkpoint(tmp_path, 'resnet18')
    export_student(checkpoint, tmp_path / 'out.pth', 'torchvision')
    model = torchvision.models.resnet18()
    missing, unexpected = model.load_state_dict(
        torch.load(tmp_path / 'out.pth'), strict=False
    )
    assert missing == ['fc.weight', 'fc.bias'] and not unexpected
    model.train(False)
    with torch.no_grad():
        x = model.maxpool(model.relu(model.bn1(model.conv1(images))))
        maps = []
        for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
            x = layer(x)
            maps.append(x)
        expected = sparse_network('resnet18', checkpoint)(images)
    for found, wanted in zip(maps, expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_timm_gives_the_same_logits(tmp_path: Path, images: Tensor) -> None:
    checkpoint = write_checkpoint(tmp_path, 'efficientnet_b0', with_head=True)
    out = tmp_path / 'out.safetensors'
    export_student(checkpoint, out, 'timm')
    with safe_open(out, 'pt') as file:
        assert file.metadata()['network'] == 'timm tf_efficientnet_b0'
    model = timm.create_model(
        'tf_efficientnet_b0', num_classes=3, checkpoint_path=str(out)
    )
    model.train(False)
    head = {
        key: value
        for key, value in torch.load(checkpoint, weights_only=True)[
            'state_dict'
        ].items()
        if key.startswith('head.')
    }
    with torch.no_grad():
        features = sparse_network('efficientnet_b0', checkpoint)(images)[-1]
        expected = (
            features.mean((2, 3)) @ head['head.fc.weight'].T
            + head['head.fc.bias']
        )
        torch.testing.assert_close(
            model(images), expected, rtol=1e-4, atol=1e-4
        )


def test_mmpretrain_file_describes_itself(
    tmp_path: Path, images: Tensor
) -> None:
    checkpoint = write_checkpoint(tmp_path, 'narrow', with_head=True)
    out = tmp_path / 'out.pth'
    export = export_student(checkpoint, out)
    again = read_student(str(out))
    assert again.classes == CLASSES
    # and it is an export's input itself
    assert export_student(str(out), tmp_path / 'b.pth')[:2] == export[:2]

    scope: dict = {}
    exec(export.usage, scope)
    assert scope['backbone']['init_cfg']['prefix'] == 'backbone.'
    model = get_model(again.config, str(out))
    with torch.no_grad():
        found = model.extract_feat(images, stage='backbone')[-1]
        expected = sparse_network('narrow', checkpoint)(images)[-1]
    torch.testing.assert_close(found, expected)
    assert model._dataset_meta['classes'] == list(CLASSES)


PIXELS = dict(
    data_preprocessor=dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0]),
    test_dataloader=dict(
        dataset=dict(
            pipeline=[
                dict(type='mmhgkd.LoadImage'),
                dict(type='ResizeEdge', scale=72, edge='short'),
                dict(type='CenterCrop', crop_size=64),
                dict(type='PackInputs'),
            ]
        )
    ),
)


@pytest.mark.parametrize('to_rgb', [True, False])
def test_preprocessing_lies_in_every_file(
    to_rgb: bool, tmp_path: Path
) -> None:
    part = dict(PIXELS['data_preprocessor'], to_rgb=to_rgb)
    config = dict(PIXELS, data_preprocessor=part)
    checkpoint = write_checkpoint(tmp_path, 'resnet18', config=config)
    found = []
    for layout, suffix in (
        ('torchvision', 'pth'),
        ('timm', 'safetensors'),
        ('mmpretrain', 'pth'),
    ):
        out = tmp_path / f'{layout}.{suffix}'
        export = export_student(checkpoint, out, layout)
        found.append(export.preprocessing)
        beside = tmp_path / f'{out.name}.json'
        if suffix == 'safetensors':
            with safe_open(out, 'pt') as file:
                assert export.preprocessing.items() <= file.metadata().items()
        elif layout == 'torchvision':
            stored = json.loads(beside.read_text())
            assert stored['network'] == 'torchvision resnet18'
            assert stored['size'] == [64, 64]
            continue
        else:
            meta = torch.load(out, weights_only=True)['meta']
            assert meta['preprocessing'] == export.preprocessing
            model = get_model(read_student(str(out)).config, str(out))
            assert model.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
        assert not beside.exists()
    entries = found[0]
    assert found == [entries] * 3
    assert json.loads(entries['mean']) == [1, 2, 3]
    assert json.loads(entries['std']) == [4, 5, 6]
    assert json.loads(entries['size']) == [64, 64]
    assert [x['do'] for x in json.loads(entries['steps'])] == [
        'short_edge',
        'center_crop',
    ]
    assert entries['channel_order'] == ('RGB' if to_rgb else 'BGR')


def test_preprocessing_that_cannot_be_said(tmp_path: Path) -> None:
    loader = dict(
        dataset=dict(
            pipeline=[dict(type='mmhgkd.LoadImage'), dict(type='Lighting')]
        )
    )
    config = dict(PIXELS, test_dataloader=loader)
    checkpoint = write_checkpoint(tmp_path, 'resnet18', config=config)
    export = export_student(checkpoint, tmp_path / 'a.pth', 'torchvision')
    assert 'the step Lighting' in export.preprocessing['note']
    assert not {'steps', 'size'} & set(export.preprocessing)


@pytest.mark.parametrize('layout', ['mmdet', 'mmseg'])
@pytest.mark.parametrize('name', ['narrow', 'convnext_atto'])
def test_detection_and_segmentation(
    name: str, layout: str, tmp_path: Path
) -> None:
    pytest.importorskip(layout)
    checkpoint = write_checkpoint(tmp_path, name)
    export = export_student(checkpoint, tmp_path / 'out.pth', layout)
    assert export.network == (
        f'{layout} ResNet'
        if name == 'narrow'
        else f'{layout} mmpretrain.ConvNeXt'
    )
    assert export.differences['embedding'] < 1e-4


@pytest.mark.parametrize(
    ('name', 'network', 'layouts'),
    [
        ('cspnext', 'CSPNeXt', ('mmdet', 'mmpretrain')),
        ('cspdarknet', 'CSPDarknet', ('mmdet', 'mmseg')),
    ],
)
def test_networks_of_mmdetection(
    name: str,
    network: str,
    layouts: tuple[str, ...],
    tmp_path: Path,
    images: Tensor,
) -> None:
    mmdet = pytest.importorskip('mmdet.models')
    checkpoint = write_checkpoint(tmp_path, name)
    out = tmp_path / 'out.pth'
    for layout in layouts:
        export = export_student(checkpoint, out, layout)
        prefix = '' if layout == 'mmdet' else 'mmdet.'
        assert export.network == f'{layout} {prefix}{network}'
        assert export.differences['embedding'] < 1e-5
        # What a config of MMDetection takes, as the tool prints it.
        scope: dict = {}
        exec(export.usage, scope)
        scope['backbone']['out_indices'] = (1, 2, 3, 4)
        with DefaultScope.overwrite_default_scope(layout):
            own = MODELS.build(scope['backbone'])
        own.init_weights()
        assert type(own) is getattr(mmdet, network)
        own.train(False)
        with torch.no_grad():
            expected = sparse_network(name, checkpoint)(images)
            for x, y in zip(own(images), expected, strict=True):
                torch.testing.assert_close(x, y)
    with pytest.raises(ConfigError, match=f'no .* this mmdet.{network}'):
        export_student(checkpoint, out, 'timm')


def test_a_network_of_timm_goes_on_in_mmpretrain(
    tmp_path: Path, images: Tensor
) -> None:
    checkpoint = write_checkpoint(tmp_path, 'regnetx_002', with_head=True)
    content = torch.load(checkpoint, weights_only=True)
    text = content['meta']['cfg'].replace(
        'features_only=True', 'features_only=True, pretrained=True'
    )
    # The weights that the training started from are not fetched again.
    assert text != content['meta']['cfg']
    content['meta']['cfg'] = text
    torch.save(content, checkpoint)
    out = tmp_path / 'out.pth'
    export = export_student(checkpoint, out)
    assert export.network == 'mmpretrain TIMMBackbone'
    assert set(export.differences) == {'embedding', 'logits'}
    model = get_model(read_student(str(out)).config, str(out))
    with torch.no_grad():
        found = model.extract_feat(images, stage='backbone')[-1]
        expected = sparse_network('regnetx_002', checkpoint)(images)[-1]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ('name', 'with_head'),
    [
        ('cspnext', False),
        ('cspdarknet', True),
        ('narrow', True),
        ('convnextv2_atto', False),
        ('mobilenet_v3_small', True),
        ('efficientnet_b0', False),
    ],
)
def test_onnx(name: str, with_head: bool, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, name, with_head)
    out = tmp_path / 'out.onnx'
    export = export_onnx(checkpoint, out)
    assert len(export.differences) == 1 + with_head
    assert max(export.differences.values()) < 1e-3
    import onnxruntime

    session = onnxruntime.InferenceSession(str(out))
    images = draw_photos(1, 128, 64, seed=7)
    names = [output.name for output in session.get_outputs()]
    assert names == ['embedding', 'logits'][: 1 + with_head]
    found = session.run(names, {'images': images.numpy()})[0]
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    with torch.no_grad():
        expected = sparse_network(name, checkpoint)((images - mean) / std)
    torch.testing.assert_close(
        torch.from_numpy(found),
        expected[-1].mean((2, 3)),
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.parametrize('layout', ['torchvision', 'timm', 'mmdet'])
def test_a_detector_never_becomes_its_backbone(
    layout: str, tmp_path: Path
) -> None:
    checkpoint = write_checkpoint(tmp_path, 'resnet18')
    model = dict(
        type='FasterRCNN',
        backbone=STUDENTS['resnet18'],
        neck=dict(type='FPN'),
        rpn_head=dict(type='RPNHead'),
        roi_head=dict(type='StandardRoIHead'),
    )
    config = dict(model=model, default_scope='mmdet')
    out = tmp_path / 'out.pth'
    with pytest.raises(ConfigError, match=r'`model\.roi_head` of this Faster'):
        export_student(checkpoint, out, layout, config)
    assert not out.exists()
    export_student(checkpoint, out, layout, config, with_head=False)
    assert out.exists()


def test_torchvision_says_that_its_head_is_random(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 'resnet18')
    export = export_student(checkpoint, tmp_path / 'a.pth', 'torchvision')
    assert '`fc` of it is random' in export.usage


REFUSED = [
    ('narrow', 'torchvision', 'no torchvision resnet18'),
    ('convnextv2_atto', 'torchvision', 'ConvNeXt V2'),
    ('convnext_atto', 'torchvision', 'no network that equals'),
    ('efficientnet_b0', 'torchvision', 'pads as TensorFlow'),
]


@pytest.mark.parametrize(('name', 'layout', 'message'), REFUSED)
def test_no_equal_network(
    name: str, layout: str, message: str, tmp_path: Path
) -> None:
    checkpoint = write_checkpoint(tmp_path, name)
    with pytest.raises(ConfigError, match=message):
        export_student(checkpoint, tmp_path / 'out.pth', layout)
    assert [path.name for path in tmp_path.iterdir()] == [f'{name}.pth']


def test_equal_weights_of_another_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stride stands elsewhere in it, which no shape tells."""
    monkeypatch.setitem(
        STUDENTS,
        'caffe',
        dict(type='mmhgkd.SparseResNet', depth=50, style='caffe'),
    )
    checkpoint = write_checkpoint(tmp_path, 'caffe')
    out = tmp_path / 'out.pth'
    out.write_text('before')
    with pytest.raises(ConfigError, match='the embedding differs by'):
        export_student(checkpoint, out, 'torchvision')
    assert out.read_text() == 'before'
    assert len(list(tmp_path.iterdir())) == 2


def test_head_without_place(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 'mobilenet_v3_small', True)
    content = torch.load(checkpoint, weights_only=True)
    state = content['state_dict']
    for kind in ('weight', 'bias'):
        for layer in (0, 1):
            del state[f'head.layers.{layer}.fc.{kind}']
    state['head.fc.weight'] = torch.ones(3, 576)
    state['head.fc.bias'] = torch.ones(3)
    head = dict(type='LinearClsHead', num_classes=3, in_channels=576)
    model = dict(
        type='ImageClassifier',
        backbone=STUDENTS['mobilenet_v3_small'],
        head=head,
    )
    torch.save(dict(state_dict=state), checkpoint)
    out = tmp_path / 'out.pth'
    with pytest.raises(ConfigError, match='no config, so its network'):
        export_student(checkpoint, out, 'torchvision')
    with pytest.raises(ConfigError, match='--no-head'):
        export_student(checkpoint, out, 'torchvision', dict(model=model))
    export_student(
        checkpoint, out, 'torchvision', dict(model=model), with_head=False
    )
    assert out.exists()


@pytest.mark.parametrize(
    ('out', 'layout', 'message'),
    [
        ('out.pt', None, r'must end in \.pth'),
        ('out.onnx', 'timm', 'or in .onnx for a graph'),
        ('out.safetensors', None, r'mmpretrain reads \.pth only'),
        ('out.pth', 'keras', '`layout` must be one of mmpretrain'),
    ],
)
def test_wrong_names(
    out: str, layout: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        export_student('epoch_1.pth', tmp_path / out, layout)


def test_wrong_checkpoints(tmp_path: Path) -> None:
    source, out = str(tmp_path / 'in.pth'), tmp_path / 'out.pth'
    with pytest.raises(FileNotFoundError, match='no such file'):
        export_student(source, out)
    Path(source).write_text('no checkpoint')
    with pytest.raises(ConfigError, match='cannot be read as a checkpoint'):
        export_student(source, out)
    weights = {'backbone.a': torch.ones(1)}
    for text, message in (
        ('model = dict(backbone=dict(type="ViT"))', 'the student is a ViT'),
        ('model = dict(type="A")', r'no `model\.backbone`'),
        (
            'model = dict(type="A", backbone=dict(type="ResNet", depth=17))',
            'no ResNet with the options',
        ),
        (
            'model = dict(type="A", backbone=dict(type="ResNet", depth=18))',
            'does not fit its config',
        ),
        ('import os\nos.system("touch x")', 'is not run'),
        ('model = __import__("os").system("touch x")', 'is not run'),
    ):
        torch.save(dict(state_dict=weights, meta=dict(cfg=text)), source)
        with pytest.raises(ConfigError, match=message):
            export_student(source, out)
    torch.save(
        dict(
            state_dict=dict(a=torch.ones(1)),
            meta=dict(
                cfg='model = dict(backbone=dict(type="ResNet", depth=18))'
            ),
        ),
        source,
    )
    with pytest.raises(ConfigError, match='no key that starts with'):
        export_student(source, out)
    assert not out.exists()
