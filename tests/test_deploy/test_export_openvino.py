from pathlib import Path

import numpy as np
import pytest
from task_files import (
    classifier,
    retinanet,
    segmentor,
    two_stage,
    write_task,
)

from mmhgkd.deploy import export_onnx
from mmhgkd.deploy.onnx_file import draw_photos, open_session, run

openvino = pytest.importorskip('openvino')


@pytest.mark.parametrize(
    ('scope', 'model'),
    [
        ('mmpretrain', classifier()),
        ('mmseg', segmentor('upernet')),
        ('mmdet', retinanet()),
        ('mmdet', two_stage()),
    ],
)
def test_openvino_computes_the_same(
    scope: str, model: dict, tmp_path: Path
) -> None:
    pytest.importorskip(scope)
    checkpoint = write_task(tmp_path, scope, model)
    export_onnx(checkpoint, tmp_path / 'a.onnx')
    out = tmp_path / 'b.xml'
    export = export_onnx(checkpoint, out)
    assert export.path == out
    assert {path.name for path in tmp_path.iterdir()} == {
        'epoch_1.pth',
        'a.onnx',
        'b.xml',
        'b.bin',
    }
    read = openvino.Core().read_model(str(out))
    for name, value in export.metadata.items():
        assert str(read.get_rt_info(['mmhgkd', name]).value) == value
    compiled = openvino.compile_model(
        read, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'}
    )
    images = draw_photos(2, 110, 80, seed=11)
    found = compiled(images.numpy())
    names = [output.get_any_name() for output in compiled.outputs]
    for name, wanted in run(open_session(tmp_path / 'a.onnx'), images).items():
        values = np.asarray(found[names.index(name)], np.float64)
        wanted = wanted.double().numpy()
        if name == 'labels':
            assert (values == wanted).mean() > 0.99
        else:
            scale = max(1.0, np.abs(wanted).max())
            assert np.abs(values - wanted).max() <= 1e-2 * scale
