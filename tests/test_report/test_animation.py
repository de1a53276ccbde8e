from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageSequence

from mmhgkd.cli import report
from mmhgkd.report import RunRecord, save_animation
from mmhgkd.report.animation import END, STEP, STRIP, epoch_panels
from mmhgkd.utils import ConfigError

Write = Callable[..., Path]
ROWS = [dict(loss=1.0, epoch=1, iter=1)]


def draw(run: Path, start: str, colors: dict[int, str]) -> None:
    folder = run / start / 'vis_data' / 'vis_image'
    folder.mkdir()
    for epoch, color in colors.items():
        Image.new('RGB', (120, 40), color).save(folder / f'panel_{epoch}.png')
    Image.new('RGB', (9, 9)).save(folder / 'other_1.png')


def test_a_frame_an_epoch_in_their_order(write_run: Write) -> None:
    run = write_run('run', ROWS)
    # By name the tenth would come before the second.
    draw(run, '20260101_000000', {10: 'blue', 2: 'lime', 1: 'red'})
    path = save_animation(RunRecord(run))
    assert path == run / 'epochs.webp'
    shown, times = [], []
    with Image.open(path) as animation:
        assert animation.n_frames == 3 and animation.size == (120, 40 + STRIP)
        for frame in ImageSequence.Iterator(animation):
            pixel = frame.convert('RGB').getpixel((60, STRIP + 20))
            shown.append('RGB'[max(range(3), key=pixel.__getitem__)])
            frame.load()
            times.append(frame.info['duration'])
    assert shown == ['R', 'G', 'B'] and times == [STEP, STEP, END]


def test_resumed_run(write_run: Write) -> None:
    run = write_run('run', ROWS)
    write_run('run', ROWS, start='20260102_000000')
    draw(run, '20260101_000000', {1: 'red', 2: 'red', 3: 'red', 4: 'red'})
    draw(run, '20260102_000000', {2: 'blue', 3: 'blue'})
    panels = epoch_panels(RunRecord(run))
    assert [*panels] == [1, 2, 3]
    starts = [path.parents[2].name for path in panels.values()]
    assert starts == ['20260101_000000'] + 2 * ['20260102_000000']


def test_without_panels(
    write_run: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run('run', ROWS)
    with pytest.raises(ConfigError, match=r'0 panels.*PanelHook'):
        save_animation(RunRecord(run))
    assert report.main([str(run), '--animation']) == 2
    text = capsys.readouterr().err
    assert 'PanelHook' in text and text.count('\n') == 1


def test_report_holds_it(write_run: Write) -> None:
    run = write_run('run', ROWS)
    draw(run, '20260101_000000', {1: 'red', 2: 'lime'})
    assert report.main([str(run), '--animation']) == 0
    page = (run / 'report.html').read_text()
    assert 'data:image/webp;base64,' in page
    assert '<b>epochs.webp</b> The same photos' in page
