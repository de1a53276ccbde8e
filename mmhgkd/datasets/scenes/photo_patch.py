import cv2
import numpy as np

from .photos import load_photos


def photo_patch(
    rng: np.random.Generator, height: int, width: int
) -> np.ndarray:
    """Cut a random patch out of a random photo and change its colors.

    Args:
        rng (Generator): Source of randomness.
        height (int): Height of the patch in pixels.
        width (int): Width of the patch in pixels.

    Returns:
        ndarray: RGB in [0, 1], ``(height, width, 3)`` float32.
    """
    photos = load_photos()
    photo = photos[rng.integers(len(photos))]
    limit = min(photo.shape[0] / height, photo.shape[1] / width)
    scale = limit * rng.uniform(0.25, 0.9)
    rows, columns = int(height * scale), int(width * scale)
    y = rng.integers(photo.shape[0] - rows + 1)
    x = rng.integers(photo.shape[1] - columns + 1)
    patch = cv2.resize(
        photo[y : y + rows, x : x + columns],
        (width, height),
        interpolation=cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR,
    )
    patch = patch[:, :: rng.choice((-1, 1)), rng.permutation(3)]
    gain = rng.uniform(0.75, 1.25, 3).astype(np.float32)
    offset = np.float32(rng.uniform(-0.1, 0.1))
    return np.clip(patch.astype(np.float32) / 255 * gain + offset, 0, 1)
