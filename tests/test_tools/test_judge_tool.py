import argparse
import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from mmhgkd.apis import build_student, load_student
from mmhgkd.utils import ConfigError

TOOLS = Path(__file__).parents[2] / 'tools' / 'benchmarks'


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module('judge')


@pytest.fixture
def tasks(judge: ModuleType) -> ModuleType:
    return importlib.import_module('judge_probes')


@pytest.fixture
def plot_judge(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module('plot_judge')


def clouds(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds of three classes of different size."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(['a', 'b', 'c'], count, p=[0.5, 0.3, 0.2])
    centers = dict(a=(3, 0, 0, 1), b=(0, 3, 0, 1), c=(0, 0, 3, 1))
    noise = rng.normal(size=(count, 4)) * [1.5, 1.5, 1.5, 100]
    features = np.array([centers[x] for x in labels]) + noise
    return features.astype(np.float32), labels


def softmax_regression(
    features: np.ndarray, classes: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the classes, from PyTorch's own minimum of the objective.

    Sum of cross-entropies plus half the squared weights over C = 0.1, on
    standardized features.
    """
    mean, std = features.mean(0), features.std(0)
    names, wanted = np.unique(classes, return_inverse=True)
    x = torch.from_numpy((features - mean) / std).double()
    y = torch.from_numpy(wanted)
    weight = torch.zeros(
        x.size(1), len(names), dtype=torch.float64, requires_grad=True
    )
    bias = torch.zeros(len(names), dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=500, line_search_fn='strong_wolfe'
    )

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            x @ weight + bias, y, reduction='sum'
        )
        loss = loss + weight.square().sum() / (2 * 0.1)
        loss.backward()
        return loss

    solver.step(closure)
    scores = torch.from_numpy((test - mean) / std).double() @ weight + bias
    return names, scores.detach().numpy()


def test_knn(tasks: ModuleType) -> None:
    train, labels = clouds(0, 150)
    test, truth = clouds(1, 60)
    hits = 0
    for query, own in zip(test.astype(float), truth, strict=True):
        cosines = [
            float(query @ x / np.linalg.norm(query) / np.linalg.norm(x))
            for x in train.astype(float)
        ]
        nearest = sorted(range(150), key=lambda i: -cosines[i])[:20]
        votes = {x: 0 for x in 'abc'}
        for index in nearest:
            votes[labels[index]] += 1
        # of equal votes the first name
        hits += max('abc', key=lambda x: votes[x]) == own
    row = tasks.classify('knn', train, labels, test, truth)
    assert row == {'knn': pytest.approx(100 * hits / 60)}
    assert 0.34 < hits / 60 < 0.95


def test_linear(tasks: ModuleType) -> None:
    train, labels = clouds(0, 150)
    test, truth = clouds(1, 200)
    names, scores = softmax_regression(train, labels, test)
    expected = 100 * np.mean(names[scores.argmax(1)] == truth)
    row = tasks.classify('linear', train, labels, test, truth)
    # one image on the border between two classes
    assert row['linear'] == pytest.approx(expected, abs=0.5)
    assert 70 < expected < 99
    # the wide channel without meaning does not matter
    assert (
        row['linear']
        > tasks.classify('knn', train, labels, test, truth)['knn']
    )


def test_few_learns_from_a_tenth_of_each_class(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Recorder(LogisticRegression):
        def fit(self, x: np.ndarray, y: np.ndarray) -> 'Recorder':
            seen.append((x, y))
            return super().fit(x, y)

    monkeypatch.setattr(tasks, 'LogisticRegression', Recorder)
    train, labels = clouds(0, 400)
    test, truth = clouds(1, 300)
    row = tasks.classify('few', train, labels, test, truth)
    scaled = []
    for x, y in seen:
        assert np.allclose(x.mean(0), 0) and len(y) == 40
        scaled.append(x[:, 0])
        for name in 'abc':
            share = np.sum(labels == name) / 10
            assert abs(np.sum(y == name) - share) < 1
    assert len(seen) == 3 and not np.allclose(*scaled[:2])
    assert row == tasks.classify('few', train, labels, test, truth)
    scores = [
        np.mean(names[logits.argmax(1)] == truth)
        for names, logits in (
            softmax_regression(some, own, test)
            for some, own in _tenths(train, labels)
        )
    ]
    assert row['few'] == pytest.approx(100 * np.mean(scores), abs=0.5)
    assert row['few_std'] == pytest.approx(100 * np.std(scores), abs=0.5)
    with pytest.raises(ConfigError, match='more photos'):
        tasks.classify('few', train[:10], labels[:10], test, truth)


def _tenths(train: np.ndarray, labels: np.ndarray) -> list:
    return [
        train_test_split(
            train, labels, train_size=0.1, stratify=labels, random_state=seed
        )[::2]
        for seed in range(3)
    ]


def test_position_labels(tasks: ModuleType) -> None:
    labels = np.array(
        [
            [1, 1, 0, 0, 0, 7],
            [1, 7, 0, 0, 0, 0],
            [3, 3, 255, 255, 2, 2],
            [0, 7, 255, 0, 2, 3],
        ],
        np.uint8,
    )[None]
    expected = [[[1, 0, 7], [3, 0, 2]]]
    assert tasks.position_labels(labels, 2, 3).tolist() == expected


def test_mean_iou(tasks: ModuleType) -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 2, 5, 255], (3, 8, 8))
    predicted = rng.choice([1, 2, 5, 6], (3, 8, 8))
    hits: dict[int, int] = {}
    union: dict[int, int] = {}
    for p, t in zip(predicted.flat, truth.flat, strict=True):
        if t in (0, 255):
            continue
        hits[t] = hits.get(t, 0) + (p == t)
        for x in {p, t}:
            union[x] = union.get(x, 0) + 1
    # 6 is in no label, so it lowers others but does not count itself
    expected = np.mean([hits[x] / union[x] for x in (1, 2, 5)])
    assert tasks.mean_iou(predicted, truth) == pytest.approx(100 * expected)


def resize_bilinear(grid: np.ndarray, side: int) -> np.ndarray:
    """``(h, w, K)`` to ``(side, side, K)``, with pixels as areas."""
    result = np.zeros((side, side, grid.shape[2]))
    for row in range(side):
        for column in range(side):
            place = []
            for index, size in ((row, grid.shape[0]), (column, grid.shape[1])):
                x = min(max((index + 0.5) * size / side - 0.5, 0), size - 1)
                low = min(int(x), size - 2)
                place.append((low, x - low))
            (i, a), (j, b) = place
            result[row, column] = (
                (1 - a) * (1 - b) * grid[i, j]
                + (1 - a) * b * grid[i, j + 1]
                + a * (1 - b) * grid[i + 1, j]
                + a * b * grid[i + 1, j + 1]
            )
    return result


def test_segment(tasks: ModuleType) -> None:
    # Left and right halves; the features tell them, with noise.
    truth = np.ones((6, 8, 8), np.uint8)
    truth[:, :, 3:] = 4
    truth[:, 0] = 0
    truth[0, :, :2] = 2
    labels = truth[::-1]

    def features(labels: np.ndarray, seed: int) -> np.ndarray:
        cells = labels[:, 1::2, ::2, None]
        noise = np.random.default_rng(seed).normal(0, 1, (6, 4, 4, 3))
        return (np.concatenate([cells == 1, cells == 2, cells], 3) * 2) + noise

    train, test = features(labels, 1), features(truth, 2)
    wanted = []
    for index in range(6):
        for i in range(4):
            for j in range(4):
                cell = labels[index, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                counts = {
                    x: int(np.sum(cell == x)) for x in (1, 2, 4) if x in cell
                }
                wanted.append(max(counts, key=lambda x: counts[x]))
    names, scores = softmax_regression(
        train.reshape(-1, 3), np.array(wanted), test.reshape(-1, 3)
    )
    predicted = np.stack(
        [
            names[resize_bilinear(grid, 8).argmax(2)]
            for grid in scores.reshape(6, 4, 4, 3)
        ]
    )
    values = []
    for x in (1, 2, 4):
        known = truth > 0
        hits = np.sum((predicted == x) & (truth == x) & known)
        union = np.sum(((predicted == x) | (truth == x)) & known)
        values.append(hits / union)
    row = tasks.segment(train, labels, test, truth, 10**6)
    assert row['dense'] == pytest.approx(100 * np.mean(values), abs=1)
    assert 40 < row['dense'] < 99
    # A part of the positions, the same one each time.
    some = tasks.segment(train, labels, test, truth, 30)
    assert some == tasks.segment(train, labels, test, truth, 30) != row


def test_images_are_resized_and_cropped(
    tasks: ModuleType, tmp_path: Path
) -> None:
    pixels = np.zeros((16, 40, 3), np.uint8)
    pixels[:, 12:20] = (200, 0, 0)
    pixels[:, 20:28] = (0, 0, 100)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    image = tasks.read_images([str(tmp_path / 'a.png')], 8)[0]
    # The middle 16 of 40 columns, two pixels in one.
    assert image.shape == (8, 8, 3)
    assert (image[:, :4] == (200, 0, 0)).all()
    assert (image[:, 4:] == (0, 0, 100)).all()
    (tmp_path / 'b.png').write_text('no image')
    with pytest.raises(ConfigError, match=r'b\.png'):
        tasks.read_images([str(tmp_path / 'b.png')], 8)


@pytest.mark.parametrize(
    ('mean', 'std'),
    [
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        ([10.0, 20.0, 30.0], [128.0, 100.0, 80.0]),
    ],
)
def test_features_are_those_of_the_frozen_backbone(
    mean: list[float], std: list[float], tasks: ModuleType
) -> None:
    torch.manual_seed(0)
    student = build_student('resnet18', base_channels=8, stem_channels=8)
    images = np.random.default_rng(0).integers(
        0, 256, (3, 64, 64, 3), np.uint8
    )
    for name, values in (('mean', mean), ('std', std)):
        buffer = getattr(student.data_preprocessor, name)
        buffer.copy_(torch.tensor(values).view_as(buffer))
    student.train()
    means = tasks.extract(student, images, 2)
    maps = tasks.extract(student, images, 2, dense=True)
    x = torch.from_numpy((images - np.array(mean)) / std).permute(0, 3, 1, 2)
    student.eval()
    with torch.no_grad():
        c4, c5 = student.backbone(x.float())
    assert np.allclose(means, c5.mean((2, 3)), atol=1e-5)
    assert maps.shape == (3, 4, 4, 32 + 64)
    assert np.allclose(maps[..., :32], c4.permute(0, 2, 3, 1), atol=1e-5)
    for index in range(3):
        expected = resize_bilinear(c5[index].permute(1, 2, 0).numpy(), 4)
        assert np.allclose(maps[index, ..., 32:], expected, atol=1e-4)
    student.backbone.conv1.weight.data.fill_(torch.nan)
    with pytest.raises(ConfigError, match='NaN'):
        tasks.extract(student, images, 2)


def write_photos(root: Path, count: int) -> None:
    """Two classes that a color tells apart."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val', 'test'):
        for name, channel in (('a', 0), ('b', 2)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 90, (36, 40, 3), np.uint8)
                pixels[..., channel] += 160
                Image.fromarray(pixels).save(folder / f'{index}.png')


def write_segmentation(root: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (('training', 6), ('validation', 3)):
        for kind in ('images', 'annotations'):
            (root / kind / split).mkdir(parents=True)
        for index in range(count):
            labels = np.ones((32, 48), np.uint8)
            labels[:, 20 + index :] = 2
            labels[:2] = 0
            pixels = rng.integers(0, 80, (32, 48, 3), np.uint8)
            pixels[labels == 2] += 150
            name = f'{index}.png'
            Image.fromarray(pixels).save(root / 'images' / split / name)
            image = Image.fromarray(labels, mode='P')
            image.putpalette(list(range(256)) * 3)
            image.save(root / 'annotations' / split / name)


def test_run(
    judge: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, scenes = tmp_path / 'photos', tmp_path / 'scenes'
    write_photos(photos, 10)
    write_segmentation(scenes)
    torch.manual_seed(0)
    student = build_student('resnet18', base_channels=8, stem_channels=8)
    bare = {
        # as torchvision saves it, inside the module of another project
        f'module.net.{key}': value
        for key, value in student.backbone.state_dict().items()
    }
    bare['module.net.fc.weight'] = torch.ones(3, 64)
    bare['module.head.weight'] = torch.ones(3, 64)
    torch.save(bare, tmp_path / 'bare.pth')
    ours = tmp_path / 'ours.pth'
    torch.save(
        dict(
            state_dict={
                f'backbone.{key}': value
                for key, value in student.backbone.state_dict().items()
            },
            meta=dict(cfg=student._config.pretty_text),
        ),
        ours,
    )
    out = tmp_path / 'out.json'
    arguments = [
        str(ours),
        str(tmp_path / 'bare.pth'),
        *('--student', 'resnet18', '--width', '8', '--size', '32'),
        *('--untrained', '0', '1'),
        *('--data', str(photos / 'train')),
        *('--test', str(photos / 'val'), str(photos / 'test')),
        *('--dense-data', str(scenes), '--json', str(out)),
    ]
    assert judge.main(arguments) == 0
    report = json.loads(out.read_text())
    assert report['photos'] == dict(
        train=20, test=40, classes=2, dense_train=6, dense_test=3
    )
    rows = report['rows']
    assert rows[str(ours)] == rows[str(tmp_path / 'bare.pth')]
    assert rows[str(ours)]['linear'] == 100
    assert rows['majority class']['knn'] == 50
    assert 25 < rows['majority class']['dense'] < 35
    assert rows[str(ours)]['dense'] > rows['majority class']['dense']
    assert rows['untrained, seed 0'] != rows['untrained, seed 1']
    table = capsys.readouterr().out
    assert '| kNN | linear | 10 % labels | mIoU |' in table
    assert '| untrained, seed 0 |' in table


def test_untrained_is_the_network_of_the_seed(judge: ModuleType) -> None:
    student = build_student('resnet18', base_channels=8, stem_channels=8)
    student.backbone.bn1.running_mean.fill_(3)
    fresh = judge.untrained(student, 5)
    again = judge.untrained(fresh, 5).state_dict()
    other = judge.untrained(fresh, 6).state_dict()
    for key, value in fresh.state_dict().items():
        assert torch.equal(value, again[key])
    assert fresh.backbone.bn1.running_mean.abs().max() == 0
    name = 'backbone.conv1.weight'
    assert not torch.equal(again[name], other[name])
    assert not torch.equal(again[name], student.state_dict()[name])


def test_bad_input(
    judge: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error(*arguments: str) -> str:
        assert judge.main([*arguments, '--size', '32']) == 2
        return capsys.readouterr().err

    write_photos(tmp_path, 2)
    data = ['--data', str(tmp_path / 'train'), '--test', str(tmp_path / 'val')]
    student = build_student('resnet18', base_channels=8, stem_channels=8)
    state = student.backbone.state_dict()
    torch.save(state, tmp_path / 'bare.pth')
    bare = str(tmp_path / 'bare.pth')
    assert '--student and --width' in error(bare, *data)
    text = error(bare, *data, '--student', 'resnet18', '--width', '16')
    assert 'no resnet18 of width 16' in text and 'of another shape' in text
    two = {**state, **{f'copy.{key}': value for key, value in state.items()}}
    torch.save(two, tmp_path / 'two.pth')
    text = error(str(tmp_path / 'two.pth'), *data, '--student', 'resnet18')
    assert 'holds 2 ResNets' in text
    assert 'no such file' in error(str(tmp_path / 'no.pth'), *data)
    new = ['--untrained', '0', '--student', 'resnet18', '--width', '8']
    train = str(tmp_path / 'train')
    text = error(*new, '--data', train, '--test', train)
    assert '4 photos are to be learned from and to be classified' in text
    (tmp_path / 'val' / 'b').rename(tmp_path / 'val' / 'z')
    assert 'has no photo of z' in error(*new, *data)
    assert 'no image lies in' in error(*new, '--dense-data', str(tmp_path))
    for arguments, reason in (
        ([bare], '--data and --test'),
        (data, 'give a checkpoint'),
        ([bare, *data, '--tasks', 'dense'], '--dense-data'),
    ):
        with pytest.raises(SystemExit):
            judge.parse_args(arguments)
        assert reason in capsys.readouterr().err


def test_student_with_its_config_needs_no_name(
    judge: ModuleType, tmp_path: Path
) -> None:
    student = build_student('resnet18', base_channels=8, stem_channels=8)
    torch.save(
        dict(
            state_dict=student.state_dict(),
            meta=dict(cfg=student._config.pretty_text),
        ),
        tmp_path / 'a.pth',
    )
    args = argparse.Namespace(student=None, width=64)
    read = judge.read_backbone(str(tmp_path / 'a.pth'), args)
    expected = load_student(tmp_path / 'a.pth')
    assert torch.equal(
        read.backbone.conv1.weight, expected.backbone.conv1.weight
    )


def test_plot_shows_means_and_deviations(
    plot_judge: ModuleType, tmp_path: Path
) -> None:
    rows = [
        dict(name='a', kind='ours', seeds=[dict(knn=10.0), dict(knn=20.0)]),
        dict(name='b', kind='peer', seeds=[dict(knn=40.0)]),
    ]
    content = dict(title='all', tasks=dict(knn='kNN'), rows=rows)
    [panel] = plot_judge.draw(content).axes
    bars = [patch.get_width() for patch in panel.patches]
    assert bars == [15.0, 40.0]
    assert [text.get_text() for text in panel.texts] == ['15.0', '40.0']
    assert [x.get_text() for x in panel.get_yticklabels()] == ['a', 'b']
    # The line of the deviation of 50 ** 0.5.
    [line] = panel.collections
    [(start, _), (end, _)] = line.get_segments()[0]
    assert (end - start) / 2 == pytest.approx(50**0.5)
    source = tmp_path / 'figures.json'
    source.write_text(json.dumps(content))
    assert plot_judge.main([str(source), str(tmp_path / 'out.png')]) == 0
    assert (tmp_path / 'out.png').read_bytes().startswith(b'\x89PNG')


def test_plot_names_a_row_without_figures(
    plot_judge: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = tmp_path / 'figures.json'
    source.write_text(
        json.dumps(
            dict(
                title='',
                tasks=dict(linear='linear'),
                rows=[dict(name='a', kind='ours', seeds=[dict(knn=1.0)])],
            )
        )
    )
    assert plot_judge.main([str(source), str(tmp_path / 'out.png')]) == 2
    assert "the row 'a' has no figure of 'linear'" in capsys.readouterr().err
