import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
import timm
import torch
import torchvision
from mmengine.config import Config
from PIL import Image
from safetensors.torch import load_file, save_file

from mmhgkd.apis import Distillation, config_folder, distill, load_student
from mmhgkd.apis import distill as distill_function
from mmhgkd.apis.distillation import (
    Plan,
    distillation_config,
    make_plan,
    read_teacher,
)
from mmhgkd.apis.distillation.judge import Judge, agreement, nearest
from mmhgkd.apis.distillation.pictures import (
    GAP,
    HEADER,
    SIDE,
    save_neighbors,
)
from mmhgkd.apis.distillation.start_weights import write_start_weights
from mmhgkd.apis.distillation.student import backbone_of, multiply_adds
from mmhgkd.apis.distillation.teacher import (
    Teacher,
    _recognize,
    choose_teacher,
)
from mmhgkd.catalog import TEACHERS, Photos
from mmhgkd.catalog.teachers import place_for
from mmhgkd.cli.evaluate import main as evaluate
from mmhgkd.registry import MODELS
from mmhgkd.transfer.converters.student import read_student
from mmhgkd.utils import ConfigError

SHIPPED = 'mae/vit-micro_scenes.safetensors'


def test_what_is_left(result: Distillation) -> None:
    folder = result.folder
    assert os.fspath(result) == str(folder / 'student.pth')
    assert not list(folder.glob('epoch_*.pth'))
    content = torch.load(result, weights_only=True)
    assert set(content) == {'meta', 'state_dict'}
    assert set(result.exports) == {'onnx'}
    # It is narrower than what the libraries have.
    assert [note.split(':')[0] for note in result.notes] == [
        'no student_torchvision.pth',
        'no student_timm.safetensors',
    ]
    session = onnxruntime.InferenceSession(str(result.exports['onnx']))
    images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    found = session.run(None, {'images': images.numpy()})[0]
    mean = torch.tensor([123.675, 116.28, 103.53]).reshape(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).reshape(3, 1, 1)
    with torch.no_grad():
        expected = load_student(result).extract_feat((images - mean) / std)[-1]
    torch.testing.assert_close(
        torch.from_numpy(found), expected, rtol=1e-3, atol=1e-3
    )
    assert torch.equal(
        result.load().backbone.conv1.weight,
        content['state_dict']['backbone.conv1.weight'],
    )


def test_what_is_said(result: Distillation) -> None:
    assert set(result.metrics) == {
        'chance',
        'untrained',
        'distilled',
        'teacher',
    }
    assert result.metrics['teacher']['neighbors'] == 100
    content = json.loads((result.folder / 'results.json').read_text())
    assert content['metrics'] == result.metrics
    assert Distillation.read(result.folder) == result
    page = (result.folder / 'report.html').read_text()
    assert '<h2>Results</h2>' in page and 'found, % (higher is' in page
    assert result.changed is not None and content['changed'] == result.changed
    assert f'{result.changed:.0f} % of the ten nearest neighbors' in page
    for name in ('panel.png', 'neighbors.png', 'neighbors_before.png'):
        assert name in page


def test_pictures_of_a_few_epochs(
    result: Distillation, tmp_path: Path
) -> None:
    drawn = [path.name for path in result.folder.glob('*/*/vis_image/*')]
    assert sorted(drawn) == ['panel_0.png', 'panel_1.png', 'panel_2.png']
    with Image.open(result.folder / 'epochs.webp') as animation:
        assert animation.n_frames == 3
    page = (result.folder / 'report.html').read_text()
    # What the animation shows is not shown again.
    assert 'data:image/webp' in page and 'panel_2.png' not in page
    # And a long run has no more of them than a short one.
    content = json.loads((result.folder / 'plan.json').read_text())
    photos = Photos('x', [f'{index}.png' for index in range(12)])
    for epochs, interval in ((1, 1), (7, 1), (8, 2), (100, 15)):
        plan = replace(Plan(**content), epochs=epochs)
        cfg = distillation_config(
            plan, photos, choose_teacher('shipped'), tmp_path
        )
        (hook,) = (h for h in cfg.custom_hooks if 'PanelHook' in h.type)
        assert hook.interval == interval
        assert 1 + -(-epochs // interval) <= 8


def test_evaluate_says_no_more_than_it_has_to(
    result: Distillation, scenes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = str(scenes / 'train')
    argv = [str(result.folder), '--images', folder, '--workers', '0']
    assert evaluate(argv) == 0
    text = capfd.readouterr().out
    found = result.metrics['distilled']['neighbors']
    assert text.startswith('12 photos, frozen features:\n')
    assert re.search(rf'distilled +{found:.1f} +your student\n', text)
    assert 'nearest photos found, % (higher is better)' in text


@pytest.mark.parametrize(
    ('channels', 'out_indices', 'expected'),
    [
        ([1, 2], (0, 1, 2, 3), ([-2, -1], [256, 512], [16, 32])),
        (3, (0, 1, 2, 3), ([-1], [512], [32])),
        ([1, 2], (3,), ([-1], [512], [32])),
    ],
)
def test_the_loss_fits_the_student(
    channels: Any,
    out_indices: tuple[int, ...],
    expected: tuple[list[int], ...],
    result: Distillation,
    tmp_path: Path,
) -> None:
    """As many stages as the recipe has, or as there are."""
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(
        "_base_ = 'mmhgkd::hgkd/r18_scenes.py'\n"
        f'model = dict(head=dict(direct_loss=dict(in_channels={channels})))\n'
    )
    content = json.loads((result.folder / 'plan.json').read_text())
    cfg = distillation_config(
        Plan(**{**content, 'student': 'resnet18'}),
        Photos('x', ['a.png']),
        choose_teacher('shipped'),
        tmp_path,
        recipe,
        {'model.backbone.out_indices': out_indices},
    )
    loss = cfg.model.head.direct_loss
    assert (loss.stages, loss.in_channels, loss.strides) == expected
    assert cfg.model.teacher.precision == 'auto'


AUTOCAST = 'mmhgkd.AutocastOptimWrapper'
BFLOAT16 = dict(avx512_bf16=True)


def trained_in(
    out: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[str, str | None]:
    """What is said of the device, and the type of the optimizer wrapper."""
    found = options.pop('found')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: found)
    lines: list[str] = []
    made = distill(
        scenes / 'train',
        out,
        **dict(
            student='resnet18',
            teacher='shipped',
            epochs=1,
            batch_size=6,
            workers=0,
            export=False,
            say=lines.append,
        )
        | options,
    )
    state = torch.load(made.checkpoint, weights_only=True)['state_dict']
    assert all(x.dtype != torch.bfloat16 for x in state.values())
    (line,) = (x for x in lines if x.startswith('device   CPU, '))
    path = max(made.folder.glob('*/vis_data/config.py'))
    kind = Config.fromfile(path).optim_wrapper.get('type')
    return line.removeprefix('device   CPU, '), kind


@pytest.mark.parametrize(
    ('found', 'student', 'kind', 'words', 'wrapper'),
    [
        ({}, 'resnet18', None, '0 processes', None),
        (BFLOAT16, 'resnet18', None, 'in bfloat16, 0', AUTOCAST),
        # Depthwise convolutions take longer by it.
        (BFLOAT16, 'mobilenet_v3_small', None, '0 processes', None),
        (BFLOAT16, 'resnet18', 'OptimWrapper', '0 processes', 'OptimWrapper'),
        # Which a CPU does without.
        (
            BFLOAT16,
            'resnet18',
            'AmpOptimWrapper',
            '0 processes',
            'OptimWrapper',
        ),
        ({}, 'resnet18', AUTOCAST, '0 processes', 'OptimWrapper'),
    ],
)
def test_precision_follows_the_processor(
    found: dict[str, bool],
    student: str,
    kind: str | None,
    words: str,
    wrapper: str | None,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {'optim_wrapper.type': kind} if kind else None
    said, actual = trained_in(
        tmp_path / 'out',
        scenes,
        monkeypatch,
        found=found,
        student=student,
        options=options,
    )
    assert said.startswith(words)
    assert actual == wrapper


@pytest.mark.parametrize('begun', [{}, BFLOAT16])
def test_resumed_run_keeps_its_precision(
    begun: dict[str, bool],
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / 'out'
    with monkeypatch.context() as patch:
        module = sys.modules[distill_function.__module__]
        patch.setattr(module, 'train', lambda *_: pytest.fail('stopped'))
        with pytest.raises(pytest.fail.Exception):
            trained_in(out, scenes, patch, found=begun)
    other = {} if begun else BFLOAT16
    said, kind = trained_in(out, scenes, monkeypatch, found=other, resume=True)
    if begun:
        assert said.startswith('in single precision instead of bfloat16, 0')
        assert kind == 'OptimWrapper'
    else:
        assert said.startswith('0 processes') and kind is None


def test_schedule_and_photos(result: Distillation, scenes: Path) -> None:
    config = read_student(str(result.checkpoint))
    assert config.backbone['base_channels'] == 16
    cfg = Config.fromfile(next(result.folder.glob('*/vis_data/config.py')))
    ends = [schedule.end for schedule in cfg.param_scheduler]
    assert ends == [1, 4] and not cfg.param_scheduler[0].by_epoch
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-3 * 6 / 64)
    loss = cfg.model.head.direct_loss
    assert loss.in_channels == [64, 128] and loss.strides == [16, 32]
    listed = Path(cfg.train_dataloader.dataset.ann_file).read_text()
    assert len(listed.splitlines()) == 12
    assert all(Path(name).is_file() for name in listed.splitlines())


def test_a_folder_is_used_once(result: Distillation, scenes: Path) -> None:
    images, folder = scenes / 'train', result.folder
    with pytest.raises(ConfigError, match='holds a distillation already'):
        distill(images, folder)
    with pytest.raises(ConfigError, match='with `epochs` 2, not 3'):
        distill(images, folder, resume=True, epochs=3)
    with pytest.raises(ConfigError, match='with `student` resnet18, not '):
        distill(images, folder, 'resnet34', resume=True)
    said: list[str] = []
    page = result.report.read_text()
    result.report.unlink()  # as if stopped by the last step
    again = distill(images, folder, resume=True, say=said.append)
    assert again == result and 'finished already' in said[0]
    assert again.report.read_text() == page


def test_nothing_to_go_on_with(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(ConfigError, match='there is no folder'):
        distill(
            str(tmp_path / 'no'),
            tmp_path / 'out',
            resume=True,
            say=said.append,
        )
    assert said == [
        f'{tmp_path / "out"} holds nothing to go on with; a new run begins'
    ]


def test_photos_in_memory_with_a_teacher_of_their_own(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[distill_function.__module__]
    monkeypatch.setattr(module, 'TEACHER_EPOCHS', (1, 1))
    images = [Image.open(path) for path in sorted(scenes.rglob('*.png'))]
    said: list[str] = []
    result = distill(
        images[:12],
        tmp_path / 'out',
        'mobilenet_v3_small',
        train_teacher=True,
        epochs=1,
        batch_size=6,
        workers=0,
        export=False,
        say=said.append,
    )
    assert said[0].startswith('Training a small teacher')
    assert [path.name for path in (result.folder / 'teacher').glob('*.pth')]
    assert result.load().backbone is not None
    plan = json.loads((result.folder / 'plan.json').read_text())
    assert plan['teacher'] == 'trained'


WRONG: list[tuple[dict[str, Any], str]] = [
    (dict(images='/no/such'), 'there is no folder /no/such'),
    (dict(teacher='no.pth'), 'neither a file nor one of those by name'),
    (dict(student='resnet17'), 'there is no student'),
    (dict(student='vit_small_patch16_224'), 'is a transformer, and a student'),
    (dict(student='timm/regnety_003'), r'did you mean regnet'),
    (
        dict(student='timm/tresnet_m'),
        'cannot be made sparse because of .* take another student',
    ),
    (dict(config='hgkd/r17'), 'there is no config'),
    (dict(config='hgkd/r50_mae_paper'), 'not of the form'),
    (dict(images=''), '`images` is empty'),
    (dict(out=''), "`out` must be a folder for what is written, got ''"),
    (dict(out=5), '`out` must be a folder for what is written, got 5'),
    (dict(out='/proc/none'), 'the folder /proc/none of `out` cannot be made'),
    (dict(out=f'{__file__}/x'), 'of `out` cannot be made'),
    (dict(teacher=5), '`teacher` must be a name or a checkpoint, got 5'),
    (dict(student=5), 'is the name of a network, such as resnet18, got 5'),
    (dict(student=''), "there is no student ''"),
    (dict(student_weights=__file__), 'or set `student_weights` to another'),
    (dict(views=0), '`views` must be a whole number and at least 1, got 0'),
    (dict(epochs=0), '`epochs` must be a whole number and at least 1'),
    (dict(epochs=1.5), '`epochs` must be a whole number .* got 1.5'),
    (dict(epochs=True), '`epochs` must be a whole number .* got True'),
    (dict(batch_size='8'), "`batch_size` must be a whole number .* got '8'"),
    (dict(batch_size=1), '`batch_size` must be .* at least 2, got 1'),
    (dict(seed=-1), '`seed` must be a whole number and at least 0, got -1'),
    (dict(seed='a'), '`seed` must be a whole number'),
    (dict(batch_size=13), r'must lie in 2\.\.12'),
    (dict(image_size=224), 'images of 96 px, not of 224'),
    (dict(image_size=100), 'a multiple of 32'),
    (dict(workers=-1), '`workers` must be .* at least 0, got -1'),
    (dict(options={'modell.x': 1}), r'did you mean model\?'),
    (dict(student_weights='no.pth'), 'does not exist'),
    (dict(compare='pixel'), r"got 'pixel'; did you mean pixels\?"),
    (dict(compare=''), "got ''"),
    (dict(compare=7), 'takes names such as'),
    (dict(compare='pixels, supervised'), 'has no labels; sort the photos'),
]


@pytest.mark.parametrize(('arguments', 'message'), WRONG)
def test_wrong_distillations(
    arguments: dict[str, Any], message: str, scenes: Path, tmp_path: Path
) -> None:
    settings = {
        'images': scenes / 'train',
        'out': tmp_path,
        'teacher': 'shipped',
        **arguments,
    }
    with pytest.raises(ConfigError, match=message):
        distill(**settings)


def plan_of(number: int, **settings: Any) -> Any:
    photos = Photos('x', [str(index) for index in range(number)])
    teacher = Teacher({}, 192, 16, 'x', settings.pop('fixed', None))
    return make_plan(photos, teacher, 'x', **settings)[0]


def test_choices_follow_the_number_of_photos(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    few, more, many = map(plan_of, (200, 3000, 200_000))
    assert (few.batch_size, more.batch_size, many.batch_size) == (16, 64, 64)
    assert (few.epochs, more.epochs, many.epochs) == (40, 3, 3)
    assert plan_of(200, views=2).epochs == 20  # as many images
    assert few.steps == 40 * 12
    assert few.warmup == 24 and more.warmup == 20
    assert few.learning_rate == pytest.approx(2.5e-4)
    assert (many.student, many.image_size) == ('resnet18', 96)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    for old_gpu in (False, True):
        monkeypatch.setattr(
            torch.cuda,
            'is_bf16_supported',
            lambda including_emulation, old_gpu=old_gpu: not old_gpu,
        )
        many = plan_of(200_000)
        assert (many.student, many.image_size) == ('resnet50', 224)
        assert many.bfloat16 is not old_gpu
    assert plan_of(200_000, fixed=96).image_size == 96
    single = plan_of(8, epochs=1)
    assert (single.steps, single.warmup) == (1, 0)
    with pytest.raises(ConfigError, match='one photo is too few'):
        plan_of(1)


def test_dear_teachers_are_asked_half_as_often() -> None:
    photos = Photos('x', [str(index) for index in range(5000)])
    dear, cheap = (Teacher({}, 384, 14, 'x', millions=m) for m in (22, 2.3))
    found = [
        make_plan(photos, teacher, 'x', 'resnet18', image_size=96)
        for teacher in (dear, cheap)
    ]
    (twice, why), (once, _) = found
    assert (twice.views, twice.batch_size) == (2, 32)
    assert (once.views, once.batch_size) == (1, 64)
    assert twice.learning_rate == once.learning_rate == 1e-3
    assert 'times the multiply-adds' in why['views']
    # 1.81 G multiply-adds at 224 px, without the classifier.
    cost = multiply_adds(backbone_of('resnet18'), 224)
    assert cost == pytest.approx(1814, rel=0.01)


def test_batches_without_a_readable_photo() -> None:
    judge: Any = Judge.__new__(Judge)
    rows = torch.arange(70.0)[:, None].repeat(1, 4)
    judge.dataset = [
        None if index < 33 or index == 40 else dict(inputs=row)
        for index, row in enumerate(rows)
    ]
    judge.workers = 0
    teacher = SimpleNamespace(raw_tokens=lambda x: [x[:, None]])
    model: Any = SimpleNamespace(
        data_preprocessor=lambda batch: batch,
        extract_feat=lambda x: (x[:, :, None, None],),
        teacher=teacher,
    )
    expected = rows.clone()
    expected[:33] = expected[40] = 0
    for found in judge.embed(model):
        assert torch.equal(found, expected)
    assert judge.unreadable == 34
    judge.dataset = [None] * 3
    with pytest.raises(ConfigError, match='none of the photos'):
        judge.embed(model)


def test_teachers() -> None:
    shipped = choose_teacher('shipped')
    assert 'drawn scenes only' in shipped.warning
    found = read_teacher(config_folder() / SHIPPED)
    assert (found.width, found.patch_size, found.image_size) == (192, 16, 96)
    assert found.config['backbone']['arch']['num_heads'] == 3
    assert 'input_size' not in found.for_images(96)
    with pytest.raises(ConfigError, match='of 96 px, not of 128'):
        found.for_images(128)
    patch14 = Teacher({}, 384, 14, 'x')
    assert patch14.for_images(96)['input_size'] == 84
    assert patch14.for_images(224)['input_size'] == 196


def test_network_in_stages_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    name = 'hiera_tiny_224.mae'
    network = timm.create_model(name, num_classes=0)
    place = place_for(TEACHERS[name])
    place.parent.mkdir(parents=True)
    save_file(network.state_dict(), place)
    found = choose_teacher(name)
    assert 'commercial use' in found.warning
    teacher: Any = MODELS.build(found.for_images(128))
    teacher.set_image_norm([0.0] * 3, [1.0] * 3)
    # A token for each 16 px, of the stage that has them.
    assert teacher(torch.zeros(1, 3, 128, 128)).shape == (1, 64, found.width)


@pytest.mark.parametrize(
    ('width', 'patch', 'keys', 'name'),
    [
        (384, 14, ['pos_embed', 'ls1'], 'vit_small_patch14_dinov2.lvd142m'),
        (
            768,
            14,
            ['pos_embed', 'ls1', 'reg_token'],
            'vit_base_patch14_reg4_dinov2.lvd142m',
        ),
        (384, 16, ['ls1'], 'vit_small_patch16_dinov3.lvd1689m'),
        (768, 16, ['pos_embed'], 'vit_base_patch16_224.dino'),
        (192, 16, ['pos_embed'], None),
    ],
)
def test_recognized_by_their_layers(
    width: int, patch: int, keys: list[str], name: str | None
) -> None:
    state = {'patch_embed.proj.weight': torch.zeros(width, 3, patch, patch)}
    for block in range(12):
        state[f'blocks.{block}.norm1.weight'] = torch.zeros(1)
        if 'ls1' in keys:
            state[f'blocks.{block}.ls1.gamma'] = torch.zeros(1)
    state.update({k: torch.zeros(1) for k in keys if k != 'ls1'})
    found = _recognize(state)
    assert found == (TEACHERS[name] if name else None)


def test_start_weights(tmp_path: Path) -> None:
    source = torchvision.models.resnet18(num_classes=7).state_dict()
    torch.save(source, tmp_path / 'supervised.pth')
    config = Config(
        dict(
            model=dict(backbone=dict(type='mmhgkd.SparseResNet', depth=18)),
        )
    )
    out = write_start_weights(
        tmp_path / 'supervised.pth', config, tmp_path / 'out.pth'
    )
    state = torch.load(out, weights_only=True)['state_dict']
    assert torch.equal(
        state['layer4.1.conv2.weight'], source['layer4.1.conv2.weight']
    )
    assert not [key for key in state if key.startswith('fc.')]
    config.model.backbone.depth = 34
    with pytest.raises(ConfigError, match='do not fit the student'):
        write_start_weights(tmp_path / 'supervised.pth', config, out)


def test_start_weights_in_other_names(tmp_path: Path) -> None:
    source = torchvision.models.mobilenet_v2(num_classes=7).state_dict()
    torch.save(source, tmp_path / 'supervised.pth')
    config = Config(
        dict(model=dict(backbone=dict(type='mmhgkd.SparseMobileNetV2')))
    )
    out = write_start_weights(
        tmp_path / 'supervised.pth', config, tmp_path / 'out.pth'
    )
    state = torch.load(out, weights_only=True)['state_dict']
    assert torch.equal(
        state['conv2.bn.running_var'], source['features.18.1.running_var']
    )


def test_neighbors_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(20, 5, generator=generator) + 3
    other = torch.randn(20, 4, generator=generator)

    def naive(rows: torch.Tensor, number: int) -> list[set[int]]:
        rows = rows - rows.mean(0)
        found = []
        for i, row in enumerate(rows):
            order = sorted(
                (j for j in range(len(rows)) if j != i),
                key=lambda j: -torch.cosine_similarity(row, rows[j], 0).item(),
            )
            found.append(set(order[:number]))
        return found

    assert [set(row.tolist()) for row in nearest(one, 4)] == naive(one, 4)
    pairs = zip(naive(one, 4), naive(other, 4), strict=True)
    expected = sum(len(a & b) / 4 for a, b in pairs) / 20 * 100
    assert agreement(one, other, 4) == pytest.approx(expected)
    assert agreement(one, one) == 100


def test_neighbors_that_changed() -> None:
    judge: Any = Judge.__new__(Judge)
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 15, 6, generator=generator)
    lost = 0
    for row in range(15):
        before, after = (
            sorted(
                (i for i in range(15) if i != row),
                key=lambda i: -torch.cosine_similarity(x[row], x[i], 0).item(),
            )[:10]
            for x in (one - one.mean(0), other - other.mean(0))
        )
        lost += len(set(before) - set(after))
    assert judge.changed(one, other) == pytest.approx(100 * lost / 150)
    assert judge.changed(one, one) == 0
    assert judge.changed(one[:10], other[:10]) is None


def test_picture_of_neighbors(tmp_path: Path) -> None:
    colors = [(40 * index, 255 - 40 * index, 90) for index in range(6)]
    files = []
    for index, color in enumerate(colors):
        files.append(str(tmp_path / f'{index}.png'))
        Image.new('RGB', (20, 20), color).save(files[-1])
    generator = torch.Generator().manual_seed(0)
    embeddings = {
        name: torch.randn(6, 3, generator=generator) for name in ('a', 'b')
    }
    save_neighbors(tmp_path / 'out.png', files, embeddings, 4)
    with Image.open(tmp_path / 'out.png') as picture:
        for row in range(6):
            top = HEADER + row * (SIDE + GAP) + SIDE // 2
            expected = [row]
            lefts = [0]
            for block, rows in enumerate(embeddings.values()):
                expected += nearest(rows, 4)[row].tolist()
                start = SIDE + 3 * GAP + block * (4 * (SIDE + GAP) + 2 * GAP)
                lefts += [start + i * (SIDE + GAP) for i in range(4)]
            found = [
                picture.getpixel((left + SIDE // 2, top)) for left in lefts
            ]
            assert found == [colors[index] for index in expected]
            assert row not in expected[1:]


@pytest.mark.parametrize(
    ('student', 'exports'),
    [
        ('timm/test_resnet', {'timm', 'onnx'}),
        ('torchvision/regnet_y_400mf', {'torchvision', 'onnx'}),
    ],
)
def test_students_of_libraries_from_weights(
    student: str, exports: set[str], scenes: Path, tmp_path: Path
) -> None:
    library, name = student.split('/')
    if library == 'timm':
        network: Any = timm.create_model(name, num_classes=7)
    else:
        network = torchvision.models.get_model(name, num_classes=7)
    source = tmp_path / 'supervised.pth'
    torch.save(network.state_dict(), source)
    result = distill(
        scenes / 'train',
        tmp_path / 'out',
        student,
        'shipped',
        epochs=1,
        batch_size=6,
        workers=0,
        student_weights=source,
        options={'optim_wrapper.optimizer.lr': 1e-30},
    )
    assert set(result.exports) == exports
    written = result.exports[library]
    found = (
        load_file(written)
        if library == 'timm'
        else torch.load(written, weights_only=True)
    )
    # So small a rate leaves the weights that it started from.
    for key, value in network.named_parameters():
        if not key.startswith(('fc.', 'classifier.')):
            assert torch.allclose(found[key], value, 0, 1e-12), key
