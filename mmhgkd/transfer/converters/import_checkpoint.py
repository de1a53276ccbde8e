import io
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS

from mmhgkd.teachers.checkpoint import (
    find_differences,
    read_checkpoint,
    read_state_dict,
    summarize,
)
from mmhgkd.utils import ConfigError

from .import_cnn import find_cnn
from .import_vit import find_vit
from .student import State


class Import(NamedTuple):
    """What an import has written.

    Args:
        backbone (dict): Config of mmpretrain's network.
        tensors (int): Number of tensors in the file.
        absent (tuple[str]): Keys of the network that the checkpoint lacks;
            those of norms are written as they are initialized.
        usage (str): Part of a config that loads the file.
    """

    backbone: dict[str, Any]
    tensors: int
    absent: tuple[str, ...]
    usage: str


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
    text = Config(
        {'model': dict(type='ImageClassifier', backbone=network)}
    ).pretty_text
    buffer = io.BytesIO()
    torch.save(
        {
            'meta': {'cfg': text},
            'state_dict': {
                f'backbone.{key}': value for key, value in weights.items()
            },
        },
        buffer,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f'.{out.stem}.partial{out.suffix}')
    try:
        partial.write_bytes(buffer.getvalue())
        _read_back(network, weights, partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return Import(network, len(weights), absent, _usage(network, out))


def _check(
    network: dict[str, Any], weights: State, source: str
) -> tuple[str, ...]:
    """Compare with mmpretrain's network.

    Returns:
        tuple[str]: Keys that the pre-training has no layers for: the norms of
        ConvNeXt's maps, and mask tokens.
    """
    own = MODELS.build({'_scope_': 'mmpretrain', **network}).state_dict()
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


def _read_back(network: dict[str, Any], weights: State, path: Path) -> None:
    """Load the file by MMEngine, and compare every tensor."""
    model = MODELS.build({'_scope_': 'mmpretrain', **network})
    load_checkpoint(
        model, str(path), revise_keys=[(r'^backbone\.', '')], logger='silent'
    )
    own = model.state_dict()
    lost = [
        key
        for key, value in weights.items()
        if not torch.equal(own[key], value)
    ]
    if lost:
        raise ConfigError(f'{path}: read back, {", ".join(lost)} differ')


def _usage(network: dict[str, Any], out: Path) -> str:
    options = ''.join(
        f'    {key}={value!r},\n' for key, value in network.items()
    )
    if network['type'] in ('ResNet', 'ConvNeXt'):
        return (
            f'backbone = dict(\n{options}    init_cfg=dict(\n'
            "        type='Pretrained',\n"
            f"        checkpoint='{out}',\n"
            "        prefix='backbone.'))"
        )
    nested = ''.join(f'    {line}\n' for line in options.splitlines())
    return (
        "teacher = dict(\n    type='mmhgkd.MIMTeacher',\n"
        f'    backbone=dict(\n{nested[:-2]}),\n'
        f"    checkpoint='{out}')"
    )
