"""Pages can be read without a network."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / 'docs'


def build(source: Path, text: str) -> subprocess.CompletedProcess:
    """Build a site of one page with the settings of the project."""
    for name in ('docs/conf.py', 'mmhgkd/version.py'):
        (source / name).parent.mkdir()
        shutil.copy(ROOT / name, source / name)
    for folder in ('_ext', '_static'):
        shutil.copytree(DOCS / folder, source / 'docs' / folder)
    (source / 'docs' / 'index.md').write_text(text)
    return subprocess.run(
        [
            sys.executable,
            '-m',
            'sphinx',
            '-W',
            '--keep-going',
            '-q',
            str(source / 'docs'),
            str(source / 'out'),
        ],
        capture_output=True,
        text=True,
    )


def test_formulas_need_neither_script_nor_network(tmp_path: Path) -> None:
    process = build(tmp_path, '# T\n\n$x_i$\n\n$$\n\\frac{a}{b}\n$$\n')
    assert process.returncode == 0, process.stderr
    page = (tmp_path / 'out' / 'index.html').read_text()
    formulas = re.findall(r'<math.*?</math>', page, re.DOTALL)
    assert len(formulas) == 2
    assert '<msub>' in formulas[0]
    assert '<mfrac>' in formulas[1]
    assert 'display="block"' in formulas[1]
    loaded = re.findall(
        r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(.+?)"', page
    )
    assert loaded
    # Blocks of code have a button that copies them.
    for script in ('copy.js', 'pictures.js'):
        assert any(url.startswith(f'_static/{script}') for url in loaded)
        assert (tmp_path / 'out' / '_static' / script).is_file()
    assert not [url for url in loaded if '//' in url]
    for sheet in (tmp_path / 'out').rglob('*.css'):
        assert not re.search(
            r'(@import|url\()\s*["\']?(https?:)?//', sheet.read_text()
        ), sheet


def test_faults_stop_the_build(tmp_path: Path) -> None:
    faults = {
        '$\\nosuchcommand$': 'nosuchcommand',
        '[x](nowhere.md)': 'nowhere.md',
        '```{config-table} nowhere\n```': 'configs/nowhere',
    }
    process = build(tmp_path, '\n\n'.join(['# T', *faults]))
    assert process.returncode != 0
    for message in faults.values():
        assert message in process.stderr
