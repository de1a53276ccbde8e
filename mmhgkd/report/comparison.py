import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from .curves import run_labels
from .run_record import RunRecord

#: Values of the training log that the table shows.
LOGGED = ('loss', 'loss_feat', 'loss_sim', 'pearson')


def compare_runs(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """Put what runs have reached side by side.

    Returns:
        list[dict[str, str]]: A row a run, all with the same columns: its
        name, epochs or iterations, last training values, last metrics,
        milliseconds an iteration and images per second. An empty cell is
        something that the run does not have.
    """
    metrics = dict.fromkeys(
        key for record in records for key in record.final_metrics
    )
    rows = []
    for record, label in zip(records, run_labels(records), strict=True):
        row = {'run': label, **progress(record)}
        for key in LOGGED:
            values = record.series(key)[1]
            row[key] = f'{values[-1]:.4g}' if values else ''
        for key in metrics:
            value = record.final_metrics.get(key)
            row[key] = '' if value is None else f'{value:.4g}'
        row.update(throughput(record))
        rows.append(row)
    filled = [key for key in rows[0] if any(row[key] for row in rows)]
    return [{key: row[key] for key in filled} for row in rows]


def progress(record: RunRecord) -> dict[str, str]:
    """How far a run has come, ready to print."""
    last = record.training[-1] if record.training else {}
    return {
        'epochs': str(last.get('epoch', '')),
        'iterations': str(last.get('iter', '')),
    }


def throughput(record: RunRecord) -> dict[str, str]:
    """How fast a run was, ready to print."""
    seconds, images = record.seconds_per_iteration, record.images_per_second
    return {
        'ms/iteration': f'{1e3 * seconds:.4g}' if seconds else '',
        'images/s': f'{images:.4g}' if images else '',
    }


def describe_change(results: Mapping[str, Any]) -> str:
    """What a distillation has changed, without a word about labels.

    Args:
        results (Mapping): Content of ``results.json``.

    Returns:
        str: A line for people; '' of too few photos.
    """
    changed, rows = results.get('changed'), results.get('metrics') or {}
    before = rows.get('untrained') or rows.get('start weights') or {}
    found = [
        row.get('neighbors')
        for row in (before, rows.get('distilled', {}), rows.get('chance', {}))
    ]
    if changed is None or None in found:
        return ''
    first, last, chance = found
    return (
        f'Since the start, {changed:.0f} % of the ten nearest neighbors of a '
        f"photo have changed. Of the teacher's ten, the student found "
        f'{first:.1f} % before and finds {last:.1f} % now (higher is better; '
        f'{chance:.1f} % by chance).'
    )


def to_markdown(rows: Sequence[dict[str, str]]) -> str:
    """Write a table, of at least one row, in Markdown."""
    header = list(rows[0])
    lines = [header, ['---', *['--:'] * (len(header) - 1)]]
    lines += [[row[key].replace('|', r'\|') for key in header] for row in rows]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def to_csv(rows: Sequence[dict[str, str]]) -> str:
    """Write a table, of at least one row, as comma-separated values."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
