import os
from collections.abc import Sequence
from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from PIL import Image

from mmhgkd.registry import TRANSFORMS
from mmhgkd.utils import ConfigError
from mmhgkd.utils.errors import one_of
from mmhgkd.utils.image_headers import MAX_PIXELS, is_plain, plain_size
from mmhgkd.utils.left_out import printable

from .decode_image import (
    BACKGROUND,
    UnsuitableImageError,
    ValueRange,
    decode_bands,
    decode_image,
)

COLOR_TYPES = (
    'color',
    'grayscale',
    'unchanged',
    'color_ignore_orientation',
    'grayscale_ignore_orientation',
)
BACKENDS = ('cv2', 'turbojpeg', 'pillow', 'tifffile')


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Load an image of any kind, and name the file where that fails.

    The errors of the decoders do not say which of a million files is broken.
    The EXIF orientation is applied whatever the format, unless ``color_type``
    is 'color_ignore_orientation'. Of animations and multi-page files the
    first image is taken.

    Required Keys:

    - img_path

    Added Keys:

    - img
    - img_shape
    - ori_shape

    Args:
        *args: See :class:`mmcv.transforms.LoadImageFromFile`.
        **kwargs: See :class:`mmcv.transforms.LoadImageFromFile`. With
            ``ignore_empty=True`` unreadable images of any kind are passed
            over: a data set then takes another image in training.
        value_range (tuple[float, float] or str, optional): Values of images
            of more than 8 bits that become black and white, such as
            (0, 4095) for 12 bits in 16; 'image' takes the lowest and highest
            value of each image. Defaults to None: 16 bits are taken as 0 to
            65535, and what makes no sense so is refused.
        channels (Sequence[int], optional): Red, green and blue among the
            channels of an image that has more than three.
            Defaults to None, which refuses such images.
        bands (int, optional): Channels that every image must have, such as 4
            or 10, which are all kept in the order of the file, transparency
            included. Reads arrays ``(H, W, C)`` of NumPy (.npy), too.
            Defaults to None: images become red, green and blue.
        background (Sequence[int]): RGB color behind transparent pixels.
            Defaults to (124, 117, 104), the mean of ImageNet.
        max_pixels (int): Images of more pixels are not read, as one of them
            can use up the memory. Above the default this has an effect on
            JPEG, PNG and BMP only. Defaults to 178956970, Pillow's limit.

    Raises:
        ConfigError: If an option is out of range.

    Attributes:
        unreadable_list (str, optional): File that receives the paths of the
            images that are passed over, one a line. Processes append to it
            at the same time, and name an image once each.
    """

    unreadable_list: str | None = None

    def __init__(
        self,
        *args: Any,
        value_range: ValueRange = None,
        channels: Sequence[int] | None = None,
        bands: int | None = None,
        background: Sequence[int] = BACKGROUND,
        max_pixels: int = MAX_PIXELS,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        one_of('`color_type` of LoadImage', self.color_type, COLOR_TYPES)
        one_of(
            '`imdecode_backend` of LoadImage', self.imdecode_backend, BACKENDS
        )
        if value_range not in (None, 'image') and not _is_range(value_range):
            raise ConfigError(
                "`value_range` of LoadImage must be None, 'image', or a lower "
                f'and a higher value, got {value_range!r}'
            )
        if channels is not None and not (
            _are_numbers(channels, 3)
            and all(
                isinstance(index, int) and index >= 0 for index in channels
            )
        ):
            raise ConfigError(
                '`channels` of LoadImage must be the indices of red, green '
                f'and blue, got {channels!r}'
            )
        if bands is not None and (type(bands) is not int or bands < 1):
            raise ConfigError(
                '`bands` of LoadImage must be a positive number of channels, '
                f'got {bands!r}'
            )
        if bands is not None and channels is not None:
            raise ConfigError(
                '`bands` of LoadImage keeps all channels, and `channels` '
                'chooses three; set one of them'
            )
        if not (
            _are_numbers(background, 3)
            and all(0 <= value <= 255 for value in background)
        ):
            raise ConfigError(
                '`background` of LoadImage must be three numbers in 0..255, '
                f'got {background!r}'
            )
        if not isinstance(max_pixels, int) or max_pixels < 1:
            raise ConfigError(
                '`max_pixels` of LoadImage must be at least 1, got '
                f'{max_pixels!r}'
            )
        self.value_range = value_range
        self.channels = channels
        self.bands = bands
        self.background = background
        self.max_pixels = max_pixels
        self._listed: set[str] = set()

    def transform(self, results: dict) -> dict | None:
        """Load the image of ``results['img_path']``.

        A sample without a path, whose image is there already, stays as it is:
        MMPretrain's inferencers load the images themselves, and take only a
        step of the type ``LoadImageFromFile`` out of the pipeline.

        Returns:
            dict: The sample with the image, or None for an unreadable image
            with ``ignore_empty=True``.

        Raises:
            ConfigError: If the file is no readable image, or if its folder
                is gone, which no other image can make up for.
        """
        if 'img_path' not in results and 'img' in results:
            return results
        path = results['img_path']
        name = printable(path)
        try:
            image = self.load(path)
        except Exception as error:
            cause = error
        else:
            if self.to_float32:
                image = image.astype(np.float32)
            results['img'] = image
            results['img_shape'] = results['ori_shape'] = image.shape[:2]
            return results
        folder = os.path.dirname(path)
        if '://' not in path and not os.path.isdir(folder or '.'):
            raise ConfigError(
                f'the folder {folder} of the image {name} does not exist; '
                'restore it, or check that the disk of the data is there'
            ) from cause
        if not self.ignore_empty:
            if isinstance(cause, UnsuitableImageError):
                raise cause
            if isinstance(cause, Image.DecompressionBombError):
                raise ConfigError(
                    f'the image {name} is too large ({cause}); make it '
                    'smaller, delete it, or raise `max_pixels` of LoadImage'
                ) from cause
            raise ConfigError(
                f'cannot read the image {name} (missing, empty, truncated, or '
                'no image); restore or delete the file, or pass '
                '`ignore_empty=True` to LoadImage to skip such files in '
                'training'
            ) from cause
        self._list(path)
        return None

    def load(self, path: str) -> np.ndarray:
        """Load an image.

        Args:
            path (str): Its file.

        Returns:
            np.ndarray: ``(H, W, 3)`` in the order BGR, or what other color
            types than 'color' make of it; ``(H, W, C)`` with ``bands``.

        Raises:
            UnsuitableImageError: If an option has to be set for it.
            Exception: Of any kind, if it is missing or no readable image.
        """
        try:
            return self._decode(self._read(path))
        except UnsuitableImageError as error:
            raise UnsuitableImageError(
                f'the image {printable(path)} {error}'
            ) from error

    def _read(self, path: str) -> bytes:
        if not os.path.isfile(path) and os.path.exists(path):
            # A pipe would wait for ever.
            raise OSError('no plain file')
        if self.file_client_args is not None:
            client = fileio.FileClient.infer_client(
                self.file_client_args, path
            )
            return client.get(path)
        return fileio.get(path, backend_args=self.backend_args)

    def _decode(self, content: bytes) -> np.ndarray:
        if self.bands is not None:
            return decode_bands(
                content, self.bands, self.value_range, self.max_pixels
            )
        width, height = plain_size(content)
        if width * height > self.max_pixels:
            raise Image.DecompressionBombError(f'{width} x {height} pixels')
        if (
            is_plain(content)
            or self.color_type not in ('color', 'color_ignore_orientation')
            or self.imdecode_backend not in ('cv2', 'pillow')
        ):
            image = mmcv.imfrombytes(
                content, flag=self.color_type, backend=self.imdecode_backend
            )
            if image is None:
                raise OSError('no image')
            return image
        return decode_image(
            content,
            self.color_type == 'color',
            self.value_range,
            self.channels,
            self.background,
            self.max_pixels,
        )

    def _list(self, path: str) -> None:
        if self.unreadable_list is None or path in self._listed:
            return
        self._listed.add(path)
        # One short write in append mode is not torn by other processes.
        with open(self.unreadable_list, 'ab', buffering=0) as file:
            line = os.fsencode(path).replace(b'\n', b'\\n')
            file.write(line + b'\n')


def _are_numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, (list, tuple))
        and len(values) == count
        and all(isinstance(value, (int, float)) for value in values)
    )


def _is_range(values: Any) -> bool:
    return _are_numbers(values, 2) and values[0] < values[1]
