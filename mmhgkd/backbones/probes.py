"""Images on which a network is tried before it is a sparse one."""

import math

from timm.layers import to_2tuple
from torch import nn

__all__ = ['probe_shapes']


def probe_shapes(network: nn.Module) -> list[tuple[int, int, int]]:
    """Channels, height and width of images that a network may take.

    Args:
        network (nn.Module): The dense network.

    Returns:
        list[tuple[int, int, int]]: The likely one first.
    """
    convs = (m for m in network.modules() if isinstance(m, nn.Conv2d))
    channels = next((conv.in_channels for conv in convs), 3)
    size = _probe_size(network)
    if any('pos_embed' in name for name, _ in network.named_parameters()):
        # Embeddings of positions are those of one size of images.
        given = (getattr(m, 'img_size', None) for m in network.modules())
        sides = next((sides for sides in given if sides is not None), size)
        height, width = to_2tuple(sides)
        return [(channels, height, width)]
    # No two axes are of one size, so that none is taken for another.
    shapes = [(channels, size, 2 * size)]
    if channels != 3:
        # What comes before the first convolution may have folded pixels.
        shapes.append((3, size, 2 * size))
    return shapes


def _probe_size(network: nn.Module) -> int:
    """Pixels of a unit that the strides of a network divide."""
    strides = {
        side
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
        for side in module.stride
    }
    # Patches of 7 or 14 px come first, and are not halved often.
    odd = math.lcm(*(side // (side & -side) for side in strides))
    return 64 if odd == 1 else 8 * odd
