"""Where pictures can be cut, for screens that are narrower than they are."""

import re
from itertools import pairwise
from typing import NamedTuple

#: Sides in pixels of a panel: see ``mmhgkd.visualization.tile_grid``.
TILE, GAP, HEADER, CAPTION_LINE = 224, 8, 30, 18
COLOR_BAR, COLOR_BAR_LABELS = 14, 48
#: The line above a frame of an animation.
STRIP = 28
#: Sides of a table of photos and their neighbors.
PHOTO, PHOTO_GAP = 96, 6
_PANELS = re.compile(r'(panel(_\d+)?|students)\.png|epochs\.webp')
_NEIGHBORS = 'neighbors_before.png'


class Pieces(NamedTuple):
    """How a picture is cut."""

    edges: list[tuple[int, int]]  #: left and right of each piece, in order
    bottom: int  #: what is below a narrow screen has in words, in pixels
    row: int  #: pixels side by side on a narrow screen
    repeats: bool  #: whether the first piece stands before each other


def cut(name: str, width: int, height: int) -> Pieces | None:
    """Find the columns of a picture of this project.

    Args:
        name (str): Name of the file.
        width (int): Its width in pixels.
        height (int): Its height in pixels.

    Returns:
        Pieces: None of a picture that is shown as it is.
    """
    if name == _NEIGHBORS:
        return _cut_neighbors(width, height)
    if not _PANELS.fullmatch(name):
        return None
    step = TILE + GAP
    top = HEADER + STRIP * name.endswith('.webp')
    for bar in (COLOR_BAR + COLOR_BAR_LABELS, 0):
        columns, rest = divmod(width - GAP - bar, step)
        caption = (height - top) % step
        if columns < 2 or rest or caption % CAPTION_LINE:
            continue
        edges = [GAP // 2 + column * step for column in range(columns)]
        edges = [0, *edges[1:], width]
        pairs = list(pairwise(edges))
        return Pieces(pairs, height - caption, 2 * step + GAP, False)
    return None


def _cut_neighbors(width: int, height: int) -> Pieces | None:
    """A photo, then three neighbors a block."""
    first = PHOTO + 3 * PHOTO_GAP
    block = 3 * (PHOTO + PHOTO_GAP) + 2 * PHOTO_GAP
    blocks, rest = divmod(width - first, block)
    if blocks < 2 or rest:
        return None
    lefts = [first + index * block for index in range(blocks)]
    pairs = [(0, first), *((left, left + block) for left in lefts)]
    return Pieces(pairs, height, first + block, True)


def in_pieces(
    pieces: Pieces, label: str, source: str, width: int, height: int
) -> str:
    """HTML of a picture in pieces, which a narrow screen stacks.

    Args:
        pieces (Pieces): Of :func:`cut`.
        label (str): What it is, ready for an attribute.
        source (str): Its URL.
        width (int): Its width in pixels.
        height (int): Its height in pixels.
    """
    boxes = []
    for index, (left, right) in enumerate(pieces.edges):
        if pieces.repeats and index > 1:
            boxes.append(_box(*pieces.edges[0], width, ' class="again"'))
        boxes.append(_box(left, right, width))
    sizes = f'--full:{width};--high:{height};--cut:{pieces.bottom}'
    return (
        f'<div class="pieces" role="img" aria-label="{label}" '
        f'style="--row:{pieces.row};{sizes};--picture:url({source})">'
        f'{"".join(boxes)}</div>'
    )


def _box(left: int, right: int, width: int, more: str = '') -> str:
    share = 100 * left / (width - (right - left))
    return f'<i{more} style="--w:{right - left};--x:{share:.4f}%"></i>'
