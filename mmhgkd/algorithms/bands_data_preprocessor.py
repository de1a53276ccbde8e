from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.models import SelfSupDataPreprocessor

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError


@MODELS.register_module()
class BandsDataPreprocessor(SelfSupDataPreprocessor):
    """Normalizes images of any number of channels, such as 4 or 10 bands.

    Args:
        mean (Sequence[float]): Mean of each channel, in 0..255.
        std (Sequence[float]): Standard deviation of each channel.
        **kwargs: Of ``SelfSupDataPreprocessor``.

    Raises:
        ConfigError: If the lengths differ, or the order of red, green and
            blue is to be changed where there are other channels.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], **kwargs: Any
    ) -> None:
        if not mean or len(mean) != len(std):
            raise ConfigError(
                '`data_preprocessor.mean` and `data_preprocessor.std` must '
                f'have a number for each channel, got {mean} and {std}'
            )
        if min(std) <= 0:
            raise ConfigError(
                f'`data_preprocessor.std` must be positive, got {std}'
            )
        super().__init__(**kwargs)
        if self._channel_conversion and len(mean) != 3:
            raise ConfigError(
                '`data_preprocessor.to_rgb` turns round three channels, and '
                f'`data_preprocessor.mean` is of {len(mean)}; leave it out'
            )
        self._enable_normalize = True
        for name, values in (('mean', mean), ('std', std)):
            buffer = torch.tensor(values, dtype=torch.float32)
            self.register_buffer(name, buffer.view(-1, 1, 1), False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalize a batch.

        Args:
            data (dict): ``inputs``, ``(B, C, H, W)``, and ``data_samples``.
            training (bool): Of no effect. Defaults to False.

        Returns:
            dict: The same, ``inputs`` normalized.

        Raises:
            ConfigError: If the images have another number of channels.
        """
        found = len(data['inputs'][0])
        if found != len(self.mean):
            raise ConfigError(
                f'the images have {found} channels, but '
                f'`data_preprocessor.mean` {len(self.mean)}; set `bands` of '
                'LoadImage, or as many means and deviations'
            )
        return super().forward(data, training)
