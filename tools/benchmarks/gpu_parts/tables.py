"""Speed of the encoder and of the whole step, and their peak memory."""

import argparse
import json
import tempfile
from pathlib import Path
from types import ModuleType

import recipe_speed
import step_speed
import student_speed
from common import DENSE, PEERS

from .results import Results
from .steps import SPARSE, options

TITLE = 'Speed in bf16'
SECONDS = 210
COLUMNS = dict(
    step_ms=('step ms', '.1f'),
    images_per_second=('images/s', '.0f'),
    peak_gib=('peak GiB', '.2f'),
    busy=('busy', '.0%'),
    times_dense=('x dense', '.2f'),
    times_mmpretrain=('x mmpretrain', '.2f'),
)
#: Rows of encoder and step. The dense one of the step is direct imitation by
#: a dense student that sees the whole image once, as in lightly-train.
ROWS = (DENSE, PEERS[1], 'masked', 'packed')
#: Each with its own losses and decoder, that of SparK for MMPretrain.
RECIPES = ('recommended', 'grid decoder', 'mmpretrain channels_last')
TOOLS = dict(encoder=student_speed, step=step_speed, recipe=recipe_speed)


def cases(args: argparse.Namespace) -> list[str]:
    """The tables at the batch sizes, and the compiled encoder."""
    return [
        name(tool, batch, compiled, row)
        for tool, batch, compiled in runs(args)
        for row in rows_of(tool, args)
    ]


def rows_of(tool: str, args: argparse.Namespace) -> tuple[str, ...]:
    """Rows of a table."""
    if tool == 'recipe':
        return RECIPES
    return (DENSE, 'packed') if args.quick else ROWS


def runs(args: argparse.Namespace) -> list[tuple[str, int, bool]]:
    """Tool, batch size and whether networks are compiled.

    What takes longest comes last. Whole steps are compiled by part 6.
    """
    sizes = args.batch_sizes
    found = [(tool, x, False) for x in sizes for tool in ('encoder', 'step')]
    found.insert(2, ('recipe', sizes[0], False))
    if not args.quick:
        found.append(('encoder', args.batch_sizes[-1], True))
    return found


def name(tool: str, batch: int, compiled: bool, row: str) -> str:
    """First cell of a row."""
    how = ', compiled' if compiled else ''
    return f'{tool}, batch {batch}{how}: {row}'


def run(args: argparse.Namespace, results: Results) -> None:
    """Run the tools one after the other."""
    for tool, batch, compiled in runs(args):
        more = ['--batch-size', str(batch), '--dtype', 'bf16']
        more += ['--rows', *rows_of(tool, args)]
        more += ['--repeats', '1' if args.quick else '5']
        more += ['--compile'] if compiled else []
        more += SPARSE if tool == 'step' else ()
        if args.device.startswith('cuda') and tool != 'recipe':
            more.append('--busy')
        if args.quick and tool != 'encoder':
            more += ['--teacher', 'vit-s']
        table = _run(TOOLS[tool], options(args, *more))
        for row, numbers in table.items():
            results.add(name(tool, batch, compiled, row), **numbers)


def _run(tool: ModuleType, arguments: list[str]) -> dict[str, dict]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'out.json'
        if tool.main([*arguments, '--json', str(out)]):
            raise RuntimeError(f'{tool.__name__} has failed, see its message')
        return json.loads(out.read_text())['rows']
