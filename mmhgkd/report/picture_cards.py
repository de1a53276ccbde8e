import base64
from html import escape
from pathlib import Path

from PIL import Image

from .animation import ANIMATION, epoch_panels
from .explanations import explain_picture
from .pieces import cut, in_pieces
from .run_record import RunRecord

MAX_PICTURES = 24
LARGE = 700  #: pixels from which a picture is not shrunk to a phone
#: What the pictures of a distillation show, by their names; see
#: :func:`explain_picture` for those of other tools.
EXPLANATIONS = {
    'neighbors.png': 'Photos, each with the five others that are nearest by '
    'the distilled student. Good features put alike things side by side.',
    'neighbors_before.png': 'Photos and their nearest others before and '
    'after, and by the teacher.',
}


def picture_cards(record: RunRecord) -> str:
    """HTML of the pictures of a run, each with what it shows; '' of none."""
    paths = _shown(record)
    if len(paths) > MAX_PICTURES:
        # The first and the last, and those in between at equal distances.
        last = len(paths) - 1
        paths = [
            paths[index * last // (MAX_PICTURES - 1)]
            for index in range(MAX_PICTURES)
        ]
    cards = []
    for path in paths:
        try:
            with Image.open(path) as image:
                ratio = image.width / image.height
                media = Image.MIME[image.format or 'PNG']
                kind = ' large' * (image.width >= LARGE)
                size = image.size
                pieces = cut(path.name, *size)
                kind += ' wide' * (ratio > 2 or pieces is not None)
        except OSError:  # half written, as by a run that still goes on
            continue
        data = base64.b64encode(path.read_bytes()).decode()
        name = escape(path.name)
        source = f'data:{media};base64,{data}'
        shown = f'<img alt="{name}" src="{source}">'
        if pieces is not None:
            shown = in_pieces(pieces, name, source, *size)
        text = EXPLANATIONS.get(path.name) or explain_picture(path.name)
        cards.append(
            f'<figure class="card{kind}"><div class="picture">{shown}</div>'
            f'<figcaption><b>{name}</b> {escape(text)}</figcaption></figure>'
        )
    if not cards:
        return ''
    return f'<div class="grid pictures">{"".join(cards)}</div>'


def _shown(record: RunRecord) -> list[Path]:
    """The pictures of a run, without those that are frames of another."""
    paths = record.pictures
    times = [p.stat().st_mtime for p in paths if p.name == ANIMATION]
    if not times:
        return paths
    held = {
        path
        for path in epoch_panels(record).values()
        if path.stat().st_mtime < times[0]
    }
    return [path for path in paths if path not in held]
