import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from ranks import run_script

from mmhgkd.sparse.triton.tuning import read_blocks

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / 'tools' / 'benchmarks'
QUICK = ('--quick', '--device', 'cpu', '--workers', '1', '--minutes', '60')
INTERPRETED = """
import sys
import common
# A process of each part would import everything again.
common.START_METHOD = 'fork'
import gpu_report
sys.exit(gpu_report.main())
"""


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(
        importlib.import_module('common'), 'START_METHOD', 'fork'
    )
    return importlib.import_module('gpu_report')


def files(folder: Path) -> list[str]:
    names = dict(json='out.json', markdown='out.md', blocks='blocks.json')
    return [x for k, v in names.items() for x in (f'--{k}', str(folder / v))]


def check_parts(folder: Path, *parts: int) -> dict[str, Any]:
    content = json.loads((folder / 'out.json').read_text())
    assert list(content['parts']) == [str(part) for part in parts]
    page = (folder / 'out.md').read_text()
    for part in content['parts'].values():
        assert part['state'] == 'finished', part.get('output')
        for name, row in part['rows'].items():
            assert row.get('check', 'passed') == 'passed', (name, row)
            assert f'| {name} |' in page
    return {k: v['rows'] for k, v in content['parts'].items()}


def test_parts_on_the_cpu(tmp_path: Path) -> None:
    done = run_script(
        BENCHMARKS / 'gpu_report.py',
        *QUICK,
        *files(tmp_path),
        *('--parts', '3', '4', '5', '6', '8'),
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = check_parts(tmp_path, 3, 4, 5, 6, 8)
    student = rows['3']
    # Two ways to compute in float32 are near what float64 gives.
    assert set(student) == {'packed, PyTorch', 'masked, PyTorch'}
    assert all(0 < x['output'] < 1e-4 for x in student.values())
    step, run = rows['4'].values()
    assert step['last'] < step['first'] and step['steps'] == 20
    assert run['steps'] == 4 and 'waits' not in run
    speed = rows['5']
    assert set(speed) == {
        f'{tool}, batch 2: {row}'
        for tool in ('encoder', 'step')
        for row in ('dense', 'packed')
    } | {
        f'recipe, batch 2: {row}'
        for row in (
            'recommended',
            'grid decoder',
            'mmpretrain channels_last',
        )
    }
    assert all(x['step_ms'] > 0 and 'busy' not in x for x in speed.values())
    assert rows['6']['compiled']['graphs'] == 2
    assert rows['6']['plain']['graphs'] == 0
    two = rows['8']['two processes']
    assert two['loss'] == pytest.approx(rows['8']['one process']['loss'])
    assert two['off'] < 1e-3
    # What the CPU cannot measure, and what did not run.
    page = (tmp_path / 'out.md').read_text()
    assert '| CUDA graphs | not measured |' in page
    assert '| gather_gemm | not measured |' in page


@pytest.mark.skipif(
    torch.cuda.is_available(), reason='the GPU runs the kernels themselves'
)
def test_kernels_under_the_interpreter(tmp_path: Path) -> None:
    pytest.importorskip('triton', reason='no wheel for this system')
    arguments = [*QUICK, *files(tmp_path), '--parts', '2', '3', '7']
    done = subprocess.run(
        [sys.executable, '-c', INTERPRETED, *arguments],
        cwd=BENCHMARKS,
        env=os.environ | dict(TRITON_INTERPRET='1', OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = check_parts(tmp_path, 2, 3, 7)
    kernels = rows['2']
    assert len(kernels) == 12
    for row in kernels.values():
        assert row['fp32'] < 5e-6 and row['fp16'] < 1e-3
        assert row['repeats'] == 'yes' and row['launches'] >= 4
    assert 'packed, Triton' in rows['3']
    assert len(rows['7']) == 4
    assert all(row['tried'] == 2 for row in rows['7'].values())
    table = read_blocks(tmp_path / 'blocks.json')
    chosen = [x for x in rows['7'].values() if x['best'] != x['default']]
    assert len(table) == len(chosen)
    for row in chosen:
        assert row['default_us'] >= 1.05 * row['best_us']


def test_kernels_compile(tmp_path: Path) -> None:
    pytest.importorskip('triton', reason='no wheel for this system')
    done = run_script(
        BENCHMARKS / 'gpu_report.py',
        *QUICK,
        *files(tmp_path),
        *('--parts', '1'),
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = check_parts(tmp_path, 1)['1'].values()
    assert row['launches'] == 1 and row['spilled'] == 0
    assert row['seconds'] > 0


class Step:
    """A step of training that notes what may wait for the GPU."""

    def __init__(self, fails: bool) -> None:
        self.weight = torch.ones((), requires_grad=True)
        self.weight.register_hook(lambda _: self.note('backward'))
        self.fails, self.mode = fails, 'default'
        self.modes: dict[str, list[str]] = {}
        self.optim_wrapper = SimpleNamespace(
            param_groups=[],
            step=lambda: self.note('step'),
            zero_grad=lambda: None,
        )

    def note(self, name: str) -> None:
        self.modes.setdefault(name, []).append(self.mode)

    def forward(self, images: Any) -> torch.Tensor:
        self.note('forward')
        if self.fails and self.mode == 'error':
            raise RuntimeError('called a synchronizing CUDA operation')
        return self.weight * 2


@pytest.mark.parametrize('waits', [False, True])
def test_steps_that_wait_for_the_gpu_end_the_part(
    waits: bool,
    report: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = importlib.import_module('gpu_parts.training')
    step = Step(waits)
    monkeypatch.setattr(
        torch.cuda,
        'set_sync_debug_mode',
        lambda mode: setattr(step, 'mode', mode),
    )
    monkeypatch.setattr(training.steps, 'build', lambda *_: (step, None))
    args = report.parse_args(['--quick', '--device', 'cuda'])
    found = importlib.import_module('gpu_parts.results').Results(
        tmp_path / 'rows.json'
    )
    if waits:
        with pytest.raises(RuntimeError, match='synchronizing'):
            training.train(args, found)
    else:
        training.train(args, found)
        assert set(step.modes['step']) == {'default'}
    warm = training.WARM_UP
    for name in ('forward',) if waits else ('forward', 'backward'):
        modes = step.modes[name]
        assert modes[:warm] == ['default'] * warm
        assert len(modes) > warm and set(modes[warm:]) == {'error'}
    assert step.mode == 'default'


class Part:
    """A part that does what is asked of it."""

    TITLE = 'A part'
    SECONDS = 30
    COLUMNS = dict(value=('value', '.1f'))

    def __init__(self, act: Any = None) -> None:
        self.act = act

    def cases(self, args: argparse.Namespace) -> list[str]:
        return ['first', 'second']

    def run(self, args: argparse.Namespace, results: Any) -> None:
        results.add('first', value=1.25)
        results.check('first', True, 'none')
        print('about to act', flush=True)
        if self.act is not None:
            self.act(results)
        results.add('second', value=2.5)


def hang(results: Any) -> None:
    # A child that would keep the machine busy has to end, too.
    child = os.fork()
    if child:
        results.add('second', value=child)
    time.sleep(600)


def ends(process: int) -> bool:
    """Whether it runs no more; nobody may have asked for its exit code."""
    status = Path(f'/proc/{process}/status')
    for _ in range(100):
        try:
            if 'State:\tZ' in status.read_text():
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def fail(results: Any) -> None:
    results.check('second', False, 'too slow')
    results.check('second', True, 'fine')
    results.check('second', False, 'too large')


@pytest.mark.parametrize(
    ('act', 'state', 'code'),
    [
        (None, 'finished', 0),
        (fail, 'finished', 1),
        (lambda results: 1 / 0, 'ended with exit code 1', 1),
        (
            lambda results: os.kill(os.getpid(), signal.SIGKILL),
            'ended with exit code -9',
            1,
        ),
        (hang, 'ended after 1 s', 1),
    ],
)
def test_a_part_loses_only_itself(
    act: Any,
    state: str,
    code: int,
    report: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if torch.cuda.is_available():
        pytest.skip('processes are not forked where there is a GPU')
    monkeypatch.setattr(report, 'PARTS', {1: Part(act), 2: Part()})
    # Time enough for what does not hang, and little for what does.
    minutes = '0.2' if act is hang else '5'
    if act is hang:
        monkeypatch.setattr(report.PARTS[1], 'SECONDS', 1)
    arguments = ['--quick', '--device', 'cpu', '--minutes', minutes]
    arguments += files(tmp_path)
    assert report.main([*arguments, '--parts', '1', '2']) == code
    content = json.loads((tmp_path / 'out.json').read_text())['parts']
    assert content['1']['state'] == state
    assert content['1']['rows']['first'] == dict(value=1.25, check='passed')
    assert content['2']['state'] == 'finished'
    page = (tmp_path / 'out.md').read_text()
    assert '| first | 1.2 | passed |' in page
    if state == 'finished':
        assert 'output' not in content['1']
    else:
        assert 'about to act' in content['1']['output']
        assert f'The part {state}' in page
    if act is fail:
        assert 'failed: too slow; too large;' in page
    if act is hang:
        assert ends(content['1']['rows']['second']['value'])


def test_page_keeps_what_is_around_the_tables(
    report: ModuleType, tmp_path: Path
) -> None:
    page = tmp_path / 'page.md'
    page.write_text(f'before\n{report.BEGIN}\nold\n{report.END}\nafter\n')
    args = report.parse_args(['--quick', '--markdown', str(page)])
    for _ in range(2):
        report.write(dict(parts={}), args)
    text = page.read_text()
    assert text.startswith('before\n') and text.endswith('\nafter\n')
    assert 'old' not in text
    assert text.count('### ') == len(report.PARTS)


def test_docs_show_the_report(report: ModuleType) -> None:
    """Until someone has measured, every cell says that nobody has."""
    text = (ROOT / 'docs' / 'speed.md').read_text()
    shown = text.partition(report.BEGIN)[2].partition(report.END)[0].strip()
    args = report.parse_args(['--device', 'cuda'])
    if f'GPU: {report.UNKNOWN}' in shown:
        assert shown == report.render({}, args).strip()
    for part in report.PARTS.values():
        assert part.TITLE in shown


def test_parts_fill_ten_minutes(report: ModuleType) -> None:
    assert list(report.PARTS) == list(range(1, 9))
    assert 500 < sum(x.SECONDS for x in report.PARTS.values()) <= 700


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ('--parts 9', 'invalid choice: 9'),
        ('--minutes 0', '--minutes must be positive, got 0'),
    ],
)
def test_options_that_make_no_sense(
    arguments: str,
    message: str,
    report: ModuleType,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        report.parse_args(arguments.split())
    assert message in capsys.readouterr().err


def test_without_a_gpu(
    report: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(['--device', 'cpu']) == 2
    assert 'error: no GPU is found' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('spans', 'total'),
    [([], 0), ([(0, 2), (1, 3), (5, 6)], 4), ([(0, 9), (1, 2), (3, 4)], 9)],
)
def test_busy_time_counts_once(
    spans: list, total: float, report: ModuleType
) -> None:
    assert report.common.covered(spans) == total
