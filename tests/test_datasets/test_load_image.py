from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from torch.utils.data import DataLoader

from mmhgkd.datasets import ImageFolder, LoadImage
from mmhgkd.registry import TRANSFORMS
from mmhgkd.utils import ConfigError


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / 'picture.png'
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    cv2.imwrite(str(path), pixels)
    return path


def spoil(path: Path, kind: str) -> None:
    data = path.read_bytes()
    if kind == 'missing':
        path.unlink()
    else:
        path.write_bytes(
            {
                'empty': b'',
                'truncated': data[: len(data) // 2],
                'text': b'not an image',
            }[kind]
        )


def test_loads_as_the_base(image: Path) -> None:
    ours = LoadImage()(dict(img_path=str(image)))
    base = LoadImageFromFile()(dict(img_path=str(image)))
    np.testing.assert_array_equal(ours.pop('img'), base.pop('img'))
    assert ours == base


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('kind', ['missing', 'empty', 'truncated', 'text'])
def test_error_names_the_file(image: Path, kind: str, backend: str) -> None:
    spoil(image, kind)
    options = dict(type='LoadImage', imdecode_backend=backend)
    transform = TRANSFORMS.build(options)
    with pytest.raises(ConfigError, match='restore or delete') as info:
        transform(dict(img_path=str(image)))
    assert str(image) in str(info.value)
    assert '\n' not in str(info.value)

    transform = TRANSFORMS.build(dict(ignore_empty=True, **options))
    assert transform(dict(img_path=str(image))) is None


def test_error_gets_out_of_a_worker(image: Path) -> None:
    spoil(image, 'empty')
    dataset = ImageFolder(
        str(image.parent), pipeline=[dict(type='mmhgkd.LoadImage')]
    )
    loader: DataLoader = DataLoader(dataset, num_workers=1)
    with pytest.raises(ConfigError, match=r'cannot read .*picture\.png'):
        next(iter(loader))


def test_training_skips_unreadable_images(image: Path) -> None:
    (image.parent / 'broken.png').write_bytes(b'')
    dataset = ImageFolder(
        str(image.parent),
        pipeline=[dict(type='mmhgkd.LoadImage', ignore_empty=True)],
        serialize_data=False,
    )
    assert [dataset[i]['img_path'] for i in range(2)] == 2 * [str(image)]
