import sys
from pathlib import Path

import pytest
from tool_loader import load_tool

from mmhgkd.datasets.scenes import SHAPES, write_scenes
from mmhgkd.deploy import export_onnx

sys.path.append(str(Path(__file__).parents[1] / 'test_deploy'))
from task_files import classifier, retinanet, write_task

compare_export = load_tool('analysis_tools/compare_export')


def test_detector_on_drawn_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('mmdet')
    scenes = tmp_path / 'scenes'
    write_scenes(scenes, 'det', num_train=1, num_val=3, image_size=64)
    annotations = 'annotations/instances_val2017.json'
    dataset = dict(
        type='CocoDataset',
        data_root=str(scenes),
        ann_file=annotations,
        data_prefix=dict(img='val2017/'),
        metainfo=dict(classes=tuple(SHAPES)),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(128, 96), keep_ratio=True),
            dict(
                type='PackDetInputs',
                meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor'),
            ),
        ],
    )
    config = dict(
        test_dataloader=dict(
            dataset=dataset,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        test_evaluator=dict(
            type='CocoMetric',
            ann_file=str(scenes / annotations),
            metric='bbox',
        ),
    )
    checkpoint = write_task(tmp_path, 'mmdet', retinanet(), config)
    graph = str(tmp_path / 'a.onnx')
    export_onnx(checkpoint, graph)
    assert compare_export.main([checkpoint, graph, '--limit', '2']) == 0
    shown = capsys.readouterr().out
    found = dict(
        line.split(': ') for line in shown.splitlines() if ': ' in line
    )
    assert '2 pictures' in shown
    assert float(found['largest difference of boxes']) < 1e-3
    assert float(found['largest difference of scores']) < 1e-3
    own, other = found['coco/bbox_mAP'].split(', of the graph ')
    assert own == other


def test_other_tasks_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_task(tmp_path, 'mmpretrain', classifier())
    assert compare_export.main([checkpoint, checkpoint]) == 2
    assert 'its task is classification' in capsys.readouterr().err
    assert compare_export.main([checkpoint, str(tmp_path / 'no.onnx')]) == 2
    assert 'there is no file' in capsys.readouterr().err
