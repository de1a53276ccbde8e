from torch import Tensor, nn

from mmhgkd.masks import UnitMask
from mmhgkd.utils import ConfigError, one_of

PROJECTORS = ('linear', 'mlp')


class GridProjection(nn.Module):
    """Projects the visible positions of one stride to those of another.

    Towards a coarser grid the positions that one output covers are put side
    by side; towards a finer one each position gives all the outputs that it
    covers. No masked position is read or made, so nothing has to be filled.

    Args:
        in_channels (int): Channels of an input position.
        out_channels (int): Channels of an output position.
        stride (int): Pixels between two input positions.
        out_stride (int): Pixels between two output positions.
        projector (str): 'linear' or 'mlp' (one hidden layer as wide as its
            input). Defaults to 'linear'.

    Raises:
        ConfigError: If neither stride is a multiple of the other, or
            ``projector`` is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        out_stride: int,
        projector: str = 'linear',
    ) -> None:
        super().__init__()
        if max(stride, out_stride) % min(stride, out_stride):
            raise ConfigError(
                f'positions every {stride} px cannot be projected to tokens '
                f'every {out_stride} px: one must be a multiple of the other; '
                "set `out_stride` to the teacher's patch size"
            )
        one_of('`projector`', projector, PROJECTORS)
        self.in_channels = in_channels
        self.stride = stride
        self.out_stride = out_stride
        self.merged = max(out_stride // stride, 1)
        self.split = max(stride // out_stride, 1)
        #: Width of what one row of the linear layers reads.
        self.width = width = in_channels * self.merged**2
        self.layers = nn.Sequential(
            *((nn.Linear(width, width), nn.GELU()) * (projector == 'mlp')),
            nn.Linear(width, out_channels * self.split**2),
        )

    def forward(self, rows: Tensor, mask: UnitMask) -> Tensor:
        """Project packed rows.

        Args:
            rows (Tensor): Visible positions of ``stride`` in packed order,
                ``(N, in_channels)``, see :meth:`UnitMask.positions`.
            mask (UnitMask): Which units are visible.

        Returns:
            Tensor: Visible positions of ``out_stride`` in packed order,
            ``(N * (stride / out_stride)**2, out_channels)``.
        """
        if self.merged > 1:
            rows = _regroup(rows, mask.block(self.out_stride), self.merged)
        rows = self.layers(rows)
        if self.split > 1:
            rows = _spread(rows, mask.block(self.stride), self.split)
        return rows


def _regroup(rows: Tensor, side: int, merged: int) -> Tensor:
    """Put ``merged**2`` neighbors of a unit into one row, row-major."""
    channels = rows.size(1)
    grid = rows.view(-1, side, merged, side, merged, channels)
    return grid.transpose(2, 3).reshape(-1, merged**2 * channels)


def _spread(rows: Tensor, side: int, split: int) -> Tensor:
    """Undo :func:`_regroup`."""
    grid = rows.view(-1, side, side, split, split, rows.size(1) // split**2)
    return grid.transpose(2, 3).reshape(-1, grid.size(-1))
