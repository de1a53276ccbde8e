"""List the students that `mmhgkd distill --student` takes."""

from collections.abc import Sequence

from mmhgkd.catalog import STUDENTS

from .arguments import Parser, complain, print_table


def main(argv: Sequence[str] | None = None) -> int:
    """Print the names; returns the exit code."""
    parser = Parser('students', description=__doc__)
    parser.add_argument('word', nargs='?', default='', help='part of a name')
    args = parser.parse_args(argv)
    found = {k: v for k, v in STUDENTS.items() if args.word.lower() in k}
    if not found:
        names = ', '.join(STUDENTS)
        return complain(
            ValueError(f'no student has {args.word!r} in its name: {names}')
        )
    print_table(
        (
            name,
            f'{backbone["type"]}('
            + ', '.join(
                f'{key}={value!r}'
                for key, value in backbone.items()
                if key != 'type'
            )
            + ')',
        )
        for name, backbone in found.items()
    )
    return 0
