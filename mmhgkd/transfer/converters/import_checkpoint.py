from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from mmhgkd.teachers.checkpoint import (
    State,
    find_differences,
    read_checkpoint,
    read_state_dict,
    summarize,
)
from mmhgkd.utils import ConfigError

from .foreign import find_cnn, find_vit
from .openmmlab_layout import backbone_usage, read_back, write_checkpoint
from .weights_file import partial_file


class Import(NamedTuple):
    """What an import has written."""

    backbone: dict[str, Any]  #: config of mmpretrain's network
    tensors: int  #: number of tensors in the file
    #: Keys of the network that the checkpoint lacks; those of norms are
    #: written as they are initialized.
    absent: tuple[str, ...]
    usage: str  #: part of a config that loads the file


def import_checkpoint(
    source: str, out: str | Path, num_heads: int | None = None
) -> Import:
    """Write a published checkpoint in the layout of mmpretrain.

    Those of SparK become students, those of MAE and BEiT, which serve as
    teachers as they are, become backbones too. No code of the file is run.
    The file appears under its name once mmpretrain's network has read it
    back.

    Args:
        source (str): File or URL: a checkpoint of SparK, facebookresearch/mae
            or unilm.
        out (str or Path): File to write, ``.pth``.
        num_heads (int, optional): Heads of a ViT of an unpublished size.
            Defaults to None.

    Returns:
        Import: What was written.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ConfigError: If it is another kind of checkpoint; nothing is written
            then.
    """
    out = Path(out)
    if out.suffix != '.pth':
        raise ConfigError(f'{out}: the name of the file must end in .pth')
    read_checkpoint(source, 'source')
    state = read_state_dict(source)
    found = find_cnn(state, source) or find_vit(state, source, num_heads)
    if found is None:
        shown = ', '.join(list(state)[:3])
        raise ConfigError(
            f'{source}: is no checkpoint of SparK, MAE or BEiT; '
            f'its keys begin with {shown}'
        )
    backbone, weights = found
    # The outputs of a student are the maps of all stages.
    network = dict(backbone)
    if backbone['type'] == 'ConvNeXt':
        network.update(out_indices=(0, 1, 2, 3), gap_before_final_norm=False)
    absent = _check(network, weights, source)
    if backbone['type'] == 'ConvNeXt':
        # Norms that do nothing but normalize, as at their initialization.
        for key in absent:
            size = len(weights[f'stages.{key[4]}.0.depthwise_conv.weight'])
            start = torch.ones if key.endswith('weight') else torch.zeros
            weights[key] = start(size)
    model = dict(type='ImageClassifier', backbone=network)
    config = Config(dict(model=model))
    stored = {f'backbone.{key}': value for key, value in weights.items()}
    with partial_file(out) as partial:
        write_checkpoint(partial, config, stored)
        read_back(_build(network), partial, stored, 'backbone.')
    return Import(network, len(weights), absent, _usage(network, out))


def _check(
    network: dict[str, Any], weights: State, source: str
) -> tuple[str, ...]:
    """Compare with mmpretrain's network.

    Returns the keys that the pre-training has no layers for: the norms of
    ConvNeXt's maps, and mask tokens.
    """
    own = _build(network).state_dict()
    differences = find_differences(own, weights)
    absent = tuple(differences['missing'])
    differences['missing'] = [
        key
        for key in absent
        if not key.startswith(
            ('norm0.', 'norm1.', 'norm2.', 'norm3.', 'mask_token')
        )
        and not key.endswith('relative_position_index')
    ]
    lines = summarize(differences)
    if lines:
        raise ConfigError(
            f'{source}: does not fit the mmpretrain '
            f'{network["type"]} ({"; ".join(lines)})'
        )
    return absent


def _build(network: dict[str, Any]) -> torch.nn.Module:
    return MODELS.build({'_scope_': 'mmpretrain', **network})


def _usage(network: dict[str, Any], out: Path) -> str:
    if network['type'] in ('ResNet', 'ConvNeXt'):
        return backbone_usage(network, out)
    options = ''.join(f'        {k}={v!r},\n' for k, v in network.items())
    return (
        "teacher = dict(\n    type='mmhgkd.MIMTeacher',\n"
        f'    backbone=dict(\n{options[:-2]}),\n'
        f"    checkpoint='{out}')"
    )
