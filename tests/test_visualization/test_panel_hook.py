import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator

from mmhgkd.hooks import PanelHook
from mmhgkd.utils import ConfigError
from mmhgkd.visualization import fixed_samples, model_panel


def config(
    data_root: Path, work_dir: Path, hooks: list[dict], with_val: bool
) -> Config:
    pipeline = [
        dict(type='mmhgkd.LoadImage'),
        dict(type='RandomResizedCrop', scale=64),
        dict(type='PackInputs'),
    ]
    loader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
        dataset=dict(
            type='mmhgkd.ImageFolder',
            data_root=str(data_root),
            split='train',
            pipeline=pipeline,
        ),
    )
    val = dict(
        val_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
            dataset=dict(
                type='mmhgkd.ProbeImages',
                data_root=str(data_root),
                pipeline=[
                    dict(type='mmhgkd.LoadImage'),
                    dict(type='CenterCrop', crop_size=64),
                    dict(type='PackInputs', meta_keys=('split',)),
                ],
            ),
        ),
        val_cfg=dict(type='mmhgkd.RepresentationLoop'),
        val_evaluator=[dict(type='mmhgkd.KNNAccuracy', k=2)],
    )
    return Config(
        dict(
            **(val if with_val else {}),
            default_scope='mmpretrain',
            experiment_name=uuid.uuid4().hex,
            work_dir=str(work_dir),
            model=dict(
                type='mmhgkd.HGKD',
                data_preprocessor=dict(
                    type='SelfSupDataPreprocessor',
                    mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375],
                ),
                teacher=dict(type='mmhgkd.PixelTeacher'),
                mask=dict(type='mmhgkd.RandomUnitMask', mask_ratio=0.5),
                backbone=dict(
                    type='mmhgkd.SparseResNet',
                    depth=18,
                    stem_channels=8,
                    base_channels=8,
                ),
                neck=dict(
                    type='mmhgkd.UNetNeck',
                    in_channels=(8, 16, 32, 64),
                    width=16,
                    out_channels=768,
                ),
                head=dict(
                    type='mmhgkd.DistillationHead',
                    feature_loss=dict(type='mmhgkd.FeatureImitationLoss'),
                ),
            ),
            train_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=3, val_interval=3),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            visualizer=dict(
                type='UniversalVisualizer',
                vis_backends=[
                    dict(type='LocalVisBackend'),
                    dict(type='TensorboardVisBackend'),
                ],
            ),
            custom_hooks=hooks,
            randomness=dict(seed=0),
        )
    )


def train(settings: Config) -> Runner:
    runner = Runner.from_cfg(settings)
    runner.train()
    for registry in (MessageHub, MMLogger, Visualizer):
        registry._instance_dict.clear()
    return runner


@pytest.mark.parametrize('with_val', [True, False])
def test_panels_reach_all_backends_and_change_no_run(
    class_folders: Path, tmp_path: Path, with_val: bool
) -> None:
    hook = dict(
        type='mmhgkd.PanelHook',
        interval=2,
        num_images=2,
        untrained=with_val,
    )
    runner = train(config(class_folders, tmp_path / 'a', [hook], with_val))
    folder = Path(runner.log_dir) / 'vis_data'
    files = sorted((folder / 'vis_image').iterdir())
    # Every second epoch, and the last.
    epochs = [0] * with_val + [2, 3]
    assert [file.name for file in files] == [f'panel_{e}.png' for e in epochs]
    loader = runner.val_dataloader if with_val else runner.train_dataloader
    batch = default_collate(fixed_samples(loader.dataset, 2))
    inputs = runner.model.data_preprocessor(batch)['inputs']
    np.testing.assert_array_equal(
        np.asarray(Image.open(files[-1])), model_panel(runner.model, inputs)
    )
    events = event_accumulator.EventAccumulator(
        str(folder), size_guidance=dict(images=0)
    )
    events.Reload()
    assert [event.step for event in events.Images('panel')] == epochs
    plain = train(config(class_folders, tmp_path / 'b', [], with_val))
    for name, weight in runner.model.state_dict().items():
        assert torch.equal(weight, plain.model.state_dict()[name]), name


def test_only_the_first_start_draws_the_untrained(
    class_folders: Path, tmp_path: Path
) -> None:
    hook = dict(type='mmhgkd.PanelHook', num_images=1, untrained=True)
    found = []
    for epochs in (1, 2):
        settings = config(class_folders, tmp_path, [hook], False)
        settings.train_cfg.max_epochs = epochs
        settings.resume = epochs == 2
        train(settings)
        found.append(
            {
                path.name: path.read_bytes()
                for path in tmp_path.glob('*/*/vis_image/*')
            }
        )
    first, last = found
    assert sorted(first) == ['panel_0.png', 'panel_1.png']
    assert sorted(last) == [*sorted(first), 'panel_2.png']
    for name, content in first.items():
        assert last[name] == content
    assert len(set(last.values())) == 3


def test_another_model_is_refused(class_folders: Path, tmp_path: Path) -> None:
    settings = config(
        class_folders, tmp_path, [dict(type='mmhgkd.PanelHook')], False
    )
    settings.model = dict(
        type='ImageClassifier',
        backbone=dict(type='LeNet5', num_classes=2),
        head=dict(type='ClsHead'),
    )
    with pytest.raises(ConfigError, match=r'ImageClassifier.*custom_hooks'):
        train(settings)
    for registry in (MessageHub, MMLogger, Visualizer):
        registry._instance_dict.clear()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(interval=0), '`interval`'),
        (dict(num_images=0), '`num_images`'),
        (dict(saliency='attention'), '`saliency`'),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PanelHook(**options)
