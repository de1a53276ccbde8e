from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mmhgkd.algorithms import HGKD
from mmhgkd.masks import RandomUnitMask
from mmhgkd.report.pieces import TILE

from .tile_grid import draw_tiles
from .token_pca import TokenPCA

CAPTION = (
    'Within a column, equal color means equal feature: red, green and blue '
    'are the first three principal components of that column. Colors of two '
    'columns cannot be compared. Good features give alike parts one color, '
    'in all photos, and unlike parts another.'
)


def student_panel(
    images: Tensor, features: Mapping[str, Tensor], height: int = TILE
) -> np.ndarray:
    """Draw the features that several networks have of the same images.

    A row is an image, and a column a network. The networks have features of
    different widths and meanings, so each has its own basis of principal
    components, of all its images together.

    Args:
        images (Tensor): RGB images ``(B, 3, H, W)``, float in ``[0, 1]``.
        features (Mapping[str, Tensor]): Maps by the name of the network,
            ``(B, h, w, D)``.
        height (int): Height of an image in the panel in pixels.
            Defaults to 224.

    Returns:
        np.ndarray: The panel, ``(H', W', 3)`` uint8 RGB.

    Raises:
        ValueError: If a map is not of these images, has fewer than three
            positions or channels, or holds NaN.
    """
    columns = {'Image': images.permute(0, 2, 3, 1).cpu().numpy()}
    for name, maps in features.items():
        if maps.ndim != 4 or len(maps) != len(images):
            raise ValueError(
                f'features of {name!r} must be maps (B, h, w, D) of the '
                f'{len(images)} images, got {tuple(maps.shape)}'
            )
        columns[name] = TokenPCA(maps)(maps)
    width = round(height * images.size(3) / images.size(2))
    return draw_tiles(columns, height, width, CAPTION)


@torch.no_grad()
def student_features(model: HGKD, images: Tensor) -> Tensor:
    """The last map of the student of whole images, ``(B, h, w, D)``.

    ``images`` are RGB in ``[0, 1]``, ``(B, 3, H, W)``.
    """
    features = model.extract_feat(_normalized(model, images))
    return features[-1].permute(0, 2, 3, 1)


@torch.no_grad()
def teacher_features(model: HGKD, images: Tensor) -> Tensor:
    """The targets of whole images, ``(B, h, w, D)``.

    ``images`` are RGB in ``[0, 1]``, ``(B, 3, H, W)``.
    """
    inputs = _normalized(model, images)
    # A teacher that sees what the student does is shown everything.
    nothing = RandomUnitMask(model.mask.unit, 0)
    height, width = inputs.shape[2:]
    mask = nothing.draw(len(inputs), height, width, 0, inputs.device)
    grid = model.teacher.grid(height, width)
    return model.teacher(inputs, mask).unflatten(1, grid)


def _normalized(model: HGKD, images: Tensor) -> Tensor:
    preprocessor = model.data_preprocessor
    return (255 * images - preprocessor.mean) / preprocessor.std
