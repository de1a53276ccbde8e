from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from tool_loader import load_tool
from toy_run import config, write_run

from mmhgkd.registry import MODELS
from mmhgkd.report import RunRecord
from mmhgkd.visualization import (
    model_panel,
    student_features,
    student_panel,
    teacher_features,
)
from mmhgkd.visualization.model_panel import to_unit_range
from mmhgkd.visualization.trained_model import (
    file_inputs,
    image_size,
    load_trained_model,
    run_inputs,
    set_image_size,
    untrained_model,
)

draw_panel = load_tool('visualization/draw_panel')
draw_students = load_tool('visualization/draw_students')
intensity_histogram = load_tool('visualization/intensity_histogram')


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory, class_folders: Path) -> Path:
    return write_run(tmp_path_factory.mktemp('work') / 'toy', class_folders)


def test_panel_of_the_evaluation_images(run: Path) -> None:
    assert draw_panel.main([str(run), '--num-images', '2']) == 0
    record = RunRecord(run)
    model = load_trained_model(record)
    assert not model.training
    weights = torch.load(run / 'epoch_2.pth')['state_dict']
    assert torch.equal(
        model.backbone.conv1.weight, weights['backbone.conv1.weight']
    )
    inputs = run_inputs(record, model, 2)
    np.testing.assert_array_equal(
        np.asarray(Image.open(run / 'panel.png')), model_panel(model, inputs)
    )


def test_panel_of_files(run: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(
        tmp_path / 'a.png'
    )
    Image.fromarray(rng.integers(0, 256, (90, 300), np.uint8)).save(
        tmp_path / 'b.png'
    )
    paths = [str(tmp_path / name) for name in ('a.png', 'b.png')]
    out = tmp_path / 'deep' / 'out.png'
    assert (
        draw_panel.main(
            [
                str(run),
                *paths,
                '--out',
                str(out),
                '--saliency',
                'error',
                '--draw',
                '1',
            ]
        )
        == 0
    )
    model = load_trained_model(RunRecord(run))
    inputs = file_inputs(model, paths, (64, 64))
    np.testing.assert_array_equal(
        np.asarray(Image.open(out)), model_panel(model, inputs, 1, 'error')
    )
    # An image of the right size is only normalized.
    pixels = np.asarray(Image.open(paths[0])).transpose(2, 0, 1)
    mean = np.array([123.675, 116.28, 103.53]).reshape(3, 1, 1)
    std = np.array([58.395, 57.12, 57.375]).reshape(3, 1, 1)
    np.testing.assert_allclose(inputs[0], (pixels - mean) / std, atol=1e-5)
    # Of a wide one the middle is left, at the height of the run's images.
    middle = (
        Image.open(paths[1])
        .convert('RGB')
        .resize((213, 64), Image.Resampling.BICUBIC)
        .crop((74, 0, 138, 64))
    )
    np.testing.assert_allclose(
        inputs[1] * std + mean,
        np.asarray(middle).transpose(2, 0, 1),
        atol=1e-3,
    )


def test_histogram(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'intensities.png'
    command = [str(run), '--out', str(out), '--num-images', '8']
    assert intensity_histogram.main(command) == 0
    rows = [
        line.split() for line in capsys.readouterr().out.splitlines()[2:-1]
    ]
    assert [row[0] for row in rows] == ['pixels'] + ['stage'] * 4
    # Half of the units are hidden.
    assert 0.4 < float(rows[0][1]) <= 0.5 and float(rows[0][2]) < 0.1
    assert Image.open(out).size[0] > Image.open(out).size[1]
    intensity_histogram.main([*command, '--mask-ratio', '0'])
    assert 'pixels     0.000   0.000' in capsys.readouterr().out


def test_size_comes_from_the_pipeline(class_folders: Path) -> None:
    cfg = config(class_folders)
    crop = cfg.train_dataloader.dataset.pipeline[1]
    assert image_size(cfg) == (64, 64)
    crop.crop_size = (64, 96)
    assert image_size(cfg) == (64, 96)
    del crop['crop_size']
    crop.scale = (96, 64)  # of a RandomResizedCrop: width first
    assert image_size(cfg) == (64, 96)
    cfg.val_dataloader = dict(dataset=dict(pipeline=[dict(crop_size=32)]))
    assert image_size(cfg) == (32, 32)
    cfg.train_dataloader = cfg.val_dataloader = None
    with pytest.raises(ValueError, match='unknown'):
        image_size(cfg)


def photo(path: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return str(path)


def test_panel_in_another_size(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, out = photo(tmp_path / 'a.png'), tmp_path / 'out.png'
    arguments = [str(run), name, '--size', '96', '--out', str(out)]
    assert draw_panel.main(arguments) == 0
    model = load_trained_model(RunRecord(run))
    np.testing.assert_array_equal(
        np.asarray(Image.open(out)),
        model_panel(model, file_inputs(model, [name], (96, 96))),
    )
    text = error_of([str(run), name, '--size', '100'], capsys)
    assert 'multiple of the mask unit of 32 px, got 100' in text
    text = error_of([str(run), '--size', '96'], capsys)
    assert '`--size` is for image files' in text


def test_size_of_a_teacher_that_resizes_follows(run: Path) -> None:
    record = RunRecord(run)
    model = load_trained_model(record)
    model.teacher.input_size = (64, 64)
    assert set_image_size(model, record.config) == (64, 64)
    assert set_image_size(model, record.config, 96) == (96, 96)
    assert model.teacher.input_size == (96, 96)


def test_students_side_by_side(
    run: Path,
    class_folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, out = photo(tmp_path / 'a.png'), tmp_path / 'out.png'
    other = write_run(tmp_path / 'other', class_folders)
    cfg = Config.fromfile(other / '20260101_000000' / 'vis_data' / 'config.py')
    cfg.model.teacher = dict(
        type='mmhgkd.MIMTeacher',
        backbone=dict(
            type='MAEViT',
            arch=dict(
                embed_dims=24,
                num_layers=1,
                num_heads=2,
                feedforward_channels=24,
            ),
            img_size=64,
            patch_size=16,
        ),
        allow_random=True,
    )
    cfg.model.neck.out_channels = 24
    cfg.dump(other / '20260101_000000' / 'vis_data' / 'config.py')
    record = RunRecord(other)
    untrained = untrained_model(record)
    torch.save(dict(state_dict=untrained.state_dict()), other / 'epoch_2.pth')
    capsys.readouterr()
    arguments = [str(run), str(other), '--names', 'pixels', 'H-GKD']
    arguments += ['--images', name, '--size', '96', '--out', str(out)]
    assert draw_students.main(arguments) == 0
    assert capsys.readouterr().out == f'1 images drawn to {out}\n'
    models = [load_trained_model(RunRecord(folder)) for folder in (run, other)]
    images = to_unit_range(models[0], file_inputs(models[0], [name], (96, 96)))
    features = {
        title: student_features(model, images)
        for title, model in zip(
            ('Untrained', 'pixels', 'H-GKD'),
            (untrained, *models),
            strict=True,
        )
    }
    # Of whole images, by the last stage.
    inputs = file_inputs(models[1], [name], (96, 96))
    with torch.no_grad():
        plain = models[1].backbone(inputs)[-1].permute(0, 2, 3, 1)
    torch.testing.assert_close(features['H-GKD'], plain, rtol=1e-4, atol=1e-4)
    features['Teacher'] = teacher_features(models[1], images)
    assert features['Teacher'].shape == (1, 6, 6, 24)
    assert not torch.equal(features['Untrained'], features['pixels'])
    drawn = np.asarray(Image.open(out)).astype(int)
    expected = student_panel(images, features).astype(int)
    assert drawn.shape == expected.shape
    # The teacher is random here, another one each time that it is built.
    drawn, expected = drawn[:254, :-232], expected[:254, :-232]
    assert (np.abs(drawn - expected) > 2).mean() < 0.01
    # Runs of pixels alone have no teacher.
    arguments = [str(run), '--images', name, '--out', str(out)]
    assert draw_students.main(arguments) == 0
    assert Image.open(out).width == 8 + 3 * (224 + 8)


def test_wrong_students_are_one_line(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in (
        (['nowhere'], 'there is no folder nowhere'),
        ([str(run), '--names', 'a', 'b'], '`--names` needs 1 different'),
        ([str(run), '--size', '96'], '`--size` is for image files'),
    ):
        assert draw_students.main(arguments) == 2
        text = capsys.readouterr().err
        assert message in text and text.count('\n') == 1


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert draw_panel.main(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith('error: ') and text.count('\n') == 1
    return text


def test_errors_are_one_line(
    run: Path,
    class_folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert 'there is no folder' in error_of([str(tmp_path / 'x')], capsys)
    assert 'holds no log' in error_of([str(tmp_path)], capsys)
    text = error_of([str(run), '--checkpoint', 'no.pth'], capsys)
    assert 'there is no checkpoint no.pth' in text
    (tmp_path / 'text.png').write_text('no image')
    text = error_of([str(run), str(tmp_path / 'text.png')], capsys)
    assert 'cannot read the image' in text and 'text.png' in text
    text = error_of(
        [str(run), '--checkpoint', str(tmp_path / 'text.png')], capsys
    )
    assert 'text.png cannot be read as a checkpoint' in text
    init_default_scope('mmpretrain')
    cfg = config(class_folders)
    cfg.model.backbone.depth = 34
    other = tmp_path / 'other.pth'
    torch.save(MODELS.build(cfg.model).state_dict(), other)
    text = error_of([str(run), '--checkpoint', str(other)], capsys)
    assert 'other.pth does not fit the config of' in text
    assert 'backbone.layer' in text


def test_other_models_and_lost_data(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / 'lost', class_folders)
    path = folder / '20260101_000000' / 'vis_data' / 'config.py'
    cfg = config(tmp_path / 'gone')
    cfg.dump(path)
    assert 'gone` of `train_dataloader' in error_of([str(folder)], capsys)
    cfg.model = dict(type='ImageClassifier')
    cfg.dump(path)
    text = error_of([str(folder)], capsys)
    assert 'is a run of ImageClassifier' in text
