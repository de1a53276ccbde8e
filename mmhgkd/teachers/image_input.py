"""What a teacher sees of the images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmhgkd.utils import ConfigError


class ImageInput(nn.Module):
    """The part of a teacher that brings images into the form that it knows.

    It chooses bands, normalizes and resizes.

    Args:
        patch_size (int): Side of a patch in pixels.
        mean (Sequence[float]): RGB means, in 0..255, of the normalization
            that the teacher was trained with.
        std (Sequence[float]): RGB standard deviations, likewise.
        input_size (int or Sequence[int], optional): Side of the square, or
            height and width, to which images are resized. Defaults to None,
            which keeps the size.
        bands (Sequence[int], optional): Channels that are seen as red, green
            and blue. Defaults to None, which means images of these three.

    Raises:
        ConfigError: If an argument is out of range.
    """

    input_scale: Tensor
    input_shift: Tensor

    def __init__(
        self,
        patch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        input_size: int | Sequence[int] | None = None,
        bands: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if bands is not None and (
            len(bands) != 3
            or any(type(band) is not int or band < 0 for band in bands)
        ):
            raise ConfigError(
                '`teacher.bands` must be the indices of three channels, those '
                f'for red, green and blue, got {bands!r}'
            )
        #: Channels that are seen as red, green and blue, None = the images'.
        self.bands = None if bands is None else tuple(bands)
        if isinstance(input_size, int):
            input_size = (input_size, input_size)
        if input_size is not None and (
            len(input_size) != 2
            or any(
                side < patch_size or side % patch_size for side in input_size
            )
        ):
            raise ConfigError(
                '`teacher.input_size` must be a multiple of the patch size '
                f'of {patch_size} px, or two of them, got {input_size}'
            )
        self.patch_size = patch_size
        self.input_size: tuple[int, int] | None = None
        if input_size is not None:
            self.input_size = (input_size[0], input_size[1])
        #: The one grid that the network can work on, None = any.
        self.fixed_grid: tuple[int, int] | None = None
        #: What builds the network for another size, '' = nothing.
        self.size_option = ''
        self.mean = _image_statistics('mean', mean)
        self.std = _image_statistics('std', std)
        for name, value in (('input_scale', 1.0), ('input_shift', 0.0)):
            buffer = torch.full((3, 1, 1), value)
            self.register_buffer(name, buffer, persistent=False)
        self.renormalize = False

    def set_image_norm(
        self, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor
    ) -> None:
        """Tell how the images that come in are normalized.

        The student's preprocessor and the teacher's pre-training may differ
        in their statistics. Without this call the images are taken to be
        normalized by the teacher's own.

        Args:
            mean (Sequence[float] or Tensor): Means in 0..255, of RGB or of
                all channels among which ``bands`` chooses.
            std (Sequence[float] or Tensor): Deviations, likewise.

        Raises:
            ConfigError: If there are not as many as channels.
        """
        mean = self._of_bands('mean', mean)
        std = self._of_bands('std', std)
        mean = _image_statistics('mean', mean)
        std = _image_statistics('std', std)
        # Not equality: preprocessors round their statistics to fp32.
        same = torch.allclose(mean, self.mean) and torch.allclose(
            std, self.std
        )
        self.renormalize = not same
        self.input_scale.copy_((std / self.std).view(3, 1, 1))
        self.input_shift.copy_(((mean - self.mean) / self.std).view(3, 1, 1))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens for images of a size in pixels.

        Raises:
            ConfigError: If the teacher cannot work on such images.
        """
        size = self.input_size or (height, width)
        if self.fixed_grid is not None:
            rows, columns = self.fixed_grid
            if height * columns != width * rows:
                other = ''
                if self.size_option:
                    other = (
                        f', build it for them by `{self.size_option}='
                        f'({height}, {width})`'
                    )
                raise ConfigError(
                    f'this teacher takes images of {rows * self.patch_size}x'
                    f'{columns * self.patch_size} px only, and {height}x'
                    f'{width} px have another shape; let the pipeline crop '
                    f'such a shape{other}, or take a teacher for any size, '
                    'such as MAE'
                )
        if height * size[1] != width * size[0]:
            raise ConfigError(
                f'resizing {height}x{width} px to `teacher.input_size` '
                f'{size[0]}x{size[1]} would distort the images; set it '
                'to (height, width) of their aspect ratio'
            )
        patch = self.patch_size
        if size[0] % patch or size[1] % patch:
            raise ConfigError(
                f'an image of {size[0]}x{size[1]} px is no whole number of '
                f"the teacher's patches of {patch} px; set "
                f'`teacher.input_size` to a multiple of {patch}'
            )
        grid = (size[0] // patch, size[1] // patch)
        if self.fixed_grid not in (None, grid):
            rows, columns = self.fixed_grid
            raise ConfigError(
                f'this teacher takes images of {rows * patch}x'
                f'{columns * patch} px only, got {size[0]}x{size[1]}; set '
                f'`teacher.input_size` to ({rows * patch}, '
                f'{columns * patch})'
            )
        return grid

    def choose_bands(self, images: Tensor) -> Tensor:
        """Red, green and blue as the teacher sees them, ``(B, 3, H, W)``.

        Raises:
            ConfigError: If the images have not these channels.
        """
        channels = images.size(1)
        if self.bands is None:
            if channels != 3:
                raise ConfigError(
                    f'the images have {channels} channels, and the teacher '
                    'sees three; set `teacher.bands` to those that it takes '
                    'as red, green and blue, such as (0, 0, 0) of grey images'
                )
            return images
        self._check_bands(channels, 'the images have')
        return torch.stack([images[:, band] for band in self.bands], 1)

    def _check_bands(self, channels: int, what: str) -> None:
        if self.bands is not None and max(self.bands) >= channels:
            raise ConfigError(
                f'`teacher.bands` is {self.bands}, but {what} {channels} '
                f'channels; choose of 0 to {channels - 1}'
            )

    def _of_bands(
        self, name: str, values: Sequence[float] | Tensor
    ) -> Sequence[float] | Tensor:
        if self.bands is None:
            return values
        found = torch.as_tensor(values, device='cpu').flatten()
        self._check_bands(found.numel(), f'`data_preprocessor.{name}` is of')
        return found[list(self.bands)]

    def prepare(self, images: Tensor) -> Tensor:
        """Normalize and resize the images as the teacher was trained."""
        images = self.choose_bands(images)
        if self.renormalize:
            images = images * self.input_scale + self.input_shift
        size = self.input_size
        if size is not None and images.shape[-2:] != size:
            images = F.interpolate(
                images, size, mode='bicubic', antialias=True
            )
        return images


def _image_statistics(name: str, values: Sequence[float] | Tensor) -> Tensor:
    """Statistics of the three channels, checked, ``(3, )`` in fp64."""
    statistics = torch.as_tensor(
        values, dtype=torch.float64, device='cpu'
    ).flatten()
    low, high = (0.0, 255.0) if name == 'mean' else (1.0, 255.0)
    if statistics.numel() != 3 or not torch.all(
        (statistics >= low) & (statistics <= high)
    ):
        raise ConfigError(
            f'image `{name}` must be three numbers, one for each RGB channel '
            f'in 0..255 (not 0..1), got {statistics.tolist()}'
        )
    return statistics
