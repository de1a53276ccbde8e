import os
from typing import Any

from mmcv.transforms import LoadImageFromFile

from mmhgkd.registry import TRANSFORMS
from mmhgkd.utils import ConfigError


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Load an image, and name the file where that fails.

    The errors of the decoders do not say which of a million files is broken.

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

    Attributes:
        unreadable_list (str, optional): File that receives the paths of the
            images that are passed over, one a line. Processes append to it
            at the same time, and name an image once each.
    """

    unreadable_list: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._listed: set[str] = set()

    def transform(self, results: dict) -> dict | None:
        """Load the image of ``results['img_path']``.

        Returns:
            dict: The sample with the image, or None for an unreadable image
            with ``ignore_empty=True``.

        Raises:
            ConfigError: If the file is no readable image, or if its folder
                is gone, which no other image can make up for.
        """
        path = results['img_path']
        try:
            loaded = super().transform(results)
            cause = None
        except Exception as error:
            loaded, cause = None, error
        if loaded is not None:
            return loaded
        folder = os.path.dirname(path)
        if '://' not in path and not os.path.isdir(folder or '.'):
            raise ConfigError(
                f'the folder {folder} of the image {path} does not exist; '
                'restore it, or check that the disk of the data is there'
            ) from cause
        if not self.ignore_empty:
            raise ConfigError(
                f'cannot read the image {path} (missing, empty, truncated, or '
                'no image); restore or delete the file, or pass '
                '`ignore_empty=True` to LoadImage to skip such files in '
                'training'
            ) from cause
        self._list(path)
        return None

    def _list(self, path: str) -> None:
        if self.unreadable_list is None or path in self._listed:
            return
        self._listed.add(path)
        # One short write in append mode is not torn by other processes.
        with open(self.unreadable_list, 'ab', buffering=0) as file:
            file.write(f'{path}\n'.encode())
