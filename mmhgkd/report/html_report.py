import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mmhgkd.catalog import METRICS, ROWS
from mmhgkd.version import __version__

from .comparison import describe_change, progress, throughput
from .curves import GRID, INK, MUTED, curve_keys, draw_curve
from .explanations import explain_curve
from .picture_cards import picture_cards
from .run_record import RunRecord
from .style import STYLE

PLAN = 'plan.json'  #: of a distillation, what was chosen
TEACHERS_IN_WORDS = {
    'shipped': 'the small teacher of mmhgkd',
    'trained': 'a small teacher that was trained on them,',
}
RESULTS = 'results.json'  #: what a distillation has reached, in percent
#: A word on each section of figures.
ABOUT = {
    'Curves': 'Over the training; the last value at the right.',
    'Evaluation': 'Metrics during the training. Of accuracies, precisions and '
    'IoU more is better; of losses less.',
    'Test': 'What the last test of a checkpoint has measured. Of accuracies, '
    'precisions and IoU more is better.',
    'Throughput': 'More images a second are better, and less waiting for '
    'data.',
}


def html_report(record: RunRecord) -> str:
    """Write a run, of pre-training or of a downstream task, as an HTML page.

    It needs nothing but itself: curves are drawn as SVG, pictures are
    embedded, there is no script.
    """
    sections = {
        'Results': results_table(record.folder / RESULTS),
        'Curves': _curves(record),
        'Pictures': picture_cards(record),
        'Evaluation': _evaluations(record),
        'Test': _facts(_numbers(record.test_results)),
        'Throughput': _facts(_throughput(record)),
        'Model and data': _facts(describe(record.config)),
        'Environment': _facts(record.environment),
        'Config': _config(record),
    }
    body = ''.join(
        f'<section><h2>{title}</h2>{_about(title)}{content}</section>\n'
        for title, content in sections.items()
        if content
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>{escape(record.name)}</title>'
        f'<style>{STYLE}</style></head><body><main>\n'
        f'<h1>{escape(record.name)}</h1>'
        f'<p class="muted">{escape(_subtitle(record))}</p>\n'
        f'{_tiles(record)}\n{body}'
        f'<p class="muted">mmhgkd {__version__}</p></main></body></html>'
    )


def _about(section: str) -> str:
    text = ABOUT.get(section, '')
    return text and f'<p class="muted">{text}</p>'


def results_table(path: Path) -> str:
    """The comparison at the end of a distillation; '' without one."""
    try:
        results = json.loads(path.read_text(encoding='utf-8'))
        metrics = results['metrics']
    except (OSError, ValueError, KeyError):
        return ''
    keys = [key for key in METRICS if any(key in r for r in metrics.values())]
    if not keys:
        return ''
    lines = [
        'The features are frozen; but for the row "supervised" nothing has '
        'learned from labels.'
        if 'supervised' in metrics
        else 'The features are frozen: nothing has learned from labels.',
        *(f'{name}: {ROWS[name]}.' for name in metrics if name in ROWS),
        describe_change(results),
    ]
    table = _number_table(
        ['', *(METRICS[key][1] for key in keys)],
        {
            f'<th>{escape(name)}</th>': [
                f'{row[key]:.1f}' if key in row else '' for key in keys
            ]
            for name, row in metrics.items()
        },
    )
    text = '<br>'.join(escape(line) for line in lines if line)
    return f'{table}<p class="muted">{text}</p>'


def describe(config: Mapping[str, Any]) -> dict[str, str]:
    """Name the parts of an OpenMMLab run, as far as its config has them."""
    model = config.get('model') or {}
    mask = model.get('mask') or {}
    loader = config.get('train_dataloader') or {}
    wrapper = config.get('optim_wrapper') or {}
    optimizer = wrapper.get('optimizer') or {}
    facts = {
        'model': _part(model),
        'teacher': _part(model.get('teacher')),
        'teacher network': _part((model.get('teacher') or {}).get('backbone')),
        'backbone': _part(model.get('backbone')),
        'decoder or neck': _part(model.get('neck')),
        'mask ratio': mask.get('mask_ratio'),
        'data': (loader.get('dataset') or {}).get('data_root'),
        'batch size': loader.get('batch_size'),
        'optimizer': _part(optimizer),
        'learning rate': optimizer.get('lr'),
        'seed': (config.get('randomness') or {}).get('seed'),
    }
    return {
        key: str(value) for key, value in facts.items() if value or value == 0
    }


def _part(config: Any) -> str:
    """Type of a component, with what tells its size."""
    if isinstance(config, Sequence) and not isinstance(config, str):
        return ', '.join(_part(item) for item in config)
    if not isinstance(config, Mapping):
        return ''
    kind = config.get('type') or ''
    name = kind if isinstance(kind, str) else kind.__name__
    for key in ('depth', 'arch', 'model_name'):
        if isinstance(config.get(key), (int, str)):
            name += f', {key} {config[key]}'
    return name


def _subtitle(record: RunRecord) -> str:
    try:  # of a distillation
        plan = json.loads((record.folder / PLAN).read_text(encoding='utf-8'))
        student, photos = plan['student'], plan['photos']
        teacher = TEACHERS_IN_WORDS.get(plan['teacher'], plan['teacher'])
    except (OSError, ValueError, KeyError, TypeError):
        facts = describe(record.config)
        names = (facts.get(key) for key in ('model', 'backbone', 'teacher'))
        return ' · '.join(name for name in names if name)
    return f'{student}, taught by {teacher} on {photos:,} photos'


def _tiles(record: RunRecord) -> str:
    values = {**_numbers(record.final_metrics), **progress(record)}
    losses = record.series('loss')[1]
    if losses:
        values['training loss'] = f'{losses[-1]:.4g}'
    values['images/s'] = throughput(record)['images/s']
    tiles = ''.join(
        f'<div class="card tile"><span class="muted">{escape(key)}</span>'
        f'<b>{escape(value)}</b></div>'
        for key, value in values.items()
        if value
    )
    return f'<div class="grid tiles">{tiles}</div>'


def _curves(record: RunRecord) -> str:
    # A single evaluation is a number and no curve.
    keys = [
        key for key in curve_keys([record]) if len(record.series(key)[0]) > 1
    ]
    cards = ''.join(
        f'<figure class="card">{_svg(record, key)}'
        f'<figcaption>{escape(explain_curve(key))}</figcaption></figure>'
        for key in keys
    )
    return cards and f'<div class="grid">{cards}</div>'


def _svg(record: RunRecord, key: str) -> str:
    figure = Figure((3.9, 2.5), layout='constrained')
    draw_curve(figure.subplots(), key, [record])
    text = io.StringIO()
    # Without a salt of its own the parts of all curves have equal ids.
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': key}):
        figure.savefig(
            text,
            format='svg',
            transparent=True,
            metadata=dict.fromkeys(('Creator', 'Date', 'Format', 'Type')),
        )
    svg = text.getvalue()
    # The page has these colors in light and in dark.
    for color, name in ((INK, 'ink'), (MUTED, 'muted'), (GRID, 'line')):
        svg = svg.replace(color, f'var(--{name})')
    label = f'<svg role="img" aria-label="{escape(key)}" '
    return svg[svg.index('<svg') :].replace('<svg ', label, 1)


def _evaluations(record: RunRecord) -> str:
    rows = sorted(record.evaluations.items())
    if not rows:
        return ''
    keys = list(dict.fromkeys(key for _, row in rows for key in row))
    head = 'epoch' if record.by_epoch else 'iteration'
    return _number_table(
        [head, *keys],
        {
            f'<td>{step}</td>': [
                f'{row[key]:.4g}' if key in row else '' for key in keys
            ]
            for step, row in rows
        },
    )


def _number_table(
    header: Sequence[str], rows: Mapping[str, Sequence[str]]
) -> str:
    """A table of numbers, by the cell that each row begins with."""
    head = ''.join(f'<th>{escape(name)}</th>' for name in header)
    body = ''.join(
        f'<tr>{first}{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, cells in rows.items()
    )
    return (
        '<div class="card scroll"><table class="numbers"><thead><tr>'
        f'{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _throughput(record: RunRecord) -> dict[str, str]:
    facts = throughput(record)
    times = [row for row in record.training if row.get('time')]
    if times:
        loading = sum(row.get('data_time', 0) for row in times)
        share = loading / sum(row['time'] for row in times)
        facts['waiting for data'] = f'{100 * share:.1f} % of the time'
    memory = max((row.get('memory', 0) for row in record.training), default=0)
    if memory:
        facts['peak GPU memory'] = f'{memory} MiB'
    return {key: value for key, value in facts.items() if value}


def _numbers(values: Mapping[str, float]) -> dict[str, str]:
    return {key: f'{value:.4g}' for key, value in values.items()}


def _facts(facts: Mapping[str, str]) -> str:
    rows = ''.join(
        f'<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>'
        for key, value in facts.items()
    )
    return (
        rows and f'<div class="card"><table class="facts">{rows}</table></div>'
    )


def _config(record: RunRecord) -> str:
    text = escape(record.config.pretty_text)
    return (
        f'<details><summary>{len(record.config.pretty_text.splitlines())} '
        f'lines</summary><div class="card scroll"><pre>{text}</pre></div>'
        '</details>'
    )
