from .scene_writer import SceneWriter, write_image
from .shapes import SHAPES


class ClassificationWriter(SceneWriter):
    """One folder a class, named after the main object of its pictures.

    Classes take turns, so their counts differ by one at most::

        root/{train,val}/{class}/000001.png
    """

    def prepare(self, split: str) -> None:
        """See :class:`SceneWriter`."""
        for shape in SHAPES:
            (self.root / split / shape).mkdir(parents=True)

    def write(self, split: str, index: int) -> None:
        """See :class:`SceneWriter`."""
        label = index % len(SHAPES)
        scene = self.generator.scene(split, index, label)
        folder = self.root / split / SHAPES[label]
        write_image(folder / f'{index + 1:06}.png', scene.image)
