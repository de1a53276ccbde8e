import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from student_files import randomize
from torch import Tensor

from mmhgkd.teachers import MIMTeacher
from mmhgkd.transfer.converters import export_student, import_checkpoint
from mmhgkd.utils import ConfigError

sys.path.append(str(Path(__file__).parents[1] / 'test_teachers'))
from vit_reference import (
    EMBED_DIMS,
    NUM_HEADS,
    PATCH,
    beit_state,
    mae_state,
    reference_tokens,
)


def load(found: dict, out: Path) -> torch.nn.Module:
    """Build the network as a downstream config does."""
    network = MODELS.build(
        {
            '_scope_': 'mmpretrain',
            **found,
            'init_cfg': dict(
                type='Pretrained', checkpoint=str(out), prefix='backbone.'
            ),
        }
    )
    network.init_weights()
    network.train(False)
    return network


def spark_file(state: dict[str, Tensor], with_decoder: bool) -> dict:
    """What SparK writes: with decoder and optimizer, or the encoder alone."""
    if not with_decoder:
        return state
    return dict(
        arch='resnet50',
        epoch=3,
        is_pretrain=True,
        module={
            **{f'sparse_encoder.sp_cnn.{k}': v for k, v in state.items()},
            'dense_decoder.dec.0.weight': torch.ones(2),
            'mask_tokens.0': torch.ones(2),
            'densify_norms.0.weight': torch.ones(2),
            'config': dict(mask_ratio=0.6),
        },
    )


@pytest.mark.parametrize(
    ('depth', 'with_decoder'), [(18, True), (34, False), (50, False)]
)
def test_resnet_of_spark(
    depth: int, with_decoder: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(f'resnet{depth}', num_classes=0)
    randomize(theirs.state_dict())
    theirs.train(False)
    source, out = tmp_path / 'spark.pth', tmp_path / 'deep' / 'out.pth'
    torch.save(spark_file(theirs.state_dict(), with_decoder), source)
    found = import_checkpoint(str(source), out)
    assert found.backbone == dict(type='ResNet', depth=depth)
    assert not found.absent
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(
            load(found.backbone, out)(images)[-1],
            theirs.forward_features(images),
        )


@pytest.mark.parametrize('with_decoder', [False, True])
def test_convnext_of_spark(with_decoder: bool, tmp_path: Path) -> None:
    """SparK's ConvNeXt has the official names, and no norm of its maps."""
    torch.manual_seed(0)
    theirs = timm.create_model('convnext_atto', num_classes=0, conv_mlp=False)
    randomize(theirs.state_dict())
    theirs.train(False)
    state = {}
    for key, value in theirs.state_dict().items():
        key = key.replace('stem.', 'downsample_layers.0.')
        parts = key.split('.')
        if parts[2:3] == ['downsample']:
            key = '.'.join(['downsample_layers', parts[1], *parts[3:]])
        key = key.replace('.blocks.', '.').replace('conv_dw', 'dwconv')
        key = key.replace('mlp.fc', 'pwconv')
        if not key.startswith('head.'):
            state[key] = value
    source, out = tmp_path / 'spark.pth', tmp_path / 'out.pth'
    torch.save(spark_file(state, with_decoder), source)
    found = import_checkpoint(str(source), out)
    assert found.backbone['arch'] == 'atto'
    assert len(found.absent) == 8
    network = load(found.backbone, out)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        x = theirs.forward_features(images)
        expected = torch.nn.functional.layer_norm(
            x.permute(0, 2, 3, 1), x.shape[1:2], eps=1e-6
        )
        torch.testing.assert_close(
            network(images)[-1].permute(0, 2, 3, 1), expected
        )


def test_imported_student_can_be_exported(tmp_path: Path) -> None:
    torch.save(timm.create_model('resnet18').state_dict(), tmp_path / 'a.pth')
    import_checkpoint(str(tmp_path / 'a.pth'), tmp_path / 'b.pth')
    export = export_student(
        str(tmp_path / 'b.pth'), tmp_path / 'c.pth', 'torchvision'
    )
    assert export.differences['embedding'] < 1e-4


@pytest.mark.parametrize(
    ('make', 'kind'),
    [
        (lambda: mae_state(4, 4), 'MAEViT'),
        (lambda: beit_state(4, 4, shared=True), 'BEiTPretrainViT'),
        (lambda: beit_state(4, 4, shared=False), 'BEiTPretrainViT'),
    ],
)
def test_vits(
    make: Callable[[], dict[str, Tensor]], kind: str, tmp_path: Path
) -> None:
    state = make()
    source, out = tmp_path / 'vit.pth', tmp_path / 'out.pth'
    torch.save(dict(model=state), source)
    with pytest.raises(ConfigError, match='--num-heads'):
        import_checkpoint(str(source), out)
    assert not out.exists()
    found = import_checkpoint(str(source), out, NUM_HEADS)
    assert found.backbone['type'] == kind
    assert found.backbone['arch']['embed_dims'] == EMBED_DIMS
    assert found.backbone['img_size'] == 4 * PATCH
    keys = torch.load(out, weights_only=True)['state_dict']
    assert 'backbone.layers.0.ffn.layers.0.0.weight' in keys
    assert not any('mask_token' in key for key in keys)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    teacher = MIMTeacher(
        Config(found.backbone).to_dict(),
        str(out),
        mean=mean,
        std=std,
        target_norm='none',
    ).double()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(
        teacher(images), reference_tokens(state, images)
    )


def test_other_files(tmp_path: Path) -> None:
    source, out = tmp_path / 'in.pth', tmp_path / 'out.pth'
    with pytest.raises(FileNotFoundError, match='set `source` to'):
        import_checkpoint(str(source), out)
    torch.save(dict(a=torch.ones(1)), source)
    with pytest.raises(ConfigError, match='no checkpoint of SparK, MAE or'):
        import_checkpoint(str(source), out)
    with pytest.raises(ConfigError, match=r'must end in \.pth'):
        import_checkpoint(str(source), tmp_path / 'out.bin')
    torch.save({'layer1.0.conv1.weight': torch.ones(1)}, source)
    with pytest.raises(ConfigError, match=r'no ResNet of \(1, 0, 0, 0\)'):
        import_checkpoint(str(source), out)
    state = timm.create_model('resnet18').state_dict()
    del state['layer4.1.bn2.bias']
    torch.save(state, source)
    with pytest.raises(ConfigError, match=r'1 missing: layer4\.1\.bn2\.bias'):
        import_checkpoint(str(source), out)
    assert not out.exists()
