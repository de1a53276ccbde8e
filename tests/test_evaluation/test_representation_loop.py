import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset
from mmpretrain.models import MAE, ImageClassifier
from ranks import run_ranks
from torch import Tensor

from mmhgkd.evaluation import knn_accuracy, linear_probe_accuracy
from mmhgkd.utils import ConfigError

SIZES = {'train': 13, 'val': 10}
MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
METRICS = [
    dict(type='mmhgkd.KNNAccuracy', k=5),
    dict(type='mmhgkd.LinearProbeAccuracy'),
]


class RecordHook(Hook):
    """Records the calls of the evaluation hooks."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.training: list[bool] = []
        for name in (
            'before_{}',
            'before_{}_epoch',
            'before_{}_iter',
            'after_{}_iter',
            'after_{}_epoch',
            'after_{}',
        ):
            for stage in ('val', 'test'):
                call = name.format(stage)
                setattr(self, call, partial(self.record, call))

    def record(self, call: str, runner: Runner, **kwargs: object) -> None:
        self.calls.append(call)

    def before_train_iter(
        self, runner: Runner, *args: object, **kwargs: object
    ) -> None:
        self.training.append(runner.model.training)


class KeepSamples(BaseMetric):
    """Keeps what the evaluator receives."""

    def __init__(self) -> None:
        super().__init__(prefix='keep')
        self.samples: list[dict] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        self.samples.extend(data_samples)
        self.results.extend(data_samples)

    def compute_metrics(self, results: list) -> dict:
        return {'size': len(results)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, size in SIZES.items():
        for i in range(size):
            image = rng.integers(0, 256, (32, 32, 3))
            image[..., i % 2] //= 2
            mmcv.imwrite(
                image.astype(np.uint8),
                str(tmp_path / split / f'class{i % 2}' / f'{i}.png'),
            )
    return tmp_path


def add_split(results: dict, split: str) -> dict:
    return {**results, 'split': split}


def dataset(root: Path, split: str) -> CustomDataset:
    return CustomDataset(
        data_root=str(root / split),
        pipeline=[
            dict(type='mmpretrain.LoadImageFromFile'),
            partial(add_split, split=split),
            dict(
                type='mmpretrain.PackInputs', meta_keys=('split', 'img_path')
            ),
        ],
    )


def dataloader(root: Path, *splits: str) -> dict:
    return dict(
        batch_size=5,
        num_workers=0,
        dataset=ConcatDataset([dataset(root, split) for split in splits]),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )


def classifier(neck: dict | None = None) -> ImageClassifier:
    torch.manual_seed(0)
    return ImageClassifier(
        backbone=dict(
            type='ResNet', depth=18, stem_channels=8, base_channels=8
        ),
        neck=neck,
        head=dict(type='LinearClsHead', num_classes=2, in_channels=64),
        data_preprocessor=dict(mean=MEAN, std=STD, to_rgb=True),
    )


def masked_autoencoder() -> MAE:
    torch.manual_seed(0)
    arch = dict(
        embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32
    )
    return MAE(
        backbone=dict(type='MAEViT', arch=arch, img_size=32, patch_size=16),
        neck=dict(
            type='MAEPretrainDecoder',
            num_patches=4,
            embed_dim=16,
            decoder_embed_dim=16,
            decoder_depth=1,
            decoder_num_heads=2,
        ),
        head=dict(
            type='MAEPretrainHead',
            patch_size=16,
            loss=dict(type='PixelReconstructionLoss', criterion='L2'),
        ),
        data_preprocessor=dict(
            type='SelfSupDataPreprocessor', mean=MEAN, std=STD, to_rgb=True
        ),
    )


def build_runner(
    root: Path,
    model: BaseModel,
    stages: Sequence[str] = ('val',),
    evaluator: object = METRICS,
    **kwargs: Any,
) -> Runner:
    for stage in stages:
        kwargs[f'{stage}_cfg'] = dict(type='mmhgkd.RepresentationLoop')
        kwargs[f'{stage}_evaluator'] = evaluator
        kwargs[f'{stage}_dataloader'] = dataloader(root, 'train', 'val')
    return Runner(
        model=model,
        work_dir=str(root / 'work'),
        default_scope='mmpretrain',
        experiment_name=root.name,
        **kwargs,
    )


def images_of(root: Path, split: str) -> tuple[Tensor, Tensor]:
    """Normalized images and class ids, without the data pipeline."""
    images, labels = [], []
    for path in sorted((root / split).glob('*/*.png')):
        image = mmcv.imread(str(path), channel_order='rgb')
        images.append((image - np.array(MEAN)) / STD)
        labels.append(int(path.parent.name[-1]))
    inputs = torch.from_numpy(np.stack(images)).float()
    return inputs.permute(0, 3, 1, 2), torch.tensor(labels)


@torch.no_grad()
def accuracy_by_hand(root: Path, model: ImageClassifier) -> dict[str, float]:
    model.eval()
    sides = []
    for split in ('train', 'val'):
        images, labels = images_of(root, split)
        sides.append((model.backbone(images)[-1].flatten(2).mean(2), labels))
    return {
        'knn/top1': knn_accuracy(*sides[0], *sides[1], k=5)['top1'],
        'linear/top1': linear_probe_accuracy(*sides[0], *sides[1])['top1'],
    }


def test_as_val_cfg_in_training(root: Path) -> None:
    hook = RecordHook()
    runner = build_runner(
        root,
        classifier(neck=dict(type='GlobalAveragePooling')),
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        train_dataloader=dataloader(root, 'train'),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', save_best='knn/top1')
        ),
        custom_hooks=[hook],
    )
    model = runner.train()
    batches = 5  # of 23 images
    iteration = ['before_val_iter', 'after_val_iter']
    assert hook.calls == 2 * [
        'before_val',
        'before_val_epoch',
        *batches * iteration,
        'after_val_epoch',
        'after_val',
    ]
    assert hook.training == 6 * [True]
    hub = runner.message_hub
    last = {
        name: hub.get_scalar(f'val/{name}').current()
        for name in ('knn/top1', 'linear/top1')
    }
    assert last == pytest.approx(accuracy_by_hand(root, model))
    assert list((root / 'work').glob('best_knn_top1_epoch_*.pth'))


def test_as_test_cfg(root: Path) -> None:
    hook = RecordHook()
    runner = build_runner(
        root, classifier(), stages=('val', 'test'), custom_hooks=[hook]
    )
    metrics = runner.test()
    assert metrics == pytest.approx(accuracy_by_hand(root, runner.model))
    assert hook.calls[0] == 'before_test'
    assert hook.calls[-2:] == ['after_test_epoch', 'after_test']
    assert not [call for call in hook.calls if 'val' in call]
    hook.calls.clear()
    assert runner.val() == metrics
    assert not [call for call in hook.calls if 'test' in call]


def test_masked_autoencoder_sees_whole_images(root: Path) -> None:
    keep = KeepSamples()
    model = masked_autoencoder()
    build_runner(root, model, evaluator=Evaluator([keep])).val()
    images, labels = images_of(root, 'val')
    with torch.no_grad():
        expected = model.backbone(images, mask=None)[-1][:, 1:].mean(1)
    samples = [s for s in keep.samples if s['split'] == 'val']
    embeddings = torch.stack([s['embedding'] for s in samples])
    torch.testing.assert_close(embeddings, expected, rtol=1e-4, atol=1e-5)
    assert [s['gt_label'].item() for s in samples] == labels.tolist()
    for sample in keep.samples:
        assert sample['embedding'].untyped_storage().nbytes() == 16 * 4


def test_fp16_autocasts_the_model_only(root: Path) -> None:
    keep = KeepSamples()
    model = classifier()
    dtypes = []
    model.backbone.layer4.register_forward_hook(
        lambda module, args, output: dtypes.append(output.dtype)
    )
    runner = build_runner(root, model, evaluator=Evaluator([keep]))
    runner.val_loop.fp16 = True
    runner.val()
    assert set(dtypes) <= {torch.bfloat16, torch.float16}
    assert {s['embedding'].dtype for s in keep.samples} == {torch.float32}


def test_model_without_features_is_refused(root: Path) -> None:

    class Toy(BaseModel):
        def forward(self, inputs: Tensor, *args: object) -> Tensor:
            return inputs

    with pytest.raises(ConfigError, match='Toy has not'):
        build_runner(root, Toy()).val()


def evaluate_rank(rank: int, root: Path) -> dict[str, float]:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
    os.chdir(root)  # ranks exchange results in the working directory
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None)
    runner = build_runner(
        root,
        classifier(),
        launcher='pytorch',
        cfg=dict(model_wrapper_cfg=wrapper),
    )
    return runner.val()


def test_two_processes_agree_with_one(root: Path) -> None:
    expected = accuracy_by_hand(root, classifier())
    for metrics in run_ranks(evaluate_rank, root):
        assert metrics == pytest.approx(expected)
