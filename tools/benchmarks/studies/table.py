import re
import statistics
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mmhgkd.report import to_markdown
from mmhgkd.utils import ConfigError

from .comparison import ACCURACIES, Comparison, Rows, compare_results
from .results import TEACHER, read_result, result_path
from .study_file import Arm

COLUMNS = {
    **ACCURACIES,
    'images_per_second': 'images/s',
    'cpu_seconds': 'CPU s',
}
"""Headings of what was reached; those that no arm has are left out."""
PARTS = {
    'loss_feat': 'L_feat',
    'pearson': 'Pearson',
    'self_variance_share': 'self entry',
    'gradient_feat': 'gradient of L_feat',
    'gradient_sim': 'gradient of L_sim',
    'gradient_cosine': 'their cosine',
}
"""Headings of what the log says about the losses."""

TEACHER_ROW = '*teacher*'


def results_table(
    work_dir: Path,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    reference: str | None = None,
) -> str:
    """Put the results of a study into tables, in Markdown.

    What was reached, mean and standard deviation (of the sample) over the
    seeds; the differences from the reference, if there is one; what the log
    says about the losses; and what all that was made with.
    """
    rows = read_rows(work_dir, arms, seeds)
    teacher = read_result(work_dir / TEACHER)
    reached = {TEACHER_ROW: [teacher], **rows} if teacher else rows
    asked = {
        key: heading
        for key, heading in COLUMNS.items()
        if any(key in x['metrics'] for x in chain(*rows.values()))
    }
    parts = [_metrics_table(reached, asked, 1)]
    if reference is not None:
        parts.append(_differences_table(rows, reference))
    logged = {
        name: results
        for name, results in rows.items()
        if any(PARTS.keys() & result['metrics'] for result in results)
    }
    if logged:
        parts.append(
            'What the log says about the losses:\n\n'
            + _metrics_table(logged, PARTS, 3)
        )
    everything = [result for results in reached.values() for result in results]
    parts.append(_made_with(everything) + '\n')
    return '\n'.join(part for part in parts if part)


def read_rows(
    work_dir: Path, arms: Sequence[Arm], seeds: Sequence[int]
) -> Rows:
    """Results by arm, in the order of the arms, without those that lack them.

    Raises:
        ConfigError: If there is none at all.
    """
    rows = {
        arm.name: [
            result
            for seed in seeds
            if (result := read_result(result_path(work_dir, arm.name, seed)))
        ]
        for arm in arms
    }
    rows = {name: results for name, results in rows.items() if results}
    if not rows:
        raise ConfigError(
            f'{work_dir} holds no results of these arms and '
            'seeds; run the study without --table-only'
        )
    return rows


def _metrics_table(rows: Rows, columns: dict[str, str], digits: int) -> str:
    """Mean and spread of metrics, a row an arm."""

    def cell(results: list[dict[str, Any]], key: str) -> str:
        found = [result['metrics'].get(key) for result in results]
        return mean_and_spread([x for x in found if x is not None], digits)

    return to_markdown(
        [
            {
                'arm': name,
                **{columns[key]: cell(results, key) for key in columns},
                'seeds': str(len(results)),
            }
            for name, results in rows.items()
        ]
    )


def _differences_table(rows: Rows, reference: str) -> str:
    """Differences from an arm, empty where nothing can be compared."""
    found = compare_results(rows, reference)
    if not found:
        return ''
    first = next(iter(found.values()))
    lines = [
        {
            'arm': name,
            **{key: _difference(x, name) for key, x in found.items()},
        }
        for name in first.differences
    ]
    least = ', '.join(f'{key} {x.least:.1f}' for key, x in found.items())
    count = len(lines) * len(found)
    return (
        f'Differences from `{reference}`, of the means over the seeds. '
        'Bold are those above the least significant difference: two equal '
        f'arms stay below it in 19 of 20 comparisons ({least}; '
        f'{first.freedom} degrees of freedom). So of the {count} below about '
        f'{round(count / 20)} would be bold by chance.\n\n'
        f'{to_markdown(lines)}'
    )


def _difference(comparison: Comparison, name: str) -> str:
    difference = comparison.differences[name]
    text = f'{difference:+.1f}'
    return f'**{text}**' if abs(difference) > comparison.least else text


def mean_and_spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean and standard deviation of a sample, ready to print.

    One value has no deviation; no value is '-'.
    """
    if not values:
        return '-'
    text = f'{statistics.fmean(values):.{digits}f}'
    if len(values) == 1:
        return text
    return f'{text} ± {statistics.stdev(values):.{digits}f}'


def write_table(page: Path, name: str, table: str) -> None:
    """Write a table into its place on a page of Markdown.

    The place lies between the lines ``<!-- table NAME -->`` and
    ``<!-- end -->``.

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
        pattern, lambda _: f'{begin}\n{table}\n', text, flags=re.DOTALL
    )
    if not count:
        raise ConfigError(
            f'{page} has no place for the table; add the lines '
            f'`{begin.strip()}` and `<!-- end -->`'
        )
    page.write_text(new, encoding='utf-8')


def _made_with(results: Sequence[dict[str, Any]]) -> str:
    """Devices, versions and data of the results."""
    devices = dict.fromkeys(result['device'] for result in results)
    versions = dict.fromkeys(
        'mmhgkd {mmhgkd}, torch {torch}'.format(**result['versions'])
        for result in results
    )
    data = results[0]['settings']['data']
    return (
        f'{data["train"]:,} training and {data["val"]:,} validation images'
        f' of {data["classes"]} classes; {"; ".join(devices)}; '
        f'{"; ".join(versions)}.'
    )
