import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from .scene_generator import SceneGenerator
from .shapes import SHAPES

JPEG_QUALITY = 95


class SceneWriter(ABC):
    """Writes scenes in the layout that the data sets of a task are read in.

    Args:
        generator (SceneGenerator): Draws the scenes.
        root (Path): Existing folder to write into.
    """

    def __init__(self, generator: SceneGenerator, root: Path) -> None:
        self.generator = generator
        self.root = root

    @abstractmethod
    def prepare(self, split: str) -> None:
        """Make the folders of a split."""

    @abstractmethod
    def write(self, split: str, index: int) -> Any:
        """Write scene ``index`` of a split; called from several processes.

        Returns:
            Any: What :meth:`finish` needs to know about the scene.
        """

    def finish(self, split: str, records: list[Any]) -> None:  # noqa: B027
        """Write what is common to a split, given the records in order."""


def write_image(path: Path, image: np.ndarray) -> None:
    """Write RGB ``(H, W, 3)`` or gray ``(H, W)`` uint8 pixels to a file.

    Raises:
        OSError: If the file cannot be written.
    """
    pixels = image[..., ::-1] if image.ndim == 3 else image
    data = cv2.imencode(
        path.suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )[1]
    path.write_bytes(data.tobytes())


class ClassificationWriter(SceneWriter):
    """One folder a class, named after the main object of its pictures.

    Classes take turns, so their counts differ by one at most::

        root/{train,val}/{class}/000001.png
    """

    plain = False

    def prepare(self, split: str) -> None:
        """See :class:`SceneWriter`."""
        for shape in SHAPES:
            (self.root / split / shape).mkdir(parents=True)

    def write(self, split: str, index: int) -> None:
        """See :class:`SceneWriter`."""
        label = index % len(SHAPES)
        scene = self.generator.scene(split, index, label, self.plain)
        folder = self.root / split / SHAPES[label]
        write_image(folder / f'{index + 1:06}.png', scene.image)


class ShapeWriter(ClassificationWriter):
    """The same layout, with plain pictures of a single object."""

    plain = True


class DetectionWriter(SceneWriter):
    """The layout and the JSON of MS COCO, with several objects a picture.

    The masks are run-length encoded and hold the visible part of an object
    only, and so do the boxes; category ids count from 1::

        root/annotations/instances_{train,val}2017.json
        root/{train,val}2017/000000000001.jpg
    """

    def prepare(self, split: str) -> None:
        """See :class:`SceneWriter`."""
        (self.root / f'{split}2017').mkdir()
        (self.root / 'annotations').mkdir(exist_ok=True)

    def write(
        self, split: str, index: int
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Write a picture and return its JSON entries."""
        scene = self.generator.scene(split, index)
        image_id = index + 1
        name = f'{image_id:012}.jpg'
        write_image(self.root / f'{split}2017' / name, scene.image)
        height, width = scene.instances.shape
        image = dict(
            id=image_id, file_name=name, height=height, width=width, license=1
        )
        annotations = []
        for number, label in enumerate(scene.labels):
            mask = scene.mask(number)
            rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            annotations.append(
                dict(
                    image_id=image_id,
                    category_id=label + 1,
                    bbox=list(scene.box(number)),
                    area=int(mask.sum()),
                    iscrowd=0,
                    segmentation=dict(
                        size=rle['size'], counts=rle['counts'].decode()
                    ),
                )
            )
        return image, annotations

    def finish(self, split: str, records: list[Any]) -> None:
        """See :class:`SceneWriter`."""
        annotations = [item for _, items in records for item in items]
        for number, annotation in enumerate(annotations, 1):
            annotation['id'] = number
        content = dict(
            info=dict(
                description='Procedural scenes of mmhgkd; they hold patches '
                'of photos by danielbuechele and vultilion (CC BY 2.0)',
                version='1.0',
            ),
            licenses=[
                dict(
                    id=1,
                    name='CC BY 2.0',
                    url='https://creativecommons.org/licenses/by/2.0/',
                )
            ],
            images=[image for image, _ in records],
            annotations=annotations,
            categories=[
                dict(id=number, name=shape, supercategory='shape')
                for number, shape in enumerate(SHAPES, 1)
            ],
        )
        path = self.root / 'annotations' / f'instances_{split}2017.json'
        path.write_text(json.dumps(content))


_FOLDERS = dict(train='training', val='validation')


class SegmentationWriter(SceneWriter):
    """The layout of ADE20K, with several objects a picture.

    As in ADE20K, label 0 means unlabelled and is to be ignored
    (``reduce_zero_label=True``); here no pixel is. Labels 1 to N are the
    ``SHAPES``, and N + 1 is the background, a class like any other. Read with
    ``reduce_zero_label=True`` they become 0 to N, the indices into
    ``(*SHAPES, 'background')``::

        root/images/{training,validation}/000001.jpg
        root/annotations/{training,validation}/000001.png
    """

    def prepare(self, split: str) -> None:
        """See :class:`SceneWriter`."""
        for kind in ('images', 'annotations'):
            (self.root / kind / _FOLDERS[split]).mkdir(parents=True)

    def write(self, split: str, index: int) -> None:
        """See :class:`SceneWriter`."""
        scene = self.generator.scene(split, index)
        values = (len(SHAPES) + 1, *(label + 1 for label in scene.labels))
        annotation = np.array(values, np.uint8)[scene.instances]
        folder, name = _FOLDERS[split], f'{index + 1:06}'
        write_image(self.root / 'images' / folder / f'{name}.jpg', scene.image)
        write_image(
            self.root / 'annotations' / folder / f'{name}.png', annotation
        )
