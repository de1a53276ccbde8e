import textwrap
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmhgkd.report.pieces import (
    CAPTION_LINE,
    COLOR_BAR,
    COLOR_BAR_LABELS,
    GAP,
    HEADER,
)

DPI = 128  # a power of two, so that inches give whole pixels
CHARACTER = 7  #: pixels that a character of the caption takes at most
GRAY = np.float32(0.55)


def error_scale(errors: np.ndarray) -> float:
    """The error that has the brightest color.

    Rounding noise of a perfect student is not worth a color.
    """
    highest = float(np.nan_to_num(errors).max())
    return highest if highest > 1e-6 else 1.0


def error_colors(errors: np.ndarray) -> np.ndarray:
    """Errors ``(...)`` to colors ``(..., 3)`` in ``[0, 1]``, gray for NaN."""
    colors = matplotlib.colormaps['inferno'].with_extremes(bad=str(GRAY))
    return colors(np.ma.masked_invalid(errors / error_scale(errors)))[..., :3]


def draw_tiles(
    columns: Mapping[str, np.ndarray],
    height: int,
    width: int,
    caption: str = '',
    has_scale: bool = False,
) -> np.ndarray:
    """Draw columns of pictures side by side, at whole pixels.

    Args:
        columns (Mapping[str, np.ndarray]): Pictures by the title of their
            column, ``(B, h, w, 3)`` in ``[0, 1]``.
        height (int): Height of a picture in pixels.
        width (int): Width of a picture in pixels.
        caption (str): Text below. Defaults to none.
        has_scale (bool): Whether the last column has errors ``(B, h, w)``,
            which get a color bar. Defaults to False.

    Returns:
        np.ndarray: RGB, ``(H', W', 3)`` uint8.
    """
    tiles = dict(columns)
    last = list(tiles)[-1]
    errors = tiles[last]
    if has_scale:
        tiles[last] = error_colors(errors)
    rows = len(errors)
    bar = GAP + len(tiles) * (width + GAP)
    total_width = bar + (COLOR_BAR + COLOR_BAR_LABELS) * has_scale
    lines = textwrap.wrap(caption, max(1, (total_width - GAP) // CHARACTER))
    bottom = HEADER + rows * (height + GAP)
    total_height = bottom + len(lines) * CAPTION_LINE
    figure = Figure((total_width / DPI, total_height / DPI), dpi=DPI)
    canvas = FigureCanvasAgg(figure)

    def axes(left: int, top: int, width: int, height: int) -> Axes:
        return figure.add_axes(
            (
                left / total_width,
                1 - (top + height) / total_height,
                width / total_width,
                height / total_height,
            )
        )

    def write(text: str, x: float, y: float, align: str, size: int) -> None:
        place = (x / total_width, 1 - y / total_height)
        figure.text(*place, text, ha=align, va='center', fontsize=size)

    for column, (title, pictures) in enumerate(tiles.items()):
        left = GAP + column * (width + GAP)
        write(title, left + width / 2, HEADER / 2, 'center', 9)
        for row, picture in enumerate(pictures):
            cell = axes(left, HEADER + row * (height + GAP), width, height)
            cell.axis('off')
            cell.imshow(picture, aspect='auto')
    for number, line in enumerate(lines):
        y = bottom + (number + 0.5) * CAPTION_LINE
        write(line, GAP, y, 'left', 7)
    if has_scale:
        scale = axes(bar, HEADER, COLOR_BAR, rows * (height + GAP) - GAP)
        scale.imshow(
            np.linspace(1, 0, 256)[:, None],
            aspect='auto',
            cmap='inferno',
            extent=(0, 1, 0, error_scale(errors)),
        )
        scale.yaxis.tick_right()
        scale.set_xticks([])
        scale.tick_params(labelsize=7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
