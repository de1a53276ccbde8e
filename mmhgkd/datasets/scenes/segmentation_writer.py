import numpy as np

from .scene_writer import SceneWriter, write_image
from .shapes import SHAPES

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
