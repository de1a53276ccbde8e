import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from tool_loader import load_tool
from toy_run import write_run

from mmhgkd.report.curves import MUTED
from mmhgkd.report.explanations import explain_curve

report = load_tool('report')
BROWSER = next(
    filter(
        None,
        map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome')),
    ),
    None,
)
PROBE = """<script>addEventListener('load', () => {
  const root = document.documentElement;
  root.dataset.broken = [...document.images].filter(
    image => !image.naturalWidth).length;
  root.dataset.loaded = performance.getEntriesByType('resource').filter(
    entry => !entry.name.startsWith('data:')).length;
  root.dataset.overflow = root.scrollWidth - root.clientWidth;
})</script>"""


@pytest.fixture
def run(tmp_path: Path, class_folders: Path) -> Path:
    folder = write_run(tmp_path / 'toy', class_folders)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 600, 3), np.uint8)
    Image.fromarray(pixels).save(folder / 'a "<b>".png')
    return folder


def write(folder: Path) -> str:
    assert report.main([str(folder)]) == 0
    return (folder / 'report.html').read_text()


def test_page_holds_the_run(run: Path) -> None:
    page = write(run)
    for text in (
        '<h1>toy</h1>',
        '<h2>Curves</h2>',
        '<h2>Pictures</h2>',
        'mmhgkd.SparseResNet, depth 18',
        'mmhgkd.PixelTeacher',
        '12.5',
        'a &quot;&lt;b&gt;&quot;.png',
        '8</b>',
    ):
        assert text in page
    # loss and lr; a single evaluation is no curve
    assert page.count('<svg ') == 2
    assert '<b>"' not in page


def test_style_serves_phones_and_dark_rooms(run: Path) -> None:
    page = write(run)
    assert '<meta name="viewport" content="width=device-width' in page
    assert 'color-scheme: light dark' in page
    dark = page.split('@media (prefers-color-scheme: dark)')[1]
    assert '--ground: #161615' in dark.split('}')[0]
    narrow = page.split('@media (max-width: 600px)')[1]
    # Columns of pictures and tables of facts stack, others scroll.
    assert '.pieces { flex-wrap: wrap;' in narrow
    assert '.large .picture img' in narrow and 'display: block' in narrow
    assert '.picture { overflow-x: auto; }' in page
    # A curve takes the colors of the page.
    curve = page[page.index('<svg ') :].split('</svg>')[0]
    assert 'var(--muted)' in curve and MUTED not in curve


def test_every_figure_is_explained(run: Path) -> None:
    pictures = ('panel.png', 'students.png', 'intensities.png', 'epochs.webp')
    for name in pictures:
        Image.new('RGB', (1200, 400)).save(run / name)
    hook = run / '20260101_000000' / 'vis_data' / 'vis_image'
    hook.mkdir()
    Image.new('RGB', (1200, 400)).save(hook / 'panel_3.png')
    page = write(run)
    captions = [
        re.sub('<.*?>', '', text)
        for text in re.findall(r'<figcaption>(.*?)</figcaption>', page)
    ]
    assert len(captions) == page.count('<figure') == 2 + 1 + len(pictures) + 1
    assert all(len(text) > 30 for text in captions)
    assert any('Less is better.' in text for text in captions)
    assert any('After epoch 3. Photos' in text for text in captions)
    assert page.count('<figure class="card large wide">') == 5
    assert 'data:image/webp;base64,' in page
    for section in ('Curves', 'Evaluation', 'Throughput'):
        assert f'<h2>{section}</h2><p class="muted">' in page


@pytest.mark.parametrize(
    ('key', 'text'),
    [
        ('loss', 'Less is better'),
        ('loss_feat', 'Less is better'),
        ('loss_direct', 'Less is better'),
        ('loss_bbox', 'Less is better'),
        ('pearson', 'More is better'),
        ('knn/top1', 'More is better'),
        ('linear/top1', 'More is better'),
        ('accuracy/top1', 'More is better'),
        ('single-label/f1-score', 'More is better'),
        ('coco/bbox_mAP_50', 'More is better'),
        ('mIoU', 'More is better'),
        ('lr', 'No direction is good'),
        ('grad_norm', 'Steady'),
        ('gradient_cosine', 'Angle'),
        ('gradient_feat', 'gradient of one loss'),
        ('whatever', 'A value that the run has logged'),
    ],
)
def test_curves_say_which_direction_is_good(key: str, text: str) -> None:
    assert text in explain_curve(key)


def test_broken_picture_is_left_out(run: Path) -> None:
    (run / 'half.png').write_bytes((run / 'a "<b>".png').read_bytes()[:20])
    page = write(run)
    assert 'half.png' not in page and page.count('<img ') == 1


def test_page_needs_nothing_else(run: Path) -> None:
    page = write(run)
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert links and all(link.startswith(('data:', '#')) for link in links)
    assert '<script' not in page and '<link' not in page
    assert all(
        target.startswith(('#', 'data:'))
        for target in re.findall(r'url\(([^)]*)\)', page)
    )


def test_parts_of_two_curves_have_their_own_ids(run: Path) -> None:
    page = write(run)
    ids = re.findall(r' id="([^"]*)"', page)
    shared = {name for name in ids if ids.count(name) > 1}
    # Names that matplotlib gives to groups, which nothing refers to.
    assert not [name for name in shared if f'#{name}' in page]


def test_downstream_run_and_many_pictures(run: Path) -> None:
    path = run / '20260101_000000' / 'vis_data' / 'config.py'
    Config(
        dict(
            model=dict(
                type='FasterRCNN',
                backbone=dict(type='ResNet', depth=50),
                neck=[dict(type='FPN'), dict(type='Extra')],
            ),
            train_dataloader=dict(
                batch_size=2, dataset=dict(data_root='data/coco')
            ),
        )
    ).dump(path)
    hook = path.with_name('vis_image')
    hook.mkdir()
    for index in range(30):
        Image.new('RGB', (4, 4)).save(hook / f'{index:02}.png')
        # The order is that of the training, by time.
        os.utime(hook / f'{index:02}.png', (index, index))
    page = write(run)
    assert 'FasterRCNN · ResNet, depth 50' in page and 'FPN, Extra' in page
    names = re.findall(r'<figcaption><b>(.*?)</b>', page)
    assert len(names) == 24
    assert names[0].startswith('a ') and names[-1] == '29.png'
    assert names[1:] == sorted(names[1:])


def test_errors_are_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path / 'nowhere', tmp_path):
        assert report.main([str(folder)]) == 2
        text = capsys.readouterr().err
        assert text.count('\n') == 1 and str(folder) in text
    (run / '20260101_000000' / 'vis_data' / 'config.py').unlink()
    assert report.main([str(run)]) == 2
    assert 'holds no config' in capsys.readouterr().err


@pytest.mark.skipif(BROWSER is None, reason='no Chromium is installed')
@pytest.mark.parametrize('width', [1280, 500])
def test_browser_shows_the_page_offline(
    run: Path, tmp_path: Path, width: int
) -> None:
    assert BROWSER is not None
    page = tmp_path / 'probe.html'
    page.write_text(write(run).replace('</body>', f'{PROBE}</body>'))
    result = subprocess.run(
        [
            BROWSER,
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--host-resolver-rules=MAP * ~NOTFOUND',
            f'--user-data-dir={tmp_path / "profile"}',
            f'--window-size={width},900',
            '--virtual-time-budget=5000',
            '--dump-dom',
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    for name in ('broken', 'loaded', 'overflow'):
        assert f'data-{name}="0"' in result.stdout
