"""What ``tools/train.py`` says of configs, options and files that are wrong.

Each row is one mistake in a small distillation that is right without it, and
the part of the message that names the option and the mend.
"""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SMALL = [
    'train_dataloader.dataset.data_root=images',
    'val_dataloader.dataset.data_root=images',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'model.backbone.base_channels=8',
    'model.backbone.stem_channels=8',
    'model.neck.in_channels=(8,16,32,64)',
    'model.neck.width=16',
    'train_dataloader.batch_size=4',
    'train_cfg.max_epochs=1',
]
TRAIN = 'train_dataloader'
HEAD = 'model.head'
SIMILARITY = f'{HEAD}.similarity_loss'

OPTIONS = [
    # the decoder
    ('model.neck.out_channels=100', 'set `neck.out_channels=192`'),
    ('model.neck.out_stride=8', "set `neck.out_stride` to the teacher's"),
    ('model.neck.out_stride=6', 'must be a multiple of the finest stride 4'),
    (
        'model.neck.in_channels=(8,16)',
        'set `neck.in_channels=(8, 16, 32, 64)`',
    ),
    (
        'model.neck.in_channels=(8,16,32,65)',
        'set `neck.in_channels=(8, 16, 32, 64)`',
    ),
    ('model.neck.width=0', '`width` and `depth` must be at least 1'),
    ('model.neck.width=20', '20 is no multiple of 8'),
    # the mask
    ('model.mask.mask_ratio=1.5', '`mask_ratio` must lie in [0, 1), got 1.5'),
    ('model.mask.mask_ratio=1.0', '`mask_ratio` must lie in [0, 1), got 1.0'),
    ('model.mask.unit=30', 'set the crop of the pipeline to a multiple of 30'),
    ('model.mask.unit=0', 'mask `unit` must be at least 1 px, got 0'),
    (
        f'{TRAIN}.dataset.pipeline.1.scale=90',
        'the image size 90x90 is no multiple of the mask unit of 32 px',
    ),
    # the student
    (
        'model.backbone.depth=19',
        "cannot build `mmhgkd.SparseResNet` of the config: 'invalid depth 19",
    ),
    ('model.backbone.backend=fast', "`backend` must be one of ['masked', "),
    (
        'model.backbone.type=mmhgkd.SparseResnet',
        'there is no model `mmhgkd.SparseResnet`; did you mean '
        '`mmhgkd.SparseResNet`?',
    ),
    ('model.backbone.width=2', "unexpected keyword argument 'width'"),
    # the teacher
    ('model.teacher.type=MIMTeachr', 'did you mean `mmhgkd.MIMTeacher`?'),
    (
        'model.teacher.layer=9',
        '`teacher.layer` is 9, but the network has 5 blocks',
    ),
    (
        'model.teacher.input=half',
        "`teacher.input` must be 'full' or 'visible', got 'half'",
    ),
    (
        'model.teacher.input=visible',
        "set `head.feature_loss.region='visible'`, or `teacher.input='full'`",
    ),
    (
        'model.teacher.target_norm=mean',
        "`teacher.target_norm` must be one of ('layer_norm', ",
    ),
    ('model.teacher.input_size=100', 'must be a multiple of the patch size'),
    ('model.teacher.input_size=64', '`teacher.input_size` so that the grids'),
    (
        'model.teacher.checkpoint=none.pth',
        '`none.pth` of `model.teacher.checkpoint` does not exist',
    ),
    (
        'model.teacher.checkpoint=notes.txt',
        'notes.txt: cannot be read as a checkpoint of PyTorch or safetensors',
    ),
    ('model.teacher.checkpoint=other.pth', 'missing: '),
    ('model.teacher.backbone.arch.num_layers=6', '12 missing: layers.5.'),
    ('model.teacher.backbone.arch.embed_dims=96', '61 of another shape: cls'),
    (
        'model.teacher.backbone.type=ResNet',
        '`teacher.backbone` must be a VisionTransformer or BEiTViT',
    ),
    # the losses
    (
        f'{HEAD}.feature_loss.distance=mae',
        "must be one of ('mse', 'smooth_l1', 'l1', 'cosine'), got 'mae'",
    ),
    (f'{HEAD}.feature_loss.region=some', "('all', 'masked', 'visible')"),
    (
        f'{HEAD}.feature_loss.loss_weight=nan',
        'the loss is not finite any more at iteration 1 (epoch 1)',
    ),
    (f'{SIMILARITY}.distance=cosine', "one of ('pearson', 'kl', 'ce')"),
    (f'{SIMILARITY}.temperature=0', '`temperature` must be positive or None'),
    (
        f'{SIMILARITY}.temperature=None {SIMILARITY}.distance=kl',
        'compares probabilities; set a `temperature`',
    ),
    (
        f'{SIMILARITY}.intra_weight=1 {SIMILARITY}.distance=kl',
        "`intra_weight` belongs to `distance='pearson'`",
    ),
    (
        f'{HEAD}.embedding.source=both',
        "one of ('decoder', 'encoder', 'tokens')",
    ),
    (f'{HEAD}.embedding.projector=conv', "one of ('none', 'linear', 'mlp')"),
    (f'{HEAD}.embedding.in_channels=100', "`projector='linear'` or 'mlp'"),
    (
        f'{HEAD}.embedding.source=encoder',
        "the source 'encoder' has 64 channels, not 192; set "
        '`head.embedding.in_channels=64`',
    ),
    (f'{HEAD}.queue.size=0', 'queue `size` must be positive, got 0'),
    (
        f'{HEAD}.queue.embed_dims=100',
        'set `head.queue.embed_dims=192`',
    ),
    (f'{HEAD}.queue=None', 'set `head.embedding` and `head.queue`'),
    (
        f'{HEAD}.feature_loss=None {SIMILARITY}=None',
        '`head.direct_loss` or several; without a loss nothing is learned',
    ),
    # the algorithm
    ('model.type=HGDK', 'there is no model `HGDK`'),
    ('model.compile=fast', '`model.compile` must be True, False or a dict'),
    (
        'model.data_preprocessor.mean=(0.5,0.5,0.5) '
        'model.data_preprocessor.std=(0.2,0.2,0.2)',
        'image `std` must be three numbers, one for each RGB channel in '
        '0..255',
    ),
    # the data
    (
        f'{TRAIN}.dataset.data_root=none',
        'the data folder `none` of `train_dataloader.dataset.data_root` does ',
    ),
    (
        f'{TRAIN}.dataset.data_root=notes.txt',
        'point `data_root` at the folder',
    ),
    (f'{TRAIN}.dataset.data_root=empty', 'no image lies in empty/'),
    (
        f'{TRAIN}.dataset.data_root=broken',
        'no readable image is found any more at',
    ),
    (f'{TRAIN}.dataset.type=ImageFoldr', 'there is no dataset `ImageFoldr`'),
    (f'{TRAIN}.dataset.pipeline.1.type=Crop', 'there is no transform `Crop`'),
    (
        f'{TRAIN}.dataset.pipeline.1.backend=pillow '
        f'{TRAIN}.dataset.pipeline.1.antialias=False',
        "leave out `antialias=False`, or set `backend='cv2'`",
    ),
    (f'{TRAIN}.sampler.type=Sampler', 'there is no data sampler `Sampler`'),
    (f'{TRAIN}.batch_size=0', 'batch_size should be a positive integer'),
    (f'{TRAIN}.num_workers=-1', 'num_workers option should be non-negative'),
    (
        f'{TRAIN}.batch_size=64 {TRAIN}.drop_last=True',
        'lower `train_dataloader.batch_size`, or set '
        '`train_dataloader.drop_last=False`',
    ),
    (
        'val_dataloader.dataset.data_root=images/train/a',
        'sort the images into such folders',
    ),
    # the optimizer and the run
    (
        'optim_wrapper.optimizer.type=Adamm',
        'there is no optimizer `Adamm`; did you mean `Adam`?',
    ),
    ('optim_wrapper.optimizer.lr=fast', 'cannot build `AdamW` of the config'),
    ('optim_wrapper.optimizer.lr=-1', 'Invalid learning rate: -1'),
    ('optim_wrapper.optimizer.lr=1e20', 'Lower `optim_wrapper.optimizer.lr`'),
    ('optim_wrapper.type=AmpWrapper', 'did you mean `AmpOptimWrapper`?'),
    ('param_scheduler.0.type=Cosine', 'there is no parameter scheduler'),
    ('train_cfg.max_epochs=0', '`train_cfg.max_epochs` must be a whole'),
    ('train_cfg.type=Loop', 'there is no loop `Loop`'),
    ('randomness.seed=abc', '`randomness.seed` must be a whole number'),
    ('log_level=LOUD', '`log_level` must be DEBUG, INFO'),
    ('work_dir=notes.txt', 'the work folder `notes.txt` is a file'),
    ('custom_hooks.0.type=Hook9', 'there is no hook `Hook9`'),
    ('default_scope=mmpretran', 'did you mean `mmpretrain.Universal'),
    # the evaluation
    ('val_evaluator.0.k=0', '`k` must be at least 1 neighbor, got 0'),
    ('val_evaluator.0.temperature=0', '`temperature` must be positive'),
    ('val_evaluator.1.C=0', '`C` must be positive, got 0'),
    ('val_evaluator.0.type=Accuracy1', 'there is no metric `Accuracy1`'),
    # other checkpoints
    ('load_from=notes.txt', 'cannot read the checkpoint `notes.txt`'),
    (
        'resume=True load_from=notes.txt',
        'the checkpoint `notes.txt` cannot be read',
    ),
]


@pytest.fixture
def folder(
    class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    (tmp_path / 'images').symlink_to(class_folders)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'a.png').write_bytes(b'\x89PNG')
    (tmp_path / 'notes.txt').write_text('no checkpoint')
    torch.save({'fc.weight': torch.zeros(2, 2)}, tmp_path / 'other.pth')
    yield tmp_path
    for registry in (DefaultScope, MessageHub, MMLogger, Visualizer):
        registry._instance_dict.clear()


@pytest.mark.parametrize(('options', 'message'), OPTIONS)
def test_one_clear_line(
    train: ModuleType,
    folder: Path,
    options: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = str(CONFIGS / 'hgkd' / 'r18_scenes_unet.py')
    code = train.main(
        [config, '--cfg-options', *SMALL, 'work_dir=run', *options.split(' ')]
    )
    # A run whose images have become unreadable can be resumed.
    assert code == (3 if 'broken' in options else 2)
    lines = [
        line
        for line in capsys.readouterr().err.splitlines()
        if line.startswith('error: ')
    ]
    assert len(lines) == 1
    assert message in lines[0]
    # Nothing was trained that could be lost.
    assert not list(folder.glob('run/epoch_*.pth'))


def test_without_a_mistake(train: ModuleType, folder: Path) -> None:
    """The table would prove nothing if the run failed anyway."""
    config = str(CONFIGS / 'hgkd' / 'r18_scenes_unet.py')
    assert train.main([config, '--cfg-options', *SMALL, 'work_dir=run']) == 0
    assert (folder / 'run' / 'epoch_1.pth').is_file()
