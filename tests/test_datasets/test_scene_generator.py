import cv2
import numpy as np
import pytest
from skimage import data as skimage_data
from sklearn.datasets import load_sample_image

from mmhgkd.datasets.scenes import SHAPES, Scene, SceneGenerator
from mmhgkd.datasets.scenes.textures import load_photos
from mmhgkd.utils import ConfigError


def assert_equal(first: Scene, second: Scene) -> None:
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.instances, second.instances)
    assert first.labels == second.labels


def test_depends_on_seed_split_and_index_only() -> None:
    generator = SceneGenerator(64, seed=5)
    forward = [generator.scene('train', index) for index in range(6)]
    generator = SceneGenerator(64, seed=5)
    for index in (4, 1, 5, 0, 3, 2):
        assert_equal(generator.scene('train', index), forward[index])


@pytest.mark.parametrize(
    ('seed', 'split', 'index'),
    [(6, 'train', 0), (5, 'val', 0), (5, 'train', 1)],
)
def test_changes_with(seed: int, split: str, index: int) -> None:
    scene = SceneGenerator(64, seed=5).scene('train', 0, 2)
    other = SceneGenerator(64, seed=seed).scene(split, index, 2)
    difference = np.abs(scene.image.astype(int) - other.image)
    assert difference.mean() > 10


def test_main_object() -> None:
    generator = SceneGenerator(96)
    for index in range(30):
        label = index % len(SHAPES)
        scene = generator.scene('train', index, label)
        assert scene.image.shape == (96, 96, 3)
        assert scene.image.dtype == np.uint8
        assert scene.labels[0] == label
        areas = [scene.mask(k).sum() for k in range(len(scene.labels))]
        assert areas[0] > 5 * max(areas[1:], default=0)
        assert 0.15 < areas[0] / 96**2 < 0.6


@pytest.mark.parametrize('image_size', [32, 96])
def test_objects(image_size: int) -> None:
    generator = SceneGenerator(image_size, num_objects=(3, 5))
    counts = []
    for index in range(40):
        scene = generator.scene('val', index)
        counts.append(len(scene.labels))
        assert scene.instances.max() == len(scene.labels)
        for number, label in enumerate(scene.labels):
            assert 0 <= label < len(SHAPES)
            mask = scene.mask(number)
            # The largest of the sides of 0.17 to 0.34, and the share of an
            # object that stays visible.
            assert 0.6 * 0.17**2 < mask.mean() < 1.1 * 0.34**2
            x, y, width, height = scene.box(number)
            assert mask[y : y + height, x : x + width].sum() == mask.sum()
            assert mask[y].any() and mask[y + height - 1].any()
            assert mask[:, x].any() and mask[:, x + width - 1].any()
    assert max(counts) == 5
    assert min(counts) >= 1


def test_objects_can_be_told_from_the_background() -> None:
    generator = SceneGenerator(96)
    kernel = np.ones((7, 7), np.uint8)
    for index in range(20):
        scene = generator.scene('train', index, index % len(SHAPES))
        grown = cv2.dilate((scene.instances > 0).astype(np.uint8), kernel) > 0
        around = grown & (scene.instances == 0)
        inside = scene.image[scene.mask(0)].astype(float)
        outside = scene.image[around].astype(float)
        assert np.abs(inside.mean(0) - outside.mean(0)).max() > 8


def test_plain_scenes_hold_one_object_between_smooth_surfaces() -> None:
    generator = SceneGenerator(96)
    for index in range(20):
        label = index % len(SHAPES)
        scene = generator.scene('train', index, label, plain=True)
        assert scene.labels == (label,)
        assert 0.15 < scene.mask(0).mean() < 0.6
        # What is left of the background far from object and shadow is its
        # slope and the noise.
        kernel = np.ones((45, 45), np.uint8)
        far = cv2.dilate(scene.instances, kernel) == 0
        smooth = cv2.GaussianBlur(scene.image, (0, 0), 2).astype(float)
        steps = np.abs(np.diff(smooth, axis=1)).max(-1)
        assert steps[far[:, 1:]].max(initial=0) < 6


@pytest.mark.parametrize('plain', [False, True])
def test_colors_tell_nothing_about_the_class(plain: bool) -> None:
    generator = SceneGenerator(48)
    colors = np.array(
        [
            [
                scene.image[scene.mask(0)].mean()
                for index in range(30)
                for scene in [
                    generator.scene(f'split{label}', index, label, plain)
                ]
            ]
            for label in range(len(SHAPES))
        ]
    )
    # The ratio of the variances between and within the classes is an F
    # statistic with (9, 290) degrees of freedom; 99.9 % lie below 3.2.
    between = 30 * colors.mean(1).var(ddof=1)
    within = colors.var(1, ddof=1).mean()
    assert between / within < 3.2


def test_photos_are_the_packages_own() -> None:
    photos = load_photos()
    for name, expected in (
        ('china.jpg', load_sample_image('china.jpg')),
        ('chelsea', skimage_data.chelsea()),
    ):
        difference = min(
            np.abs(photo.astype(int) - expected).mean()
            for photo in photos
            if photo.shape == expected.shape
        )
        assert difference < 1, name


def test_missing_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        'mmhgkd.datasets.scenes.textures._FILES',
        {'skimage.data': ('nowhere.png',)},
    )
    with pytest.raises(FileNotFoundError, match=r'nowhere\.png.*reinstall'):
        load_photos.__wrapped__()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(image_size=16), '`image_size` must be at least 32'),
        (dict(seed=-1), '`seed` must not be negative'),
        (dict(num_objects=(0, 3)), '`num_objects` must be'),
        (dict(num_objects=(4, 3)), '`num_objects` must be'),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SceneGenerator(**options)
