"""List the configs that this installation carries."""

from collections.abc import Sequence

from mmhgkd.catalog import config_names, suggest
from mmhgkd.catalog.configs import config_title
from mmhgkd.utils import ConfigError

from .arguments import Parser, complain, print_table


def main(argv: Sequence[str] | None = None) -> int:
    """Print the names; returns the exit code."""
    parser = Parser('configs', description=__doc__)
    parser.add_argument('word', nargs='?', default='', help='part of a name')
    args = parser.parse_args(argv)
    names = config_names()
    found = [name for name in names if args.word.lower() in name]
    if not found:
        return complain(
            ConfigError(
                f'no config has {args.word!r} in its name'
                f'{suggest(args.word, names)}'
            )
        )
    print_table((name, config_title(name)[:60]) for name in found)
    return 0
