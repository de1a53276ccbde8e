"""What ``tools/train.py`` says of configs, options and files that are wrong.

Each row is one mistake in a small distillation that is right without it, and
the part of the message that names the option and the mend.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
import torch
from bad_nested_settings import NESTED
from bad_run_settings import RUN
from bad_settings import DATA, MODEL
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from PIL import Image

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
    ('model.neck.width=0', '`width` must be a whole number of at least 1'),
    ('model.neck.width=20', '20 is no multiple of 8'),
    ('model.neck.finest_stride=2', 'set `neck.finest_stride=4`'),
    ('model.neck.in_channels=[]', 'neck `in_channels` must name the channels'),
    (
        'model.backbone.strides=(1,2,2,1)',
        'strides of (4, 8, 16, 16) px, the decoder takes (4, 8, 16, 32)',
    ),
    ('model.backbone.out_indices=(-1,)', 'gives no features; set `backbone.'),
    ('model.backbone.type=ResNet', '`model.backbone` ResNet takes no mask'),
    # the mask
    ('model.mask.mask_ratio=1.5', '`mask_ratio` must lie in [0, 1), got 1.5'),
    ('model.mask.mask_ratio=1.0', '`mask_ratio` must lie in [0, 1), got 1.0'),
    ('model.mask.unit=30', 'no multiple of the stride 4 of the backbone'),
    ('model.mask.unit=0', 'mask `unit` must be a whole number of pixels'),
    (
        f'{TRAIN}.dataset.pipeline.1.scale=90',
        'the image size 90x90 is no multiple of the mask unit of 32 px',
    ),
    (
        f'model.mask.mask_ratio=0 {HEAD}.feature_loss.region=masked',
        "`head.feature_loss.region='masked'`, but nothing is masked",
    ),
    (
        f'model.mask.unit=96 {HEAD}.feature_loss.region=masked',
        'with `mask.mask_ratio=0.6` all 1 units of an image are visible',
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
    ('model.backbone.width=2', '`width` is no option of `SparseResNet`'),
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
        'feature_loss `loss_weight` must be a number of at least 0, got nan',
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
    (f'{HEAD}.queue.size=0', 'queue `size` must be a positive whole number'),
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
    (
        f'{TRAIN}.dataset.data_root=deep',
        '(0, 4095), or to (0, 65535) if they are meant to be so dark',
    ),
    (
        f'{TRAIN}.dataset.data_root=many',
        '1 of 1 images in many/ that were looked at cannot be taken as they '
        'are: the image many/a.tif has 8 bits and 5 channels',
    ),
    (
        f'{TRAIN}.dataset.data_root=vehicles',
        'vehicles has the folder train beside bus, which have images too',
    ),
    (
        f'{TRAIN}.dataset.pipeline.0.value_range=(9,3)',
        "`value_range` of LoadImage must be None, 'image', or a lower",
    ),
    (
        f'{TRAIN}.dataset.pipeline.0.channels=3',
        '`channels` of LoadImage must be the indices of red, green',
    ),
    (
        f'{TRAIN}.dataset.pipeline.0.background=white',
        '`background` of LoadImage must be three numbers in 0..255',
    ),
    (
        f'{TRAIN}.dataset.pipeline.0.max_pixels=0',
        '`max_pixels` of LoadImage must be at least 1',
    ),
    (f'{TRAIN}.dataset.type=ImageFoldr', 'there is no dataset `ImageFoldr`'),
    (f'{TRAIN}.dataset.pipeline.1.type=Crop', 'there is no transform `Crop`'),
    (
        f'{TRAIN}.dataset.pipeline.1.backend=pillow '
        f'{TRAIN}.dataset.pipeline.1.antialias=False',
        "leave out `antialias=False`, or set `backend='cv2'`",
    ),
    (f'{TRAIN}.sampler.type=Sampler', 'there is no data sampler `Sampler`'),
    (f'{TRAIN}.batch_size=0', 'must be a whole number of at least 1, got 0'),
    (f'{TRAIN}.num_workers=-1', 'must be a whole number of at least 0, got'),
    (
        f'{TRAIN}.batch_size=64 {TRAIN}.drop_last=True',
        'lower `train_dataloader.batch_size`, or set '
        '`train_dataloader.drop_last=False`',
    ),
    (f'{TRAIN}.sampler.type=InfiniteSampler', 'an epoch never ends; set it'),
    (
        f'{TRAIN}.dataset.data_root=tiny',
        'such as 16x16 px, less than one unit of the mask of 32 px',
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
    ('optim_wrapper.optimizer.lr=fast', 'must be a positive number'),
    ('optim_wrapper.optimizer.lr=0', 'must be a positive number, got 0'),
    ('optim_wrapper.optimizer.lr=-1', 'must be a positive number, got -1'),
    ('optim_wrapper.optimizer.lr=1e20', 'Lower `optim_wrapper.optimizer.lr`'),
    ('optim_wrapper.type=AmpWrapper', 'did you mean `AmpOptimWrapper`?'),
    ('param_scheduler.0.type=Cosine', 'there is no parameter scheduler'),
    ('train_cfg.max_epochs=0', '`train_cfg.max_epochs` must be a whole'),
    ('train_cfg.type=Loop', 'there is no loop `Loop`'),
    ('randomness.seed=abc', '`randomness.seed` must be a whole number'),
    ('log_level=LOUD', '`log_level` must be DEBUG, INFO'),
    ('work_dir=/proc', 'cannot write into the work folder `/proc` ('),
    ('work_dir=/proc/a/b', 'cannot write into the work folder `/proc/a/b` ('),
    ('work_dir=notes.txt', 'the work folder `notes.txt` is a file'),
    ('custom_hooks.0.type=Hook9', 'there is no hook `Hook9`'),
    ('default_scope=mmpretran', 'did you mean `mmpretrain.Universal'),
    # the evaluation
    ('val_evaluator.0.k=0', '`k` must be at least 1 neighbor, got 0'),
    ('val_evaluator.0.temperature=0', '`temperature` must be positive'),
    ('val_evaluator.1.C=0', '`C` must be positive, got 0'),
    ('val_evaluator.0.type=Accuracy1', 'there is no metric `Accuracy1`'),
    (
        'val_dataloader=None val_cfg=None val_evaluator=None '
        'default_hooks.checkpoint.save_best=loss',
        '`default_hooks.checkpoint.save_best=loss` takes a figure of the',
    ),
    # other checkpoints
    ('load_from=pipe', '`pipe` of `load_from` is no plain file; set'),
    (
        'model.teacher.checkpoint=pipe',
        '`pipe` of `model.teacher.checkpoint` is no plain file',
    ),
    ('load_from=other.pth', 'no key starts with `backbone.`'),
    ('load_from=notes.txt', 'notes.txt: cannot be read as a checkpoint'),
    (
        'resume=True load_from=notes.txt',
        'the checkpoint `notes.txt` cannot be read',
    ),
]
ROWS = [*OPTIONS, *MODEL, *DATA, *RUN, *NESTED]


@pytest.fixture
def folder(
    class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    (tmp_path / 'images').symlink_to(class_folders)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'tiny').mkdir()
    for index in range(4):
        Image.new('RGB', (16, 16)).save(tmp_path / 'tiny' / f'{index}.png')
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'a.png').write_bytes(b'\x89PNG')
    for name in ('deep', 'many', 'vehicles/train', 'vehicles/bus'):
        (tmp_path / name).mkdir(parents=True)
    deep = np.full((40, 40), 4000, np.uint16)
    Image.fromarray(deep).save(tmp_path / 'deep' / 'a.png')
    tifffile.imwrite(
        tmp_path / 'many' / 'a.tif',
        np.zeros((40, 40, 5), np.uint8),
        photometric='minisblack',
        planarconfig='contig',
    )
    for name in ('train', 'bus'):
        Image.new('RGB', (40, 40)).save(tmp_path / 'vehicles' / name / 'a.png')
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'notes.txt').write_text('no checkpoint')
    torch.save({'fc.weight': torch.zeros(2, 2)}, tmp_path / 'other.pth')
    yield tmp_path
    for registry in (DefaultScope, MessageHub, MMLogger, Visualizer):
        registry._instance_dict.clear()


@pytest.mark.parametrize(('options', 'message'), ROWS)
def test_one_clear_line(
    train: ModuleType,
    folder: Path,
    options: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = str(CONFIGS / 'hgkd' / 'r18_scenes_unet.py')
    flags = [word for word in options.split(' ') if word.startswith('--')]
    settings = [word for word in options.split(' ') if word not in flags]
    code = train.main(
        [
            config,
            *flags,
            '--cfg-options',
            *SMALL,
            'work_dir=run',
            *settings,
        ]
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


def test_table_is_long() -> None:
    assert len(ROWS) >= 150
    assert len(dict(ROWS)) == len(ROWS)


def test_without_a_mistake(train: ModuleType, folder: Path) -> None:
    """The table would prove nothing if the run failed anyway."""
    config = str(CONFIGS / 'hgkd' / 'r18_scenes_unet.py')
    assert train.main([config, '--cfg-options', *SMALL, 'work_dir=run']) == 0
    assert (folder / 'run' / 'epoch_1.pth').is_file()
    # What is no mistake, and yet not meant.
    log = next((folder / 'run').glob('*/*.log')).read_text()
    assert '`head.queue.size` is 512, more than a quarter of the 8' in log
    assert 'set `head.queue.size=2`' in log


def test_key_that_fits_no_parameter(train: ModuleType, folder: Path) -> None:
    config = str(CONFIGS / 'hgkd' / 'r18_scenes_unet.py')
    key = 'optim_wrapper.paramwise_cfg.custom_keys.bakbone'
    options = [*SMALL, f'{key}.lr_mult=0.1', 'work_dir=run']
    assert train.main([config, '--cfg-options', *options]) == 0
    log = next((folder / 'run').glob('*/*.log')).read_text()
    assert f'`{key}` fits no parameter of the model' in log


def test_batch_larger_than_the_data(train: ModuleType, folder: Path) -> None:
    config = str(CONFIGS / 'hgkd' / 'r18_scenes_unet.py')
    options = [*SMALL, f'{TRAIN}.batch_size=64', 'work_dir=run']
    assert train.main([config, '--cfg-options', *options]) == 0
    log = next((folder / 'run').glob('*/*.log')).read_text()
    assert 'The 8 training images do not fill one batch of 64' in log
