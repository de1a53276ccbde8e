"""Saying once what is left out of the data, and where the list of it is."""

import logging
import os
from collections.abc import Mapping, Sequence

from mmengine.logging import MMLogger

_said: set[tuple[str, str]] = set()


def printable(path: str) -> str:
    """A path of any bytes as text that every log can hold."""
    return os.fsencode(path).decode('utf-8', 'backslashreplace')


def count_kinds(kinds: Mapping[str, Sequence[object] | int]) -> str:
    """Counts by kind, the most frequent first, such as '12 .heic, 1 .txt'."""
    counts = {
        kind: found if isinstance(found, int) else len(found)
        for kind, found in kinds.items()
    }
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ', '.join(f'{count:,} {kind}' for kind, count in ordered if count)


def say_once(
    text: str, names: Sequence[str] = (), level: int = logging.INFO
) -> None:
    """Log a line once in a process; the names it is about go to the file.

    A console is no place for a list of thousands of names.

    Args:
        text (str): The line.
        names (Sequence[str]): What is counted in it. Defaults to none.
        level (int): Level of the line. Defaults to ``logging.INFO``.
    """
    logger = MMLogger.get_current_instance()
    if (logger.name, text) in _said:
        return
    _said.add((logger.name, text))
    files = [
        handler
        for handler in logger.handlers
        if isinstance(handler, logging.FileHandler)
    ]
    names = [printable(name) for name in names]
    if names and files:
        text += ': the list is in the log'
    elif names:
        text += f': {", ".join(names[:3])}{", ..." if len(names) > 3 else ""}'
    logger.log(level, text)
    if not names or not logger.isEnabledFor(level):
        return
    for handler in files:
        handler.handle(
            logger.makeRecord(
                logger.name, level, '', 0, '\n'.join(names), (), None
            )
        )
