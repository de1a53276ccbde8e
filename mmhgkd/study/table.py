import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmhgkd.report import to_markdown
from mmhgkd.utils import ConfigError

from .results import read_result, result_path
from .run_study import TEACHER
from .study_file import Arm

COLUMNS = {
    'knn': 'kNN',
    'linear': 'linear',
    'finetune': 'fine-tune',
    'few_labels': '10 % labels',
    'images_per_second': 'images/s',
    'gradient_feat': 'gradient feat',
    'gradient_sim': 'gradient sim',
    'gradient_cosine': 'gradient cosine'
}
"""Heading of each metric. Gradients are shown where a study logs them."""


def results_table(work_dir: Path, arms: Sequence[Arm],
                  seeds: Sequence[int]) -> str:
    """Put the results of a study into a table.

    Args:
        work_dir (Path): Of the study.
        arms (Sequence[Arm]): Rows, as far as there are results.
        seeds (Sequence[int]): Seeds that count.

    Returns:
        str: Markdown: mean and standard deviation (of the sample) over the
        seeds, and below it what the results were made with.

    Raises:
        ConfigError: If there is no result.
    """
    rows = {
        arm.name: [
            result for seed in seeds
            if (result := read_result(result_path(work_dir, arm.name, seed)))
        ]
        for arm in arms
    }
    teacher = read_result(work_dir / TEACHER)
    if teacher:
        rows = {'*teacher*': [teacher], **rows}
    rows = {name: results for name, results in rows.items() if results}
    if not set(rows) - {'*teacher*'}:
        raise ConfigError(f'{work_dir} holds no results of these arms and '
                          'seeds; run the study without --table-only')
    everything = [result for results in rows.values() for result in results]
    shown = [
        key for key in COLUMNS
        if not key.startswith('gradient') or any(key in result['metrics']
                                                 for result in everything)
    ]
    lines = []
    for name, results in rows.items():
        cells = {
            COLUMNS[key]:
            mean_and_spread([
                result['metrics'][key]
                for result in results if key in result['metrics']
            ], 3 if key.startswith('gradient') else 1)
            for key in shown
        }
        lines.append({'arm': name, **cells, 'seeds': str(len(results))})
    return f'{to_markdown(lines)}\n{_made_with(everything)}\n'


def mean_and_spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean and standard deviation of a sample, ready to print.

    One value has no deviation; no value is '-'.
    """
    if not values:
        return '-'
    mean = math.fsum(values) / len(values)
    text = f'{mean:.{digits}f}'
    if len(values) == 1:
        return text
    squares = math.fsum((value - mean)**2 for value in values)
    return f'{text} ± {math.sqrt(squares / (len(values) - 1)):.{digits}f}'


def write_table(page: Path, name: str, table: str) -> None:
    """Write a table into its place on a page.

    The place lies between the lines ``<!-- table NAME -->`` and
    ``<!-- end -->``.

    Args:
        page (Path): Markdown file.
        name (str): Name of the study.
        table (str): The table.

    Raises:
        ConfigError: If the page has no such place.
    """
    try:
        text = page.read_text(encoding='utf-8')
    except OSError as error:
        raise ConfigError(f'cannot read the page `{page}`: {error}') from error
    begin = f'<!-- table {name} -->\n'
    pattern = re.escape(begin) + '.*?(?=<!-- end -->)'
    new, count = re.subn(
        pattern, lambda _: f'{begin}\n{table}\n', text, flags=re.DOTALL)
    if not count:
        raise ConfigError(f'{page} has no place for the table; add the lines '
                          f'`{begin.strip()}` and `<!-- end -->`')
    page.write_text(new, encoding='utf-8')


def _made_with(results: Sequence[dict[str, Any]]) -> str:
    """Devices, versions and data of the results."""
    devices = dict.fromkeys(result['device'] for result in results)
    versions = dict.fromkeys(', '.join(f'{name} {result["versions"][name]}'
                                       for name in ('mmhgkd', 'torch'))
                             for result in results)
    data = results[0]['settings']['data']
    return (f'{data["train"]:,} training and {data["val"]:,} validation images'
            f' of {data["classes"]} classes; {"; ".join(devices)}; '
            f'{"; ".join(versions)}.')
