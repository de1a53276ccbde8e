import functools
from importlib import resources

import mmcv
import numpy as np

_FILES = {
    'sklearn.datasets.images': ('china.jpg', 'flower.jpg'),
    'skimage.data': (
        'astronaut.png',
        'brick.png',
        'chelsea.png',
        'coffee.png',
        'grass.png',
        'gravel.png',
        'rocket.jpg',
    ),
}


@functools.cache
def load_photos() -> tuple[np.ndarray, ...]:
    """Load the photos that scikit-learn and scikit-image are shipped with.

    They are read as files of the installed packages, because the functions
    of ``skimage.data`` may turn to the network. ``china`` (by danielbuechele)
    and ``flower`` (by vultilion) are under CC BY 2.0, the others are in the
    public domain or under CC0.

    Returns:
        tuple[ndarray]: RGB images, ``(H, W, 3)`` uint8.

    Raises:
        FileNotFoundError: If an installed package lacks a photo.
    """
    photos = []
    for package, names in _FILES.items():
        for name in names:
            path = resources.files(package).joinpath(name)
            if not path.is_file():
                raise FileNotFoundError(
                    f'the photo {name} is missing from the installed package '
                    f'`{package.split(".")[0]}` ({path}); reinstall '
                    'scikit-learn and scikit-image from their wheels'
                )
            photos.append(
                mmcv.imfrombytes(
                    path.read_bytes(), channel_order='rgb', backend='cv2'
                )
            )
    return tuple(photos)
