"""List the students that `mmhgkd distill --student` takes.

Those of this project, and networks of timm, torchvision and mmpretrain that
are known to have a sparse form. Give a word to search, such as `regnet`, or
`timm/`.
"""

from collections.abc import Sequence
from difflib import get_close_matches

from mmhgkd.catalog import STUDENTS, student_name, student_names
from mmhgkd.catalog.library_students import is_transformer

from .arguments import Parser, checked, complain, print_table


def main(argv: Sequence[str] | None = None) -> int:
    """Print the names; returns the exit code."""
    parser = Parser('students', description=__doc__)
    parser.add_argument('word', nargs='?', default='', help='part of a name')
    args = parser.parse_args(argv)
    names = student_names()
    word = args.word.lower().replace('-', '_')
    found = [name for name in names if word in name]
    if not found:
        if is_transformer(args.word):
            return checked(lambda: student_name(args.word))
        close = get_close_matches(word, names, 3) or list(STUDENTS)
        return complain(
            ValueError(
                f'no student has {args.word!r} in its name; there are '
                f'{", ".join(close)}'
            )
        )
    print_table(
        (name, '' if '/' in name else 'exports to torchvision, timm and ONNX')
        for name in found
    )
    return 0
