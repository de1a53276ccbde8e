from abc import ABCMeta, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from mmhgkd.masks import UnitMask
from mmhgkd.utils import ConfigError, one_of

from .image_input import ImageInput
from .precision import computes_bfloat16, in_bfloat16, round_weights
from .target_norm import TARGET_NORMS, normalize_target

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
COMBINATIONS = ('concat', 'mean')


class BaseTeacher(ImageInput, metaclass=ABCMeta):
    """Base of the frozen teachers of H-GKD.

    A teacher turns images into one token per patch. It is never trained: no
    parameter asks for a gradient, :meth:`train` leaves it in evaluation mode
    (a drop path that comes back to life would make the target random), and
    the forward pass records no graph.

    A subclass sets up its network after ``super().__init__``, calls
    :meth:`freeze` and implements :meth:`extract_tokens`.

    Args:
        embed_dims (int): Width of a token of one layer.
        patch_size (int): Side of a patch in pixels.
        mean (Sequence[float]): RGB means, in 0..255, of the normalization
            that the teacher was trained with.
        std (Sequence[float]): RGB standard deviations, in 0..255, of the
            normalization that the teacher was trained with.
        input (str): What the teacher sees: 'full', the whole image, or
            'visible', only the patches that the student sees, as in `Masked
            Autoencoders Enable Efficient Knowledge Distillers
            <https://arxiv.org/abs/2208.12256>`_ and `Generic-to-Specific
            Distillation of Masked Autoencoders
            <https://arxiv.org/abs/2302.14771>`_. Defaults to 'full'.
        target_norm (str): Normalization of the tokens. Each on its own:
            'layer_norm' (no affine, eps 1e-6) or 'l2' (unit length). By the
            tokens of the batch, of all ranks, since a teacher's tokens may
            share a mean that is most of their energy: 'batch_norm' (each
            channel has mean 0 and variance 1, eps 1e-6), 'phi_s' (mean 0,
            and one variance for all channels, which for a squared error is
            `PHI-S <https://arxiv.org/abs/2410.01680>`_: its rotation changes
            no distance) or 'whiten' (mean 0, and all directions equally
            strong, so that a few do not hide the others; by the tokens of
            ``group_size`` images each). Or 'none'. Defaults to 'layer_norm'.
        input_size (int or Sequence[int], optional): Side of the square, or
            height and width, in pixels, to which images are resized for the
            teacher, so that for instance patches of 14 px give 14x14 tokens
            of a 224 px image at 196 px. Defaults to None, which keeps the
            size.
        num_layers (int): Layers whose tokens are the target, each normalized
            on its own. Defaults to 1.
        combine (str): How the tokens of several layers become one: 'concat'
            or 'mean'. Defaults to 'concat'.
        group_size (int): Images whose tokens are whitened together.
            Defaults to 16.
        bands (Sequence[int], optional): Channels of the images that the
            teacher sees as red, green and blue, such as (0, 0, 0) of grey
            images. Defaults to None, which means images of these three.
        precision (str): In which its network computes: 'training', what the
            training computes in, 'bfloat16' (on a CPU or a CUDA GPU), or
            'auto', bfloat16 where the GPU, or else an x86 processor, has
            products of it, with which a processor is two to three times as
            fast; a token changes by less than a percent. Normalization is
            not affected. Defaults to 'training'.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(
        self,
        embed_dims: int,
        patch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        input: str = 'full',
        target_norm: str = 'layer_norm',
        input_size: int | Sequence[int] | None = None,
        num_layers: int = 1,
        combine: str = 'concat',
        group_size: int = 16,
        bands: Sequence[int] | None = None,
        precision: str = 'training',
    ) -> None:
        super().__init__(patch_size, mean, std, input_size, bands)
        if group_size < 1:
            raise ConfigError(
                f'`teacher.group_size` must be positive, got {group_size}'
            )
        one_of('`teacher.combine`', combine, COMBINATIONS)
        if input not in ('full', 'visible'):
            raise ConfigError(
                f"`teacher.input` must be 'full' or 'visible', got {input!r}"
            )
        one_of('`teacher.target_norm`', target_norm, TARGET_NORMS)
        self.in_bfloat16 = computes_bfloat16(precision)
        self.combine = combine
        self.group_size = group_size
        #: Width of a target token, ``D``.
        self.embed_dims = embed_dims * (
            num_layers if combine == 'concat' else 1
        )
        self.input = input
        self.target_norm = target_norm

    def freeze(self) -> None:
        """Take all parameters out of training; they have their values."""
        self.requires_grad_(False)
        if self.in_bfloat16:
            round_weights(self)
        self.eval()

    def train(self, mode: bool = True) -> 'BaseTeacher':
        """Stay in evaluation mode, whatever ``mode`` is."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor, mask: UnitMask | None = None) -> Tensor:
        """Compute the target of every patch.

        Args:
            images (Tensor): Normalized images, ``(B, C, H, W)``, of three
                channels or with those of ``bands``.
            mask (UnitMask, optional): Which units the student sees; needed
                by ``input='visible'`` and of no effect otherwise.
                Defaults to None.

        Returns:
            Tensor: Row-major patch tokens, ``(B, L, D)``. With
            ``input='visible'`` those of masked patches are zero.

        Raises:
            ConfigError: If the teacher cannot work on images of this size, or
                ``mask`` is missing or does not fit.
        """
        height, width = images.shape[-2:]
        grid = self.grid(height, width)
        visible = None
        if self.input == 'visible':
            visible = self._visible_patches(mask, height, width, grid)
        layers = [
            normalize_target(tokens, self.target_norm, self.group_size)
            for tokens in self.raw_tokens(images, visible)
        ]
        found = layers[0].size(1)
        if visible is None and found != grid[0] * grid[1]:
            raise ConfigError(
                f'the teacher gives {found} tokens for a grid of {grid[0]}x'
                f'{grid[1]}; take another one, whose tokens are '
                f'{self.patch_size} px apart'
            )
        if self.combine == 'concat':
            tokens = torch.cat(layers, -1)
        else:
            tokens = torch.stack(layers).mean(0)
        if visible is None:
            return tokens
        full = tokens.new_zeros(
            tokens.size(0), grid[0] * grid[1], self.embed_dims
        )
        return full.scatter(1, visible[..., None].expand_as(tokens), tokens)

    def raw_tokens(
        self, images: Tensor, visible: Tensor | None = None
    ) -> list[Tensor]:
        """Patch tokens of each layer, before they are normalized.

        Args:
            images (Tensor): As of :meth:`forward`.
            visible (Tensor, optional): As of :meth:`extract_tokens`.
                Defaults to None.

        Returns:
            list[Tensor]: As of :meth:`extract_tokens`, at least as precise
            as the images.
        """
        images = self.prepare(images)
        with in_bfloat16(self.in_bfloat16, images.device):
            outputs = self.extract_tokens(images, visible)
        return [
            tokens.to(torch.promote_types(tokens.dtype, images.dtype))
            for tokens in outputs
        ]

    @abstractmethod
    def extract_tokens(
        self, images: Tensor, visible: Tensor | None
    ) -> Sequence[Tensor]:
        """Run the network, in the context of the teacher's precision.

        Args:
            images (Tensor): Images as the teacher was trained on.
            visible (Tensor, optional): Flat indices of the patches that the
                network may see, ``(B, V)``. None means all patches.

        Returns:
            Sequence[Tensor]: Patch tokens of each layer, ``(B, L, D)``, or
            ``(B, V, D)`` in the order of ``visible``.
        """

    @staticmethod
    def select_tokens(
        tokens: Tensor, visible: Tensor, num_prefix: int
    ) -> Tensor:
        """Keep the prefix (CLS) and the visible patches, to ``(B, P + V, D)``.

        Args:
            tokens (Tensor): Prefix and patch tokens, ``(B, P + L, D)``.
            visible (Tensor): Flat indices of patches, ``(B, V)``.
            num_prefix (int): Number of prefix tokens, ``P``.
        """
        index = visible[..., None].expand(-1, -1, tokens.size(2))
        patches = tokens[:, num_prefix:].gather(1, index)
        return torch.cat([tokens[:, :num_prefix], patches], dim=1)

    @staticmethod
    def check_layers(layer: int | Sequence[int], depth: int) -> list[int]:
        """Indices of blocks from the front, for ``layer`` from either end.

        Raises:
            ConfigError: If there is no such block, none, or one twice.
        """
        # A word is wrong as a whole, and not by its letters.
        one = not isinstance(layer, Sequence) or isinstance(layer, str)
        layers: Sequence = [layer] if one else layer  # type: ignore[assignment]
        for index in layers:
            if not isinstance(index, int) or not -depth <= index < depth:
                raise ConfigError(
                    f'`teacher.layer` is {index!r}, but the network '
                    f'has {depth} blocks'
                )
        found = sorted({index % depth for index in layers})
        if not found or len(found) < len(layers):
            raise ConfigError(
                '`teacher.layer` must name one block, or several different '
                f'ones, got {layers}'
            )
        return found

    def _visible_patches(
        self,
        mask: UnitMask | None,
        height: int,
        width: int,
        grid: tuple[int, int],
    ) -> Tensor:
        """Flat indices of the patches in visible units, ``(B, V)``."""
        if mask is None:
            raise ConfigError(
                "a teacher with `input='visible'` needs the "
                "student's mask: call teacher(images, mask)"
            )
        unit, rows, columns = mask.unit, mask.rows, mask.columns
        if (height, width) != (rows * unit, columns * unit):
            raise ConfigError(
                f'the mask of {rows}x{columns} units of {unit} px does not '
                f'belong to images of {height}x{width} px'
            )
        block = grid[0] // rows
        if grid != (rows * block, columns * block):
            raise ConfigError(
                f'the {grid[0]}x{grid[1]} patches of the teacher are no '
                f'whole number in each of the {rows}x{columns} mask units; '
                'set `teacher.input_size` so that the patch size divides a '
                "unit, or use `input='full'`"
            )
        return mask._replace(unit=block).positions(1)
