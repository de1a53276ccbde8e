from torch import nn

from mmhgkd.sparse import (
    MaskedFeature,
    PackedFeature,
    SparseFeature,
    SpconvFeature,
    TorchPackedFeature,
    ZeroFilledFeature,
)
from mmhgkd.utils import ConfigError

__all__ = ['BACKENDS', 'check_backend']

BACKENDS: dict[str, type[SparseFeature]] = {
    'masked': MaskedFeature,
    'packed': PackedFeature,
    'packed_torch': TorchPackedFeature,
    'spconv': SpconvFeature,
    'zero_filled': ZeroFilledFeature,
}


def check_backend(backend: str, network: nn.Module) -> None:
    """Check that a backend computes a network.

    Args:
        backend (str): Name of the backend.
        network (nn.Module): The network, with all its layers.

    Raises:
        ConfigError: If there is no such backend, its package is missing, or
            it has no form of a layer.
    """
    if backend not in BACKENDS:
        raise ConfigError(
            f'backbone `backend` must be one of '
            f'{sorted(BACKENDS)}, got {backend!r}'
        )
    BACKENDS[backend].check_network(network)
