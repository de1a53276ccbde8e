import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError

from .unit_mask import UnitMask


@MODELS.register_module()
class RandomUnitMask(BaseModule):
    """Draws random masks that keep the same number of units in every image.

    As in SparK and MAE, ``round(N * (1 - mask_ratio))`` of the ``N`` units of
    an image stay visible. Draws depend on the seed, the number of earlier
    draws and the place of the image in the global batch only: the count is in
    the checkpoint, so a resumed run draws what the unbroken run would have
    drawn, and ranks draw disjoint slices of one global draw, so the masks do
    not depend on how a batch is spread over ranks.

    Args:
        unit (int): Side of a unit in pixels, the student's total stride.
            Defaults to 32.
        mask_ratio (float): Share of units that are hidden, in ``[0, 1)``.
            Defaults to 0.6.
        seed (int): Seed of the draws. Defaults to 0.

    Raises:
        ConfigError: If ``unit`` or ``mask_ratio`` is out of range.
    """

    def __init__(
        self, unit: int = 32, mask_ratio: float = 0.6, seed: int = 0
    ) -> None:
        super().__init__()
        if unit < 1:
            raise ConfigError(f'mask `unit` must be at least 1 px, got {unit}')
        if not 0 <= mask_ratio < 1:
            raise ConfigError(
                f'`mask_ratio` must lie in [0, 1), got {mask_ratio}'
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
        world_size: int = 1,
    ) -> UnitMask:
        """Draw the masks of a batch and count the draw.

        Args:
            batch_size (int): Images of this rank, ``B``.
            height (int): Image height in pixels, a multiple of ``unit``.
            width (int): Image width in pixels, a multiple of ``unit``.
            device (torch.device or str): Where the ids are to lie.
                Defaults to 'cpu'.
            rank (int): Rank of this process. Defaults to 0.
            world_size (int): Number of processes. Defaults to 1.

        Returns:
            UnitMask: With ids of shape ``(B, K)``.

        Raises:
            ConfigError: If the image is no whole number of units.
        """
        mask = self.draw(
            batch_size, height, width, self.draws, device, rank, world_size
        )
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
        world_size: int = 1,
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
        generator = torch.Generator()
        generator.manual_seed(_mix(self.seed, index))
        noise = torch.rand(
            world_size * batch_size, rows * columns, generator=generator
        )
        noise = noise[rank * batch_size : (rank + 1) * batch_size]
        keep = self.num_visible(rows * columns)
        ids = noise.argsort(dim=1)[:, :keep].sort(dim=1).values
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


def _mix(seed: int, index: int) -> int:
    """One 63-bit seed of two numbers (the finalizer of SplitMix64).

    Seeds that differ by one must not give related streams, and
    ``seed + index`` would make the runs of neighboring seeds share masks.
    """
    bits = 2**64 - 1
    value = (seed * 0x9E3779B97F4A7C15 + index + 1) & bits
    for multiplier, shift in (
        (0xBF58476D1CE4E5B9, 30),
        (0x94D049BB133111EB, 27),
    ):
        value = ((value ^ (value >> shift)) * multiplier) & bits
    return (value ^ (value >> 31)) >> 1
