from collections.abc import Iterable
from difflib import get_close_matches


def suggest(name: str, known: Iterable[str], limit: int = 3) -> str:
    """A question for a name that does not exist, '' without a likely one.

    Args:
        name (str): What was asked for.
        known (Iterable[str]): The names that there are.
        limit (int): Most names to offer. Defaults to 3.

    Returns:
        str: Such as '; did you mean resnet18?'.
    """
    names = list(known)
    close = get_close_matches(name, names, limit, 0.6)
    if not close and len(name) > 2:
        close = [other for other in names if name in other][:limit]
    return f'; did you mean {" or ".join(close)}?' if close else ''
