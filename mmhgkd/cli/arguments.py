"""Parsing without the packages that take seconds to import."""

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, NoReturn

from mmhgkd.catalog import suggest
from mmhgkd.utils import ConfigError
from mmhgkd.utils.end_with_parent import end_with_parent

_FLAGS = {
    '--no-pin-memory': 'do not copy batches to page-locked memory',
    '--no-persistent-workers': 'start the workers of the dataloaders anew in '
    'each epoch',
}


class Parser(argparse.ArgumentParser):
    """A parser that offers the flag that may be meant, in one line.

    The name of the command is added in front.
    """

    def __init__(self, command: str, **kwargs: Any) -> None:
        kwargs.setdefault(
            'formatter_class', argparse.RawDescriptionHelpFormatter
        )
        super().__init__(prog=f'mmhgkd {command}', **kwargs)

    def parse_args(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        namespace: Any = None,
    ) -> argparse.Namespace:
        """Parse; an unknown flag ends the program with a question."""
        words = list(sys.argv[1:] if args is None else args)
        # A misspelt flag that is required is not called missing.
        for word in words:
            if word == '--':
                break
            if word.startswith('--') and not self._may_mean(word):
                self._refuse(word)
        found, rest = self.parse_known_args(words, namespace)
        if rest:
            self._refuse(rest[0])
        return found

    def _may_mean(self, word: str) -> bool:
        """Whether a word is a flag or, as argparse allows, begins one."""
        name = word.split('=')[0]
        flags = self._option_string_actions
        return any(flag.startswith(name) for flag in flags)

    def _refuse(self, word: str) -> NoReturn:
        name = word.split('=')[0]
        question = ''
        if name.startswith('-'):
            question = suggest(name, self._option_string_actions)
        self.error(f'there is no argument {word!r}{question}')

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, without the usage, and end the program."""
        self.exit(
            2, f'error: {message} (`{self.prog} --help` lists them all)\n'
        )


class SetOptions(argparse.Action):
    """MMEngine's ``DictAction``, imported when it is used."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Parse items of the form KEY=VALUE."""
        from mmengine.config import DictAction

        action = DictAction(self.option_strings, self.dest, nargs='+')
        try:
            action(parser, namespace, values, option_string)
        except ValueError:
            parser.error('--cfg-options takes items of the form KEY=VALUE')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=SetOptions,
        metavar='KEY=VALUE',
        help='change settings of the config, such as '
        'train_dataloader.batch_size=64; a list is written key="[a,b]"',
    )


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share."""
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints; defaults to `work_dir` of the '
        'config, else to ./work_dirs/CONFIG_NAME',
    )
    for flag, text in _FLAGS.items():
        parser.add_argument(flag, action='store_true', help=text)
    add_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        help='what has started the processes of a distributed run; defaults '
        'to `launcher` of the config, else to none',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def parse_run(
    parser: Parser, argv: Sequence[str] | None
) -> argparse.Namespace:
    """Parse the command line, and pass the local rank on to MMEngine."""
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def complain(error: Exception) -> int:
    """Print an error in one line; returns the exit code for it."""
    print('error:', ' '.join(str(error).split()), file=sys.stderr)
    return getattr(error, 'exit_code', 2)


def checked(check: Callable[[], Any]) -> int:
    """Run quick checks; returns the exit code, 0 where all is well."""
    try:
        check()
    except (ConfigError, OSError) as error:
        return complain(error)
    return 0


def heed_launcher() -> None:
    """End with torchrun, if that has started this process.

    Called before the imports: a launcher that ends during these would never
    be missed.
    """
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        end_with_parent()


@contextmanager
def quiet_import() -> Iterator[None]:
    """Keep what packages print when they are imported off the terminal."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        warnings.simplefilter('ignore', FutureWarning)
        yield


def print_table(rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text in columns."""
    rows = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        print('  '.join(f'{cell:{width}}' for cell, width in cells).rstrip())
