"""What is seen of a sample of images before a training."""

import logging
import os
import warnings
from collections.abc import Sequence

from PIL import Image

from .errors import ConfigError
from .image_headers import MAX_PIXELS, ImageHeader, read_header
from .left_out import printable, say_once

#: Most images that are looked at in each data set, spread evenly over it.
MAX_IMAGES = 1000


class ImageSample:
    """Looks at images one by one, and says what was found.

    Args:
        option (str): Path of the data set in the config.
        stock (bool): Whether MMCV's loader reads them, which takes any depth
            as 8 bits, hidden colors as they are, and an image of any size.
    """

    def __init__(self, option: str, stock: bool) -> None:
        self.option = option
        self.stock = stock
        self.unreadable: list[str] = []
        self._transparent: list[str] = []
        self._huge: list[str] = []

    def look(self, path: str) -> ImageHeader | None:
        """Look at one image.

        Args:
            path (str): Its file.

        Returns:
            ImageHeader: None for one that cannot be read.

        Raises:
            ConfigError: If it is missing, or has a depth or channels that
                its loader cannot take.
        """
        if not os.path.exists(path):
            raise ConfigError(
                f'the image {printable(path)} of `{self.option}` does not '
                'exist; restore it, or change `data_root`, `data_prefix` or '
                'the suffix'
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', Image.DecompressionBombWarning)
                header = read_header(path)
        except Exception as error:  # a damaged file can cause any
            huge = isinstance(error, Image.DecompressionBombError)
            found = self._huge if huge and self.stock else self.unreadable
            found.append(path)
            return None
        if not self.stock:
            return header
        if header.width * header.height > MAX_PIXELS:
            self._huge.append(path)
            return None
        self._check_kind(path, header)
        if header.alpha:
            self._transparent.append(path)
        return header

    def conclude(self, count: int) -> None:
        """Say what was found.

        Args:
            count (int): Images that were looked at.

        Raises:
            ConfigError: If an image could use up the memory.
        """
        looked = f'of {count} images of `{self.option}` that were looked at'
        if self._huge:
            raise ConfigError(
                f'{len(self._huge)} {looked} have more than '
                f'{MAX_PIXELS // 10**6} megapixels and can use up the memory, '
                f'such as {printable(self._huge[0])}; leave them out, or set '
                "`type='mmhgkd.LoadImage'`, whose `max_pixels` is the limit"
            )
        if self._transparent:
            say_once(
                f'{len(self._transparent)} {looked} have transparent pixels, '
                "whose hidden colors are used; `type='mmhgkd.LoadImage'` lays "
                'them on a `background`',
                self._transparent,
                logging.WARNING,
            )
        if self.unreadable:
            say_once(
                f'{len(self.unreadable)} {looked} are unreadable',
                self.unreadable,
                logging.WARNING,
            )

    def _check_kind(self, path: str, header: ImageHeader) -> None:
        """Depth and channels are what the loader of MMCV can take."""
        colors = header.channels - header.alpha
        deep = header.bits > 8 and header.format != 'JPEG2000'
        if deep or (header.format == 'TIFF' and colors not in (1, 3)):
            raise ConfigError(
                f'the image {printable(path)} of `{self.option}` has '
                f'{header.bits} bits and {header.channels} channels; set '
                "`type='mmhgkd.LoadImage'` in its pipeline, with "
                '`value_range` or `channels`'
            )


def check_stock_images(paths: Sequence[str], option: str) -> None:
    """Check images without masks or boxes that MMCV's loader reads.

    Args:
        paths (Sequence[str]): Those to look at.
        option (str): Path of the data set in the config.

    Raises:
        ConfigError: See :class:`ImageSample`.
    """
    sample = ImageSample(option, stock=True)
    for path in paths:
        sample.look(path)
    sample.conclude(len(paths))
