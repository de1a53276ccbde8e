from pathlib import Path

import pytest
from PIL import Image
from tool_loader import load_tool
from toy_run import config, write_run

plot_logs = load_tool('analysis_tools/plot_logs')
compare_runs = load_tool('analysis_tools/compare_runs')
get_flops = load_tool('analysis_tools/get_flops')


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory, class_folders: Path) -> Path:
    return write_run(tmp_path_factory.mktemp('work') / 'toy', class_folders)


def test_plot(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plot_logs.main([str(run), '--list']) == 0
    assert capsys.readouterr().out.split() == ['loss', 'knn/top1', 'lr']
    out = tmp_path / 'deep' / 'curves.png'
    assert plot_logs.main([str(run), '--out', str(out)]) == 0
    assert Image.open(out).size == (1620, 375)
    assert plot_logs.main([str(run), '--keys', 'lo', '--out', str(out)]) == 2
    assert "no run has logged 'lo'" in capsys.readouterr().err
    assert plot_logs.main([str(run), '--out', str(tmp_path / 'a.what')]) == 2
    assert capsys.readouterr().err.count('\n') == 1


def test_table(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'table.csv'
    assert compare_runs.main([str(run), '--out', str(out)]) == 0
    assert out.read_text().splitlines() == [
        'run,epochs,iterations,loss,knn/top1,ms/iteration,images/s',
        'toy,2,2,0.5,12.5,500,8',
    ]
    shown = capsys.readouterr().out
    assert shown.splitlines()[2] == '| toy | 2 | 2 | 0.5 | 12.5 | 500 | 8 |'
    out = tmp_path / 'table.md'
    assert compare_runs.main([str(run), '--out', str(out)]) == 0
    assert out.read_text() == shown
    assert compare_runs.main([str(tmp_path)]) == 2
    assert 'holds no log' in capsys.readouterr().err


def test_count(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'toy.py'
    config(class_folders).dump(path)
    student, *_, total = get_flops.count(str(path))
    assert student.sparse * 2 == student.dense  # two of four units
    assert total.dense > student.dense
    larger = get_flops.count(str(path), (64, 128))[0]
    assert larger.dense == 2 * student.dense
    assert get_flops.main([str(path), '--shape', '64']) == 0
    assert f'{student.dense / 1e9:.3f}' in capsys.readouterr().out
    assert get_flops.main([str(path), '--shape', '50']) == 2
    assert 'no multiple of the mask unit' in capsys.readouterr().err
    cfg = config(class_folders)
    cfg.model.type = 'ImageClassifier'
    cfg.dump(path)
    assert get_flops.main([str(path)]) == 2
    assert 'holds no mmhgkd.HGKD' in capsys.readouterr().err
