import copyreg
import functools
from typing import Any

from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import nn

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError

from .distributed_norms import synchronize_norms
from .sparse_network import SparseNetwork


@MODELS.register_module(name='SparseNetwork')
def sparsify(
    network: nn.Module | dict, backend: str = 'packed', sync_norm: bool = True
) -> nn.Module:
    """Make a dense CNN of mmpretrain or timm a sparse student, in place.

    The network keeps its weights and the keys of its state dict, and
    computes what it did where it gets no mask. In a config::

        backbone=dict(
            type='mmhgkd.SparseNetwork',
            network=dict(
                type='mmpretrain.TIMMBackbone',
                model_name='resnet26d',
                features_only=True,
                out_indices=(1, 2, 3, 4)))

    Args:
        network (nn.Module or dict): The network, or its config. It takes
            images and returns the feature maps of its stages.
        backend (str): How sparse features are held and computed, see
            :class:`SparseResNet`. Defaults to 'packed'.
        sync_norm (bool): Whether batch norms are synchronized over ranks;
            those that are already stay so. Defaults to True.

    Returns:
        nn.Module: The same network, whose forward also takes a ``UnitMask``;
        see :class:`SparseNetwork`.

    Raises:
        ConfigError: If the backend is unknown or its package is missing, or
            layers have no sparse form. All of them are named, and the network
            stays as it was.
    """
    if isinstance(network, dict):
        network = MMPRETRAIN_MODELS.build(network)
    if isinstance(network, SparseNetwork):
        raise ConfigError(f'{type(network).__name__} is sparse already')
    dense: Any = type(network)
    network.__class__ = _sparse_class(dense)
    assert isinstance(network, SparseNetwork)
    try:
        network.make_sparse(backend)
    except ConfigError:
        network.__class__ = dense
        raise
    if sync_norm:
        synchronize_norms(network)
    return network


class _Sparsified(SparseNetwork):
    """Network of a class that is made at run time, so no module has it."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        made, arguments, *state = tuple(super().__reduce_ex__(protocol))
        if made is not copyreg.__newobj__:  # type: ignore[attr-defined]
            return made, arguments, *state
        return _empty, (type(self).__bases__[1],), *state


@functools.cache
def _sparse_class(dense: Any) -> Any:
    return type(f'Sparse{dense.__name__}', (_Sparsified, dense), {})


def _empty(dense: Any) -> nn.Module:
    """Sparse network without its state, for copies and pickles."""
    sparse = _sparse_class(dense)
    return sparse.__new__(sparse)
