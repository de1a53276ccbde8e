import json
import tempfile
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from mmhgkd.utils import ConfigError

from .scene_generator import SceneGenerator
from .shapes import SHAPES
from .writers import (
    ClassificationWriter,
    DetectionWriter,
    SceneWriter,
    SegmentationWriter,
    ShapeWriter,
)

TASKS: dict[str, type[SceneWriter]] = dict(
    cls=ClassificationWriter,
    shapes=ShapeWriter,
    det=DetectionWriter,
    seg=SegmentationWriter,
)
"""Writer of each task."""

_SETTINGS = 'scenes.json'
# To be raised when the same settings come to give other pictures.
_VERSION = 1


def write_scenes(
    root: str | Path,
    task: str = 'cls',
    num_train: int = 5000,
    num_val: int = 1000,
    image_size: int = 96,
    seed: int = 0,
    workers: int = 1,
) -> Path:
    """Write a data set of procedural scenes, unless it is there already.

    The settings lie in ``root/scenes.json``. A data set appears under its
    name once it is complete.

    Args:
        root (str or Path): Folder of the data set, new or empty.
        task (str): 'cls' for one folder a class, 'shapes' for the same with
            plain pictures, 'det' for the layout of MS COCO, 'seg' for that of
            ADE20K. Defaults to 'cls'.
        num_train (int): Training pictures. Defaults to 5000.
        num_val (int): Validation pictures. Defaults to 1000.
        image_size (int): Side of the pictures in pixels. Defaults to 96.
        seed (int): Seed of the scenes. Defaults to 0.
        workers (int): Processes that draw; the pictures do not depend on it.
            Defaults to 1.

    Returns:
        Path: The folder of the data set, ``root``.

    Raises:
        ConfigError: If an argument is out of range, or ``root`` holds
            anything else.
    """
    if task not in TASKS:
        raise ConfigError(
            f'`task` must be one of {", ".join(TASKS)}, got {task!r}'
        )
    for name, value in dict(
        num_train=num_train, num_val=num_val, workers=workers
    ).items():
        if value < 1:
            raise ConfigError(f'`{name}` must be at least 1, got {value}')
    generator = SceneGenerator(image_size, seed)
    settings = dict(
        task=task,
        num_train=num_train,
        num_val=num_val,
        image_size=image_size,
        seed=seed,
        classes=list(SHAPES),
        version=_VERSION,
    )
    root = Path(root).expanduser().absolute()
    if _is_written(root, settings):
        return root

    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f'.{root.name}-', dir=root.parent
    ) as temporary:
        # Made by mkdir, for the usual permissions of a folder.
        folder = Path(temporary) / root.name
        folder.mkdir()
        writer = TASKS[task](generator, folder)
        for split, count in (('train', num_train), ('val', num_val)):
            writer.prepare(split)
            records = Parallel(n_jobs=workers)(
                delayed(writer.write)(split, index) for index in range(count)
            )
            writer.finish(split, records)
        (folder / _SETTINGS).write_text(json.dumps(settings, indent=2))
        folder.rename(root)
    return root


def _is_written(root: Path, settings: dict[str, Any]) -> bool:
    """Whether the data set is there; an error if something else is."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    path = root / _SETTINGS
    if not path.is_file():
        raise ConfigError(
            f'{root} exists and holds no data set of scenes (no {_SETTINGS}); '
            'choose another output folder'
        )
    found = json.loads(path.read_text())
    different = [
        f'{name} is {found.get(name)!r} there, {value!r} asked for'
        for name, value in settings.items()
        if found.get(name) != value
    ]
    if different:
        raise ConfigError(
            f'{root} holds scenes with other settings: '
            f'{"; ".join(different)}; choose another output folder or delete '
            'that one'
        )
    return True
