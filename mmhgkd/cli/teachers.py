"""List the teachers that `mmhgkd distill --teacher` takes by name.

All of them learned without labels. A checkpoint of MAE, BEiT, DINO or of
`mmhgkd train mae/...` is taken as a file.
"""

from collections.abc import Sequence

from mmhgkd.catalog import TEACHERS, cached_teacher

from .arguments import Parser, complain, print_table


def main(argv: Sequence[str] | None = None) -> int:
    """Print the names; returns the exit code."""
    parser = Parser('teachers', description=__doc__)
    parser.add_argument('word', nargs='?', default='', help='part of a name')
    args = parser.parse_args(argv)
    word = args.word.lower()
    found = [
        entry
        for entry in TEACHERS.values()
        if word in entry.name or word in entry.method.lower()
    ]
    if not found:
        names = ', '.join(TEACHERS)
        return complain(
            ValueError(f'no teacher has {args.word!r} in its name: {names}')
        )
    rows = [('name', 'method', 'licence', 'patch', 'parameters', 'here')]
    for entry in found:
        licence = entry.licence
        if entry.non_commercial:
            licence += ' (non-commercial)'
        rows.append(
            (
                entry.name,
                entry.method,
                licence,
                f'{entry.patch_size} px',
                f'{entry.millions:.0f} M',
                'yes' if cached_teacher(entry) else 'no',
            )
        )
    print_table(rows)
    return 0
