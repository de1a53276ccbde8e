from mmengine import fileio
from mmengine.logging import MMLogger

from mmhgkd.catalog.find_images import SPLITS, find_folders, has_images
from mmhgkd.utils import ConfigError
from mmhgkd.utils.left_out import say_once


def find_split(data_root: str, split: str) -> str:
    """Name of the sub-folder with the images of a split, '' for none.

    Args:
        data_root (str): Folder of the data set.
        split (str): 'train', 'val', 'test', or '' for none.

    Returns:
        str: The name, or '' where ``data_root`` has no splits.

    Raises:
        ConfigError: If there is no such split, or if the folder of that name
            may be a class.
    """
    if not fileio.isdir(data_root):
        raise ConfigError(
            f'the folder {data_root!r} does not exist; point `data_root` at '
            'the folder of your images'
        )
    folders = find_folders(data_root)
    present = [name for name in SPLITS if name in folders]
    others = [
        name
        for name in folders
        if present
        and name not in SPLITS
        and has_images(fileio.join_path(data_root, name))
    ]
    if len(present) == 1 and others:
        if not split:
            return ''
        raise ConfigError(
            f'{data_root} has the folder {present[0]} beside '
            f'{shorten(set(others))}, which have images too, so it may be a '
            "class; set `split=''` to take all of them, or point `data_root` "
            'at a folder that holds nothing but the splits'
        )
    if split in present:
        if others:
            say_once(
                f'{data_root} has images beside its splits in '
                f'{shorten(set(others))}, which are not used'
            )
        return split
    if present:
        wanted = f'no split {split!r}' if split else 'splits of its own'
        raise ConfigError(
            f'{data_root} has {wanted}, but {", ".join(present)}; set `split` '
            f'to one of them, or point `data_root` at another folder'
        )
    if split in ('val', 'test'):
        MMLogger.get_current_instance().warning(
            f'{data_root} has no folder {split!r}: all of its images serve as '
            'that split, and may be those of the training'
        )
    return ''


def shorten(names: set[str], limit: int = 5) -> str:
    """The first few of a set of names."""
    shown = ', '.join(sorted(names)[:limit])
    return shown + (
        f' and {len(names) - limit} more' if len(names) > limit else ''
    )
