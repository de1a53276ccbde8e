import re
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mmhgkd.utils import ConfigError

from .pieces import STRIP
from .run_record import RunRecord

ANIMATION = 'epochs.webp'
STEP, END = 700, 2500  #: milliseconds of a picture, and of the last one
_PANEL = re.compile(r'panel_(\d+)\.png')


def epoch_panels(record: RunRecord) -> dict[int, Path]:
    """The panels that :class:`PanelHook` has drawn, by epoch in order.

    Of an epoch that was trained twice, as after a resumption, the later panel
    counts, and what an earlier start drew beyond it does not.
    """
    found: dict[int, Path] = {}
    for log in record.logs:
        panels = {}
        for path in log.with_name('vis_image').glob('panel_*.png'):
            match = _PANEL.fullmatch(path.name)
            if match:
                panels[int(match[1])] = path
        first = min(panels, default=None)
        if first is not None:
            found = {e: path for e, path in found.items() if e < first}
            found.update(panels)
    return dict(sorted(found.items()))


def save_animation(record: RunRecord, path: str | Path | None = None) -> Path:
    """Write the panels of a run as an animated WebP, a frame an epoch.

    Args:
        record (RunRecord): The run.
        path (str or Path, optional): File to write. Defaults to None, which
            means 'epochs.webp' in the folder of the run, where a report finds
            it.

    Returns:
        Path: The file.

    Raises:
        ConfigError: If the run has fewer than two panels.
    """
    panels = epoch_panels(record)
    if len(panels) < 2:
        raise ConfigError(
            f'{record.folder} holds {len(panels)} panels of epochs, an '
            "animation needs two; train with dict(type='mmhgkd.PanelHook') "
            'in `custom_hooks`'
        )
    frames: list[Image.Image] = []
    font = ImageFont.load_default(16)
    for epoch, file in panels.items():
        with Image.open(file) as panel:
            size = frames[0].size if frames else None
            frame = Image.new(
                'RGB', size or (panel.width, panel.height + STRIP), 'white'
            )
            # One of another size lies in the same corner.
            frame.paste(panel, (0, STRIP))
        when = f'epoch {epoch}' if epoch else 'before the training'
        ImageDraw.Draw(frame).text((8, 5), when, 'black', font)
        frames.append(frame)
    out = Path(path or record.folder / ANIMATION)
    out.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(
        out,
        save_all=True,
        append_images=frames[1:],
        duration=[STEP] * (len(frames) - 1) + [END],
        loop=0,
        quality=80,
    )
    return out
