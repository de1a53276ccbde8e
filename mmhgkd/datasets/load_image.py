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
    """

    def transform(self, results: dict) -> dict | None:
        """Load the image of ``results['img_path']``.

        Args:
            results (dict): Sample of a data set.

        Returns:
            dict: The sample with the image, or None for an unreadable image
            with ``ignore_empty=True``.

        Raises:
            ConfigError: If the file is no readable image.
        """
        try:
            return super().transform(results)
        except Exception as error:
            if self.ignore_empty:
                return None
            raise ConfigError(
                f'cannot read the image {results["img_path"]} (missing, '
                'empty, truncated, or no image); restore or delete the file, '
                'or pass `ignore_empty=True` to LoadImage to skip such files '
                'in training') from error
