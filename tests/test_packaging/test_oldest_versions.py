"""CI tests the oldest versions that the requirements allow."""

import re
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / 'requirements'


def lines(name: str) -> list[str]:
    text = (REQUIREMENTS / name).read_text(encoding='utf-8')
    return [x for x in text.splitlines() if x and not x.startswith('#')]


def release(version: str) -> list[int]:
    numbers = [int(x) for x in version.split('.')]
    return [*numbers, *[0] * (3 - len(numbers))]


def test_oldest_are_the_lower_bounds() -> None:
    oldest = dict(line.split('==') for line in lines('oldest.txt'))
    # Its versions go with those of torch one by one.
    del oldest['torchvision']
    bounds = {}
    for name in ('mminstall', 'runtime', 'det', 'seg'):
        for line in lines(f'{name}.txt'):
            found = re.match(r'([\w-]+)>=([\d.]+)', line)
            if found:
                bounds[found[1]] = found[2]
    assert set(oldest) == set(bounds)
    for name, version in oldest.items():
        assert release(version) == release(bounds[name]), name
