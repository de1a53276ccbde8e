"""Every package has a page in the reference."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_packages_and_pages() -> None:
    packages = {
        path.parent.name for path in (ROOT / 'mmhgkd').glob('*/__init__.py')
    }
    folder = ROOT / 'docs' / 'reference'
    pages = {path.stem for path in folder.glob('*.md')} - {'index'}
    assert pages == packages
    index = (folder / 'index.md').read_text(encoding='utf-8').split('```')[1]
    assert set(index.split()) >= pages
    for name in pages:
        text = (folder / f'{name}.md').read_text(encoding='utf-8')
        assert f'automodule:: mmhgkd.{name}\n' in text
