import matplotlib
import numpy as np
import torch
from torch import Tensor

from mmhgkd.report.pieces import TILE

from .saliency import Saliency
from .tile_grid import GRAY, draw_tiles
from .token_pca import TokenPCA

CAPTION = (
    'Equal color means equal feature: red, green and blue are the first three '
    'principal components of {}. Gray is hidden, or does not count.'
)


def feature_panel(
    images: Tensor,
    visible: Tensor,
    student: Tensor,
    teacher: Tensor,
    reconstruction: Tensor | None = None,
    height: int = TILE,
    counted: Tensor | None = None,
    predicted: Tensor | None = None,
    saliency: Saliency | None = None,
    pixels: bool = False,
) -> np.ndarray:
    """Draw what a student imitates and where it fails, a row per image.

    The columns and the arguments are those of :func:`feature_columns`;
    ``height`` is that of an image in the panel in pixels, 224 by default. The
    rows share the scale of the error.

    Returns:
        np.ndarray: The panel, ``(H', W', 3)`` uint8 RGB.

    Raises:
        ValueError: If shapes, types or the range of the images do not fit,
            or features hold NaN.
    """
    columns = feature_columns(
        images,
        visible,
        student,
        teacher,
        reconstruction,
        counted,
        predicted,
        saliency,
        pixels,
    )
    return draw_columns(columns, pixels, height)


def draw_columns(
    columns: dict[str, np.ndarray], pixels: bool = False, height: int = TILE
) -> np.ndarray:
    """Draw the result of :func:`feature_columns`, with a caption.

    Returns:
        np.ndarray: The panel, ``(H', W', 3)`` uint8 RGB.

    Raises:
        ValueError: If the height is below 1.
    """
    if height < 1:
        raise ValueError(f'`height` must be at least 1 px, got {height}')
    rows, columns_of_image = columns['Image'].shape[1:3]
    width = round(height * columns_of_image / rows)
    target = 'the pixels' if pixels else "the teacher's features"
    caption = CAPTION.format(target)
    return draw_tiles(columns, height, width, caption, has_scale=True)


def feature_columns(
    images: Tensor,
    visible: Tensor,
    student: Tensor,
    teacher: Tensor,
    reconstruction: Tensor | None = None,
    counted: Tensor | None = None,
    predicted: Tensor | None = None,
    saliency: Saliency | None = None,
    pixels: bool = False,
) -> dict[str, np.ndarray]:
    """The pictures of a panel by their titles, one per image.

    They are the image, what the student sees of it, reconstructed pixels if
    given, the teacher's and the student's tokens as colors of the teacher's
    principal components (see :class:`TokenPCA`), the saliency if given, and
    the error of each token. All images share the basis.

    Args:
        images (Tensor): RGB images ``(B, 3, H, W)``, uint8 or float in
            ``[0, 1]``.
        visible (Tensor): Pixels that the student sees, ``(B, 1, H, W)`` bool,
            as from ``mask.visible(1)``.
        student (Tensor): Student tokens, ``(B, h, w, D)``.
        teacher (Tensor): Target tokens, ``(B, h, w, D)``.
        reconstruction (Tensor, optional): Reconstructed images in the form of
            ``images``; floats are clipped. Defaults to None.
        counted (Tensor, optional): Tokens whose error is shown,
            ``(B, h, w)`` bool, such as those that the loss counts. Defaults
            to None, which means all.
        predicted (Tensor, optional): Tokens that the student gives,
            ``(B, h, w)`` bool; the others stay gray. Defaults to None, which
            means all.
        saliency (Saliency, optional): Of :func:`unit_saliency`. Each image
            has its own scale, black is zero, and a frame marks the token.
            Defaults to None.
        pixels (bool): Whether the targets are pixels and no teacher's
            features, which the titles say. Defaults to False.

    Returns:
        dict[str, np.ndarray]: RGB ``(B, h', w', 3)`` in ``[0, 1]``; the last
        is the error, ``(B, h, w)``, NaN where it does not count.

    Raises:
        ValueError: If shapes, types or the range of the images do not fit,
            or features hold NaN.
    """
    _check_images(images, visible, reconstruction)
    _check_tokens(len(images), student, teacher, counted)
    pca = TokenPCA(teacher)
    pictures = _pictures(images)
    seen = visible.cpu().permute(0, 2, 3, 1).numpy()
    columns = {
        'Image': pictures,
        'Student sees': np.where(seen, pictures, GRAY),
    }
    if reconstruction is not None:
        columns['Reconstruction'] = _pictures(reconstruction)
    columns['Pixels (target)' if pixels else 'Teacher'] = pca(teacher)
    columns['Student'] = pca(student)
    if predicted is not None:
        columns['Student'][~predicted.cpu().numpy()] = GRAY
    if saliency is not None:
        columns['Saliency'] = _saliency_tiles(saliency, seen, teacher.shape)
    error = token_error(student, teacher)
    if counted is not None:
        error[~counted.cpu().numpy()] = np.nan
    return {**columns, 'Squared error': error}


def token_error(student: Tensor, teacher: Tensor) -> np.ndarray:
    """Mean squared error of each token, ``(..., D)`` to ``(...)`` float64."""
    student, teacher = student.detach().double(), teacher.detach().double()
    return (student - teacher).square().mean(dim=-1).cpu().numpy()


def _pictures(images: Tensor) -> np.ndarray:
    """Images as ``(B, H, W, 3)`` float in ``[0, 1]``."""
    scale = 255 if images.dtype == torch.uint8 else 1
    pictures = images.detach().cpu().float() / scale
    return pictures.clamp(0, 1).permute(0, 2, 3, 1).numpy()


def _saliency_tiles(
    saliency: Saliency, seen: np.ndarray, grid: torch.Size
) -> np.ndarray:
    """Saliency in colors, with a frame around the token, ``(B, H, W, 3)``.

    ``seen`` are the visible pixels, ``grid`` is the shape of the tokens.
    """
    height, width = seen.shape[1:3]
    values = saliency.units.cpu().numpy()
    values = values / values.max(axis=(1, 2), keepdims=True).clip(1e-30)
    block = (height // values.shape[1], width // values.shape[2])
    tiles = np.kron(values, np.ones((1, *block)))
    tiles = np.where(
        seen, matplotlib.colormaps['inferno'](tiles)[..., :3], GRAY
    )
    patch = (height // grid[1], width // grid[2])
    edge = max(1, height // 48)
    for tile, token in zip(tiles, saliency.tokens.tolist(), strict=True):
        top, left = (i * size for i, size in zip(token, patch, strict=True))
        frame = tile[top : top + patch[0], left : left + patch[1]]
        inside = frame[edge:-edge, edge:-edge].copy()
        frame[:] = 1
        frame[edge:-edge, edge:-edge] = inside
    return tiles


def _check_images(
    images: Tensor, visible: Tensor, reconstruction: Tensor | None
) -> None:
    shape = tuple(images.shape)
    if images.ndim != 4 or images.size(1) != 3 or not images.numel():
        raise ValueError(
            f'`images` must be RGB images (B, 3, H, W), got the shape {shape}'
        )
    if images.dtype != torch.uint8 and not (
        images.is_floating_point() and images.min() >= 0 and images.max() <= 1
    ):
        raise ValueError(
            '`images` must be uint8 or float in [0, 1]; undo the '
            'normalization of the data preprocessor first'
        )
    mask_shape = (len(images), 1, *shape[2:])
    if visible.shape != mask_shape or visible.dtype != torch.bool:
        raise ValueError(
            f'`visible` must be bool {mask_shape}, got {visible.dtype} '
            f'{tuple(visible.shape)}; use `mask.visible(1)`'
        )
    if reconstruction is not None and reconstruction.shape != shape:
        raise ValueError(
            f'`reconstruction` must have the shape {shape} of `images`, got '
            f'{tuple(reconstruction.shape)}'
        )


def _check_tokens(
    num: int, student: Tensor, teacher: Tensor, counted: Tensor | None
) -> None:
    shape = tuple(student.shape)
    if shape != teacher.shape or len(shape) != 4 or len(student) != num:
        raise ValueError(
            '`student` and `teacher` must be tokens (B, h, w, D) of the same '
            f'images, got {shape} and {tuple(teacher.shape)} for {num} images'
        )
    if counted is not None and (
        counted.shape != shape[:3] or counted.dtype != torch.bool
    ):
        raise ValueError(
            f'`counted` must be bool {shape[:3]}, got {counted.dtype} '
            f'{tuple(counted.shape)}'
        )
