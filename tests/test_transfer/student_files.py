"""Checkpoints of students, as a training writes them, in no time."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor


def _made_sparse(kind: str, **options: Any) -> dict[str, Any]:
    network = dict(type=kind, **options)
    return dict(type='mmhgkd.SparseNetwork', network=network)


_CSP = dict(deepen_factor=0.167, widen_factor=0.125, out_indices=(1, 2, 3, 4))
STUDENTS: dict[str, dict[str, Any]] = {
    'resnet18': dict(type='mmhgkd.SparseResNet', depth=18, drop_path_rate=0.1),
    'resnet50': dict(type='mmhgkd.SparseResNet', depth=50),
    'narrow': dict(
        type='mmhgkd.SparseResNet',
        depth=18,
        stem_channels=16,
        base_channels=16,
    ),
    'convnext_tiny': dict(type='mmhgkd.SparseConvNeXt', arch='tiny'),
    'convnext_atto': dict(type='mmhgkd.SparseConvNeXt', arch='atto'),
    'convnextv2_atto': dict(
        type='mmhgkd.SparseConvNeXt',
        arch='atto',
        use_grn=True,
        layer_scale_init_value=0.0,
    ),
    'mobilenet_v2': dict(type='mmhgkd.SparseMobileNetV2'),
    'mobilenet_v3_small': dict(type='mmhgkd.SparseMobileNetV3', arch='small'),
    'mobilenet_v3_large': dict(type='mmhgkd.SparseMobileNetV3', arch='large'),
    'efficientnet_b0': dict(type='mmhgkd.SparseEfficientNet', arch='b0'),
    'cspnext': _made_sparse('mmdet.CSPNeXt', **_CSP),
    'cspdarknet': _made_sparse('mmdet.CSPDarknet', **_CSP),
    'regnetx_002': _made_sparse(
        'mmpretrain.TIMMBackbone',
        model_name='regnetx_002',
        features_only=True,
        out_indices=(1, 2, 3, 4),
    ),
}

CLASSES = ('cat', 'dog', 'fish')


def head_of(name: str, channels: int) -> dict[str, Any]:
    """Head that MMPretrain's configs have for the network."""
    if name.startswith('mobilenet_v3'):
        return dict(
            type='StackedLinearClsHead',
            num_classes=len(CLASSES),
            in_channels=channels,
            mid_channels=[1280 if name.endswith('large') else 1024],
            act_cfg=dict(type='HSwish'),
            loss=dict(type='CrossEntropyLoss'),
        )
    return dict(
        type='LinearClsHead',
        num_classes=len(CLASSES),
        in_channels=channels,
        loss=dict(type='CrossEntropyLoss'),
    )


def randomize(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give every norm, bias and scale a value of its own.

    At its initialization a network hides layers that were mixed up.
    """
    generator = torch.Generator().manual_seed(0)
    for key, value in state.items():
        if not value.is_floating_point() or value.ndim > 1:
            continue
        if key.endswith(('bias', 'mean', 'beta')):
            value.normal_(0, 0.1, generator=generator)
        else:
            value.uniform_(0.5, 1.5, generator=generator)
    return state


def write_checkpoint(
    folder: Path,
    name: str,
    with_head: bool = False,
    config: dict[str, Any] | None = None,
) -> str:
    """Write the checkpoint of a distillation or a fine-tuning.

    Args:
        folder (Path): Where to write.
        name (str): A key of ``STUDENTS``.
        with_head (bool): Whether it was fine-tuned.
        config (dict, optional): Further keys of its config.
    """
    backbone = STUDENTS[name]
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        network = MODELS.build(backbone)
        model: dict[str, Any] = dict(type='mmhgkd.HGKD', backbone=backbone)
        state = {f'backbone.{k}': v for k, v in network.state_dict().items()}
        if with_head:
            network.train(False)
            with torch.no_grad():
                channels = network(torch.zeros(1, 3, 64, 64))[-1].size(1)
            head = head_of(name, channels)
            model.update(type='ImageClassifier', head=head)
            weights = MODELS.build(head).state_dict()
            state.update({f'head.{k}': v for k, v in weights.items()})
        else:
            state['neck.weight'] = torch.ones(3)
            state['head.queue'] = torch.ones(3)
    text = Config(
        dict(model=model, default_scope='mmpretrain', **(config or {}))
    ).pretty_text
    path = folder / f'{name}.pth'
    torch.save(
        dict(
            state_dict=randomize(state),
            meta=dict(cfg=text, epoch=1, dataset_meta=dict(classes=CLASSES)),
        ),
        path,
    )
    return str(path)
