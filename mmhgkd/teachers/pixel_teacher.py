from collections.abc import Sequence

import torch
from torch import Tensor

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError

from .base_teacher import IMAGENET_MEAN, IMAGENET_STD, BaseTeacher

EPS = 1e-6


@MODELS.register_module()
class PixelTeacher(BaseTeacher):
    """The pixels themselves as the target: the baseline without a teacher.

    The target of `Designing BERT for Convolutional Networks: Sparse and
    Hierarchical Masked Modeling <https://arxiv.org/abs/2301.03580>`_ (SparK),
    and with equal ``norm_unit`` and ``patch_size`` that of MAE: each square
    of the image is normalized by the mean and the unbiased variance of all
    its values. A token lists the pixels of its patch row by row, the three
    channels of a pixel side by side.

    Args:
        patch_size (int): Side of a patch in pixels. Defaults to 16.
        norm_unit (int): Side in pixels of the squares that are normalized.
            Defaults to 32.
        mean (Sequence[float]): RGB means, in 0..255, of the images that the
            target is made of. Defaults to ImageNet's.
        std (Sequence[float]): RGB standard deviations, in 0..255, of the
            images that the target is made of. Defaults to ImageNet's.

    Raises:
        ConfigError: If ``norm_unit`` is no multiple of ``patch_size``.
    """

    def __init__(
        self,
        patch_size: int = 16,
        norm_unit: int = 32,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        bands: Sequence[int] | None = None,
    ) -> None:
        if patch_size < 1 or norm_unit < 1 or norm_unit % patch_size:
            raise ConfigError(
                f'`teacher.norm_unit` ({norm_unit} px) must be a multiple of '
                f'`teacher.patch_size` ({patch_size} px)'
            )
        super().__init__(
            3 * patch_size**2,
            patch_size,
            mean,
            std,
            target_norm='none',
            bands=bands,
        )
        self.norm_unit = norm_unit

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """See :class:`BaseTeacher`; a whole number of ``norm_unit``, too."""
        if height % self.norm_unit or width % self.norm_unit:
            raise ConfigError(
                f'an image of {height}x{width} px is no whole number of '
                f'`teacher.norm_unit` squares of {self.norm_unit} px'
            )
        return super().grid(height, width)

    def extract_tokens(
        self, images: Tensor, visible: Tensor | None
    ) -> Sequence[Tensor]:
        """Normalized pixels of every patch, ``(B, L, 3 * patch_size**2)``."""
        mean, std = self._statistics(images)
        normalized = (
            (self._blocks(images, self.norm_unit) - mean) / std
        ).reshape(images.shape)
        patches = self._blocks(normalized, self.patch_size)
        return [patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)]

    @torch.no_grad()
    def to_images(self, tokens: Tensor, images: Tensor) -> Tensor:
        """Turn predicted tokens into images, for pictures.

        Args:
            tokens (Tensor): Predicted tokens, ``(B, L, D)``.
            images (Tensor): The true images, ``(B, C, H, W)``, whose
                statistics undo the normalization.

        Returns:
            Tensor: ``(B, 3, H, W)``, normalized as ``images``, of which it
            is the channels that the teacher sees.
        """
        rows, columns = self.grid(*images.shape[-2:])
        images = self.prepare(images)
        mean, std = self._statistics(images)
        pixels = tokens.reshape(
            -1, rows, columns, self.patch_size, self.patch_size, 3
        )
        normalized = pixels.permute(0, 5, 1, 3, 2, 4).reshape(images.shape)
        restored = (
            self._blocks(normalized, self.norm_unit) * std + mean
        ).reshape(images.shape)
        return (restored - self.input_shift) / self.input_scale

    def _statistics(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of every square, ``(B, 1, h, 1, w, 1)``."""
        variance, mean = torch.var_mean(
            self._blocks(images, self.norm_unit), dim=(1, 3, 5), keepdim=True
        )
        return mean, (variance + EPS).sqrt()

    @staticmethod
    def _blocks(images: Tensor, side: int) -> Tensor:
        """Cut images into squares, ``(B, 3, H/side, side, W/side, side)``."""
        batch, channels, height, width = images.shape
        return images.reshape(
            batch, channels, height // side, side, width // side, side
        )
