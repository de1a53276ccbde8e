"""Errors of which the command line tools print one line and no traceback."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class ConfigError(ValueError):
    """A config, an option or a path that the user has to mend."""


def one_of(option: str, value: object, choices: Sequence[object]) -> None:
    """Refuse the value of an option that is none of the choices.

    Raises:
        ConfigError: It names the option and the choices.
    """
    if value not in choices:
        raise ConfigError(f'{option} must be one of {choices}, got {value!r}')


def closest(name: str, known: Iterable[str], otherwise: str) -> str:
    """Ask whether the closest of the names that there are was meant.

    Args:
        name (str): What is not there.
        known (Iterable[str]): The names that there are.
        otherwise (str): What to say where none is close.

    Returns:
        str: Such as 'did you mean `depth`?'.
    """
    close = get_close_matches(name, list(known), n=1)
    return f'did you mean `{close[0]}`?' if close else otherwise


class RunError(RuntimeError):
    """A run that can be resumed once the cause is gone."""

    exit_code = 3


class RunStopped(RunError):
    """A run that has saved its state because it was told to stop.

    Its exit code is ``EX_TEMPFAIL`` of ``sysexits.h``: try again later.
    """

    exit_code = 75
