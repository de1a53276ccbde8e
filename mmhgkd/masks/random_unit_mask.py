import numpy as np
import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError
from mmhgkd.utils.value_checks import is_count, is_number

from .unit_mask import UnitMask


@MODELS.register_module()
class RandomUnitMask(BaseModule):
    """Draws random masks that keep the same number of units in every image.

    As in SparK and MAE, ``round(N * (1 - mask_ratio))`` of the ``N`` units of
    an image stay visible. What an image draws depends on the seed, the number
    of earlier draws and its place in the global batch only: the count is in
    the checkpoint, so a resumed run draws what the unbroken run would have
    drawn, and the masks do not depend on how a batch is spread over ranks.

    Args:
        unit (int): Side of a unit in pixels, the student's total stride.
            Defaults to 32.
        mask_ratio (float): Share of units that are hidden, in ``[0, 1)``.
            Defaults to 0.6.
        seed (int): Seed of the draws. Defaults to 0.

    Raises:
        ConfigError: If an option is out of range.
    """

    def __init__(
        self, unit: int = 32, mask_ratio: float = 0.6, seed: int = 0
    ) -> None:
        super().__init__()
        if not is_count(unit, 1):
            raise ConfigError(
                'mask `unit` must be a whole number of pixels, at least 1, '
                f'got {unit!r}'
            )
        if not is_number(mask_ratio) or not 0 <= mask_ratio < 1:
            raise ConfigError(
                f'`mask_ratio` must lie in [0, 1), got {mask_ratio!r}'
            )
        if type(seed) is not int:
            raise ConfigError(
                f'mask `seed` must be a whole number, got {seed!r}'
            )
        self.unit = unit
        self.mask_ratio = mask_ratio
        self.seed = seed
        self.draws = 0

    def num_visible(self, num_units: int) -> int:
        """Visible units of an image of ``num_units`` units, at least one."""
        return max(1, round(num_units * (1 - self.mask_ratio)))

    def forward(
        self,
        batch_size: int,
        height: int,
        width: int,
        device: torch.device | str = 'cpu',
        rank: int = 0,
    ) -> UnitMask:
        """Draw the masks of a batch and count the draw.

        Args:
            batch_size (int): Images of this rank, ``B``.
            height (int): Image height in pixels, a multiple of ``unit``.
            width (int): Image width in pixels, a multiple of ``unit``.
            device (torch.device or str): Where the ids are to lie.
                Defaults to 'cpu'.
            rank (int): Rank of this process. Defaults to 0.

        Returns:
            UnitMask: With ids of shape ``(B, K)``.

        Raises:
            ConfigError: If the image is no whole number of units.
        """
        mask = self.draw(batch_size, height, width, self.draws, device, rank)
        self.draws += 1
        return mask

    def draw(
        self,
        batch_size: int,
        height: int,
        width: int,
        index: int,
        device: torch.device | str = 'cpu',
        rank: int = 0,
    ) -> UnitMask:
        """Draw number ``index`` without counting it, for fixed pictures.

        See :meth:`forward` for the other arguments.
        """
        if height % self.unit or width % self.unit or not height * width:
            raise ConfigError(
                f'the image size {height}x{width} is no multiple of the mask '
                f'unit of {self.unit} px; set the crop of the pipeline to a '
                f'multiple of {self.unit}, or change `mask.unit`'
            )
        rows, columns = height // self.unit, width // self.unit
        images = np.arange(rank * batch_size, (rank + 1) * batch_size)
        noise = _noise(self.seed, index, images, rows * columns)
        # No two are equal, so that the order of a sort does not matter.
        keep = self.num_visible(rows * columns)
        kept = np.argpartition(noise, keep - 1, axis=1)[:, :keep]
        ids = torch.from_numpy(np.sort(kept, axis=1))
        device = torch.device(device)
        if device.type == 'cuda':
            # The host goes on only where its memory is pinned: elsewhere the
            # copy would read it after it is freed.
            ids = ids.pin_memory()
        ids = ids.to(device, non_blocking=device.type == 'cuda')
        return UnitMask(ids, rows, columns, self.unit)

    def get_extra_state(self) -> Tensor:
        """Number of draws so far, for the checkpoint."""
        return torch.tensor(self.draws)

    def set_extra_state(self, state: Tensor) -> None:
        """Continue after ``state`` draws."""
        self.draws = int(state)


def _noise(
    seed: int, index: int, images: np.ndarray, num_units: int
) -> np.ndarray:
    """Random numbers of the units of some images of one draw.

    They are numbers of a SplitMix64 stream, which can be computed one by one:
    a rank draws for its own images only. Seeds that differ by one must not
    give related streams, so the start of a stream is mixed, too.

    Args:
        seed (int): Seed of all draws.
        index (int): Number of the draw.
        images (np.ndarray): Places of the images in the global batch.
        num_units (int): Units of an image.

    Returns:
        np.ndarray: ``(images, units)`` uint64, all of a draw different.
    """
    gamma, bits = 0x9E3779B97F4A7C15, 2**64 - 1
    start = _mix(np.array([(seed * gamma + index + 1) & bits], np.uint64))
    place = images[:, None] * num_units + np.arange(num_units)
    return _mix(start + place.astype(np.uint64) * np.uint64(gamma))


def _mix(value: np.ndarray) -> np.ndarray:
    """Finalizer of SplitMix64, which maps 64 bits one to one."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
    return value ^ (value >> np.uint64(31))
