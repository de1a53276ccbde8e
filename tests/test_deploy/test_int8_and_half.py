from pathlib import Path

import onnxruntime
import pytest
import torch
from PIL import Image
from task_files import CLASSES, classifier, retinanet, segmentor, write_task

from mmhgkd.deploy import describe, export_onnx
from mmhgkd.deploy.onnx_file import draw_photos
from mmhgkd.utils import ConfigError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / 'photos'
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index, pixels in enumerate(draw_photos(3, 80, 100, seed=number)):
            image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
            image.save(folder / name / f'{index}.png')
    return folder


def kinds(path: Path) -> set[str]:
    import onnx

    return {node.op_type for node in onnx.load(path).graph.node}


def weights(path: Path) -> int:
    """Bytes of the weights in a file."""
    import onnx

    return sum(len(x.raw_data) for x in onnx.load(path).graph.initializer)


def test_int8_of_a_classifier(tmp_path: Path, photos: Path) -> None:
    checkpoint = write_task(tmp_path, 'mmpretrain', classifier())
    export_onnx(checkpoint, tmp_path / 'a.onnx')
    export = export_onnx(checkpoint, tmp_path / 'b.onnx', int8=str(photos))
    assert {'QuantizeLinear', 'DequantizeLinear'} <= kinds(tmp_path / 'b.onnx')
    assert set(export.agreement) == {
        'agreement',
        'accuracy before',
        'accuracy after',
    }
    assert export.agreement['agreement'] >= 0.5
    # Not the export's own comparison, but one by hand.
    hits = {'a': 0, 'b': 0}
    for name in hits:
        session = onnxruntime.InferenceSession(str(tmp_path / f'{name}.onnx'))
        for label, kind in enumerate(CLASSES):
            for path in sorted((photos / kind).iterdir()):
                image = Image.open(path)
                # Short edge 72, then the center of 64.
                image = image.resize((90, 72), Image.Resampling.BILINEAR)
                image = image.crop((13, 4, 77, 68))
                pixels = torch.tensor(list(image.tobytes()), dtype=torch.uint8)
                pixels = pixels.reshape(1, 64, 64, 3).permute(0, 3, 1, 2)
                (logits,) = session.run(['logits'], {'images': pixels.numpy()})
                hits[name] += int(logits.argmax()) == label
    assert export.agreement['accuracy before'] == pytest.approx(hits['a'] / 9)
    assert export.agreement['accuracy after'] == pytest.approx(hits['b'] / 9)
    text = '\n'.join(describe(export))
    assert 'accuracy before: ' in text and 'precision: int8' in text
    small, large = (weights(tmp_path / f'{name}.onnx') for name in 'ba')
    assert small < 0.3 * large


@pytest.mark.parametrize(
    ('scope', 'model'),
    [('mmseg', segmentor('upernet')), ('mmdet', retinanet())],
)
def test_int8_of_dense_tasks(
    scope: str, model: dict, tmp_path: Path, photos: Path
) -> None:
    pytest.importorskip(scope)
    checkpoint = write_task(tmp_path, scope, model)
    export = export_onnx(checkpoint, tmp_path / 'a.onnx', int8=str(photos))
    assert set(export.agreement) == {'agreement'}
    assert 0.3 < export.agreement['agreement'] <= 1


def test_half(tmp_path: Path) -> None:
    pytest.importorskip('mmdet')
    checkpoint = write_task(tmp_path, 'mmdet', retinanet())
    export_onnx(checkpoint, tmp_path / 'a.onnx')
    export = export_onnx(checkpoint, tmp_path / 'b.onnx', half=True)
    assert export.metadata['precision'] == 'fp16'
    assert export.differences['scores'] < 0.02
    small, large = (weights(tmp_path / f'{name}.onnx') for name in 'ba')
    assert small < 0.51 * large


def test_classes_of_another_task(tmp_path: Path, photos: Path) -> None:
    (photos / 'cat').rename(photos / 'horse')
    checkpoint = write_task(tmp_path, 'mmpretrain', classifier())
    export = export_onnx(checkpoint, tmp_path / 'a.onnx', int8=str(photos))
    assert set(export.agreement) == {'agreement'}
    assert 'the folder horse is no class' in ' '.join(export.notes)


def test_int8_needs_new_operators(tmp_path: Path, photos: Path) -> None:
    checkpoint = write_task(tmp_path, 'mmpretrain', classifier())
    with pytest.raises(ConfigError, match='--opset 13'):
        export_onnx(
            checkpoint, tmp_path / 'a.onnx', opset=12, int8=str(photos)
        )
