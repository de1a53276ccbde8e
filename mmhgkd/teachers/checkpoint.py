import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, is_distributed
from torch import Tensor, nn

from mmhgkd.utils import ConfigError, safe_files

from .huggingface import from_huggingface

State = dict[str, Tensor]

#: Renames keys of the MAE, BEiT and timm layout to those of mmpretrain.
MMPRETRAIN_NAMES = (
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'^blocks\.', 'layers.'),
    (r'\.norm([12])\.', r'.ln\1.'),
    (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
    (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
    (r'^norm\.', 'ln1.'),
)
#: Renames keys of the mmpretrain layout to those of MAE, BEiT and timm.
TIMM_NAMES = (
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'^layers\.', 'blocks.'),
    (r'\.ln([12])\.', r'.norm\1.'),
    (r'\.ffn\.layers\.0\.0\.', '.mlp.fc1.'),
    (r'\.ffn\.layers\.1\.', '.mlp.fc2.'),
    (r'^ln1\.', 'norm.'),
)
# What a teacher has no use for: decoders, heads, mask tokens, the norm behind
# average pooling, and index tables, which the networks compute themselves.
_UNUSED = re.compile(
    r'^(mask_token$|decoder_|lm_head\.|cls_pt_layers\.|head\.|fc_norm\.|ln2\.|'
    r'attn_pool\.|multi_scale_fusion_heads\.)|(^|\.)relative_position_index$'
)
# Where checkpoints have the weights; the last one is I-JEPA's.
_INNER = ('state_dict', 'model', 'model_state', 'module', 'target_encoder')
_LABELLED = re.compile(
    r'^head\.(fc\.|layers\.head\.|projection\.)?weight$|^fc_norm\.weight$'
)


def require_checkpoint(checkpoint: str | None, allow_random: bool) -> None:
    """Refuse a random teacher that nobody asked for."""
    if checkpoint is None and not allow_random:
        raise ConfigError(
            '`teacher.checkpoint` is not set, and a random teacher teaches '
            'nothing; set it to the file or URL of pre-trained weights (or, '
            'for a test, `teacher.allow_random=True`)'
        )


def load_weights(
    network: nn.Module,
    source: str,
    names: Sequence[tuple[str, str]],
    adapt: Callable[[State], State] | None = None,
) -> None:
    """Load the encoder of a pre-training checkpoint, all of it or not at all.

    Args:
        network (nn.Module): The encoder.
        source (str): File or URL: a PyTorch or safetensors checkpoint of
            facebookresearch/mae and hiera, unilm, SimMIM, I-JEPA, timm,
            mmpretrain, MMEngine or transformers (ViTMAE, DINOv2).
        names (Sequence[tuple[str, str]]): Patterns and replacements that
            turn the keys of other layouts into those of ``network``.
        adapt (Callable, optional): Adapts the renamed weights to the shapes
            of ``network``. Defaults to None.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If the file is no checkpoint, or does not fit.
    """
    state = from_huggingface(read_state_dict(source))
    labelled = [key for key in state if _LABELLED.search(key)]
    if labelled:
        warnings.warn(
            f'{source}: has the head of a classifier ({labelled[0]}), so it '
            'was probably trained or fine-tuned with labels, and these leak '
            'into the student; use a checkpoint of masked image modeling '
            'alone',
            stacklevel=2,
        )
    # Of MMPretrain, and of SimMIM's authors.
    for prefix, part in (('backbone.', ''), ('encoder.', 'patch_embed.')):
        if any(key.startswith(prefix + part) for key in state):
            state = strip_prefix(state, prefix)
    encoder = {rename(key, names): value for key, value in state.items()}
    encoder = {k: v for k, v in encoder.items() if not _UNUSED.search(k)}
    if adapt is not None:
        encoder = adapt(encoder)
    _check_fit(network, encoder, source)
    network.load_state_dict(encoder, strict=False)


def read_state_dict(source: str, option: str = 'teacher.checkpoint') -> State:
    """Read the innermost state dict of a file or URL.

    No code of the file is run; error messages name the ``option``.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If the file cannot be read, or holds no weights.
    """
    content = top = read_checkpoint(source, option)
    while isinstance(content, Mapping):
        inner = [
            content[key]
            for key in _INNER
            if isinstance(content.get(key), Mapping)
        ]
        if not inner:
            break
        content = inner[0]
    state = find_tensors(
        content,
        top,
        f'{source}: holds no weights under '
        f'{", ".join(f"`{key}`" for key in _INNER)} or at its top',
        'save the state dict of the encoder alone, and set '
        '`teacher.checkpoint` to that file',
    )
    # `torch.compile` puts it in front of what it has wrapped.
    state = {key.replace('_orig_mod.', ''): x for key, x in state.items()}
    if all(key.startswith('module.') for key in state):
        state = strip_prefix(state, 'module.')
    return state


def find_tensors(content: object, top: object, lack: str, mend: str) -> State:
    """The tensors among the values of ``content``.

    Raises:
        ConfigError: If there are none; it says ``lack``, what is at the
            ``top`` of the file instead, and how to ``mend`` that.
    """
    state = {}
    if isinstance(content, Mapping):
        state = {k: v for k, v in content.items() if isinstance(v, Tensor)}
    if not state:
        keys = top if isinstance(top, Mapping) else [type(top).__name__]
        found = ', '.join(map(str, keys))
        raise ConfigError(f'{lack}, but: {found}; {mend}')
    return state


def read_checkpoint(source: str, option: str = 'teacher.checkpoint') -> object:
    """Read a file or URL without running code from it.

    Every object that is neither a tensor nor a plain container is replaced;
    error messages name the ``option``.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If the file cannot be read.
    """
    if urlparse(source).scheme in ('http', 'https'):
        path = _download(source, option)
    else:
        path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such file; set `{option}` to the file or URL of the '
            'pre-trained weights'
        )
    return safe_files.read_checkpoint(path, option)


def _download(url: str, option: str) -> Path:
    """Download into the cache of torch.hub, once for a machine."""
    # The same file name is in use at many places.
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    path = folder / f'{digest}-{Path(urlparse(url).path).name}'
    waits = is_distributed() and os.environ.get('LOCAL_RANK', '0') != '0'
    if not path.is_file() and not waits:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path))
        except (URLError, OSError) as error:
            raise ConfigError(
                f'{url}: cannot be downloaded ({error}); download it in '
                f'another way, and set `{option}` to the file'
            ) from error
    barrier()
    return path


def rename(key: str, patterns: Iterable[tuple[str, str]]) -> str:
    """Apply all patterns and replacements to a key, one after the other."""
    for pattern, replacement in patterns:
        key = re.sub(pattern, replacement, key)
    return key


def strip_prefix(state: Mapping[str, Tensor], prefix: str) -> State:
    """Keep the keys that start with ``prefix``, without it."""
    return {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix)
    }


def _check_fit(network: nn.Module, state: State, source: str) -> None:
    """Compare keys and shapes."""
    own = {
        key: value
        for key, value in network.state_dict().items()
        if not _UNUSED.search(key)
    }
    differences = find_differences(own, state)
    lines = summarize(differences)
    if lines:
        raise ConfigError(
            f'{source}: the weights do not fit {type(network).__name__}, '
            f'{_advice(differences)}\n'
            + '\n'.join(f'  {line}' for line in lines)
        )


def _advice(differences: Mapping[str, Sequence[str]]) -> str:
    """What to change so that weights fit, as far as the keys tell."""
    if 'reg_token' in differences['unexpected']:
        return (
            'which has no register tokens, but they have; choose a network '
            "with them, such as 'vit_base_patch14_reg4_dinov2.lvd142m'"
        )
    if 'reg_token' in differences['missing']:
        return (
            'which has register tokens, but they have none; choose a network '
            "without `reg4`, such as 'vit_base_patch14_dinov2.lvd142m'"
        )
    if any(key.endswith('qkv.bias') for key in differences['unexpected']):
        return (
            'whose queries and values have no bias, but theirs do; choose a '
            'network with it, such as by `model_args=dict(qkv_bias=True)`'
        )
    return 'choose its architecture as in the pre-training'


def find_differences(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> dict[str, list[str]]:
    """Compare the keys and shapes of a network and of a checkpoint.

    Returns:
        dict[str, list[str]]: The keys that are 'missing' from the
        checkpoint, the 'unexpected' ones, and those 'of another shape'.
    """
    return {
        'missing': [key for key in own if key not in state],
        'unexpected': [key for key in state if key not in own],
        'of another shape': [
            f'{key} {tuple(state[key].shape)}, not {tuple(value.shape)}'
            for key, value in own.items()
            if key in state
            and not _same_shape(key, state[key].shape, value.shape)
        ],
    }


def summarize(differences: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each kind of :func:`find_differences` that there is."""
    return [
        f'{len(keys)} {kind}: '
        + ', '.join(keys[:5])
        + (', ...' if len(keys) > 5 else '')
        for kind, keys in differences.items()
        if keys
    ]


def _same_shape(key: str, loaded: torch.Size, own: torch.Size) -> bool:
    """Equal shapes, but the network itself resizes position embeddings."""
    if key == 'pos_embed':
        return loaded[::2] == own[::2]
    return loaded == own
