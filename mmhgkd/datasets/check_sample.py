from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmhgkd.utils import ConfigError
from mmhgkd.utils.image_headers import is_plain, read_header
from mmhgkd.utils.left_out import count_kinds, say_once

from .decode_image import UnsuitableImageError, read_pixels
from .load_image import LoadImage

#: Most images that are looked at, spread evenly over the data.
MAX_IMAGES = 100


def check_sample(paths: Sequence[str], loader: LoadImage, folder: str) -> None:
    """Look at depth and channels of a sample of the images.

    Most images need no second look: only the first bytes of them are read.

    Args:
        paths (Sequence[str]): All images, local ones.
        loader (LoadImage): What loads them.
        folder (str): Where they lie, for the messages.

    Raises:
        ConfigError: If an option of the loader has to be set for them.
    """
    kinds: Counter[str] = Counter()
    unreadable: list[str] = []
    refused: list[UnsuitableImageError] = []
    highest = []
    count = min(len(paths), MAX_IMAGES)
    for index in np.linspace(0, len(paths) - 1, count).astype(int):
        path = paths[index]
        try:
            with open(path, 'rb') as file:
                if is_plain(file.read(4096)):
                    continue
            header = read_header(path)
            if header.bits == 16 and loader.value_range is None:
                with open(path, 'rb') as file:
                    pixels = read_pixels(file.read(), header)[0]
                highest.append(pixels.max())
            loader.load(path)
        except UnsuitableImageError as error:
            refused.append(error)
        except Exception:  # a damaged file can cause any
            unreadable.append(path)
            continue
        if header.bits > 8 or header.channels not in (1, 3):
            kinds[
                f'of {header.bits} bits and {header.channels} channels'
                f'{" with alpha" if header.alpha else ""}'
            ] += 1
    looked = f'of {count} images in {folder} that were looked at'
    if highest and max(highest) < 2**15 and len(highest) >= len(refused):
        raise ConfigError(
            f'{len(highest)} {looked} have 16 bits, but their values end at '
            f'{max(highest)}: they would be nearly black; set `value_range` '
            f'of LoadImage to (0, {2 ** int(max(highest)).bit_length() - 1}), '
            'or to (0, 65535) if they are meant to be so dark'
        )
    if refused:
        raise ConfigError(
            f'{len(refused)} {looked} cannot be taken as they are: '
            f'{refused[0]}'
        )
    if kinds:
        say_once(f'{sum(kinds.values())} {looked}: {count_kinds(kinds)}')
    if unreadable:
        say_once(f'{len(unreadable)} {looked} are unreadable', unreadable)
