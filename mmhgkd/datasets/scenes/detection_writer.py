import json
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from .scene_writer import SceneWriter, write_image
from .shapes import SHAPES


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
