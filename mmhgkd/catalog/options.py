"""What can be asked of a distillation beside photos and networks."""

from collections.abc import Iterable, Mapping
from typing import Any

from mmhgkd.utils import ConfigError
from mmhgkd.utils.value_checks import is_count

from .names import suggest
from .photos import Photos

#: The least value of each number.
LEAST = {
    'epochs': 1,
    'batch_size': 2,
    'image_size': 64,
    'views': 1,
    'workers': 0,
    'seed': 0,
}
#: What the same student is trained on, by the name of the comparison.
TWINS = {
    'pixels': 'pixels (SparK)',
    'supervised': 'the labels',
}


def twin_names(
    compare: str | Iterable[str] | None,
    photos: Photos | None = None,
    kept: Iterable[str] = (),
) -> list[str]:
    """Check what to compare with.

    Args:
        compare (str or Iterable[str], optional): Keys of ``TWINS``; text has
            commas between them.
        photos (Photos, optional): The photos, which need labels for
            'supervised'. Defaults to None: nothing is known of them.
        kept (Iterable[str]): What else. Defaults to ().

    Returns:
        list[str]: The names in the order of ``TWINS``.

    Raises:
        ConfigError: If there is no such comparison, or it needs labels.
    """
    if not isinstance(compare, (str, Iterable, type(None))):
        raise ConfigError(
            f'`compare` takes names such as {list(TWINS)}, got {compare!r}'
        )
    items = compare.split(',') if isinstance(compare, str) else compare or []
    names = [str(item).strip() for item in (*items, *kept)]
    for name in names:
        if name not in TWINS:
            raise ConfigError(
                f'`compare` takes {" and ".join(TWINS)} with a comma between '
                f'them, got {name!r}{suggest(name, TWINS)}'
            )
    if 'supervised' in names and photos and not photos.labels:
        raise ConfigError(
            f"`compare` has 'supervised', but {photos.source} has no labels; "
            'sort the photos into one folder a class, at least two with four '
            'photos each, or leave it out'
        )
    return [name for name in TWINS if name in names]


def check_numbers(values: Mapping[str, Any], as_flags: bool = False) -> None:
    """Refuse what is no number, or too small a one.

    Args:
        values (Mapping): By keys of ``LEAST``; what is not there or None was
            not asked for.
        as_flags (bool): Whether to name them as on the command line.
            Defaults to False.

    Raises:
        ConfigError: It names the option.
    """
    for name, least in LEAST.items():
        value = values.get(name)
        if value is not None and not is_count(value, least):
            shown = f'`{name}`'
            if as_flags:
                shown = f'--{name.replace("_", "-")}'
            raise ConfigError(
                f'{shown} must be a whole number and at least {least}, got '
                f'{value!r}'
            )
