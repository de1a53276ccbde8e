import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from mmhgkd.deploy import export_onnx
from mmhgkd.deploy.onnx_file import draw_photos

sys.path.append(str(Path(__file__).parents[1] / 'test_deploy'))
from task_files import CLASSES, classifier, write_task

FOLDER = Path(__file__).parents[2] / 'tools' / 'benchmarks'


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module('deploy_speed')


@pytest.fixture
def student(tmp_path: Path) -> Path:
    checkpoint = write_task(tmp_path, 'mmpretrain', classifier())
    export_onnx(checkpoint, tmp_path / 'student.onnx')
    return tmp_path / 'student.onnx'


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """As large as the short edge, so that they are cropped alone."""
    folder = tmp_path / 'photos'
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index, pixels in enumerate(draw_photos(4, 72, 72, seed=number)):
            image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
            image.save(folder / name / f'{index}.png')
    return folder


def other_graph(path: Path) -> Path:
    """A graph of another exporter: fixed size, and nothing about itself."""
    network = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten()).eval()
    torch.onnx.export(
        network, (torch.zeros(1, 3, 32, 32),), str(path), dynamo=False
    )
    return path


def test_table(
    tool: ModuleType,
    student: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    teacher = other_graph(tmp_path / 'teacher.onnx')
    out = tmp_path / 'out.json'
    options = f'--photos {photos} --steps 2 --json {out}'.split()
    assert tool.main([str(student), str(teacher), *options]) == 0
    rows = json.loads(out.read_text())
    assert {row['file'] for row in rows} == {'student.onnx', 'teacher.onnx'}
    session = onnxruntime.InferenceSession(str(student))
    hits = 0
    for label, name in enumerate(CLASSES):
        for path in sorted((photos / name).iterdir()):
            pixels = np.asarray(Image.open(path))[4:68, 4:68]
            pixels = pixels.transpose(2, 0, 1)[None]
            (logits,) = session.run(['logits'], {'images': pixels})
            hits += int(logits.argmax()) == label
    for row in rows:
        assert row['milliseconds'] > 0
        ours = row['file'] == 'student.onnx'
        assert row['images'] == ('1x3x64x64' if ours else '1x3x32x32')
        size = (tmp_path / row['file']).stat().st_size
        assert row['megabytes'] == pytest.approx(size / 2**20)
        assert row['accuracy'] == (hits / 12 if ours else None)
    text = capsys.readouterr().out
    assert text.startswith('| file | runtime | precision | images | MiB |')
    assert 'teacher.onnx: the file does not say that it is a class' in text


def test_runtimes_compute_the_same(tool: ModuleType, student: Path) -> None:
    pytest.importorskip('openvino')
    args = tool.parse_args([str(student), '--batch-size', '2'])
    graph = tool.read_graph(student, args)
    assert graph.shape == (2, 3, 64, 64)
    images = draw_photos(2, 64, 64).numpy()
    one = tool.with_onnxruntime(graph, 1)(images)
    other = tool.with_openvino(graph, 1)(images)
    assert set(one) == set(other) == {'embedding', 'logits'}
    for name in one:
        np.testing.assert_allclose(
            one[name], other[name], rtol=1e-2, atol=1e-2
        )


def test_files_take_turns(tool: ModuleType) -> None:
    order: list[str] = []
    runs = [
        (lambda images, name=name: order.append(name), np.zeros(1))
        for name in 'ab'
    ]
    assert len(tool.time_in_turns(runs, 3)) == 2
    assert order == ['a', 'b'] * 5


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'there is no file'),
        (b'no graph', 'is no graph that ONNX Runtime reads'),
    ],
)
def test_files_that_are_no_graphs(
    content: bytes | None,
    message: str,
    tool: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / 'a.onnx'
    if content is not None:
        path.write_bytes(content)
    assert tool.main([str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


def test_wrong_numbers(tool: ModuleType) -> None:
    with pytest.raises(SystemExit):
        tool.parse_args(['a.onnx', '--steps', '0'])
