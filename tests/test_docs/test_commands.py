"""Every command in the documentation does what it says, or is on a list."""

import argparse
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch

from mmhgkd.apis import load_student
from mmhgkd.cli import main
from mmhgkd.datasets.scenes import write_scenes
from mmhgkd.utils import load_config

sys.path.append(str(Path(__file__).parents[1] / 'test_transfer'))
from student_files import write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob('*.md'),
        *(ROOT / 'docs').rglob('*.md'),
        *(ROOT / 'configs').rglob('*.md'),
    ]
)
PYTHON = ('python', 'python3', '.venv/bin/python')
#: Beginnings of commands that are left to the user and to CI, and why. A block
#: below ``<!-- not run: REASON -->`` is left out too.
NOT_RUN = {
    'pip install': 'changes the environment',
    'pre-commit install': 'changes the repository',
    'source': 'changes the shell',
    'git': 'changes the repository',
    'python -m venv': 'changes the environment',
    'python -m pytest': 'would run this test',
    '.venv/bin/python -m pytest': 'would run this test',
    'ruff check': 'CI runs it',
    'ruff format --check': 'CI runs it',
    'lint-imports': 'CI runs it',
    'mypy': 'CI runs it',
    'sphinx-build': 'CI runs it',
    'tensorboard': 'is a server',
}
#: Tools that take seconds, and are run as they are.
RUN = (
    'tools/dataset_converters/make_scenes.py',
    'tools/model_converters/save_backbone.py',
    'tools/model_converters/export_student.py',
    'tools/model_converters/import_checkpoint.py',
)
#: What precedes the config in the arguments of a shell script, and follows
#: it before the options of the tool.
SCRIPTS = {
    'tools/dist_train.sh': (0, 1, 'tools/train.py', 0),
    'tools/dist_test.sh': (0, 2, 'tools/test.py', 1),
    'tools/slurm_train.sh': (2, 1, 'tools/train.py', 0),
    'tools/slurm_test.sh': (2, 1, 'tools/test.py', 1),
}


class Block(NamedTuple):
    """A block of code in a page."""

    page: Path
    line: int
    language: str
    text: str
    is_run: bool


def find_blocks(page: Path, text: str) -> Iterator[Block]:
    pattern = re.compile(
        r'(?P<not_run>^ *<!-- not run: .+? -->\n+)?'
        r'^(?P<indent> *)```\{?(code-block\} )?(?P<language>\w+)\}?\n'
        r'(?P<text>.*?)^(?P=indent)```',
        re.DOTALL | re.MULTILINE,
    )
    for found in pattern.finditer(text):
        yield Block(
            page,
            text.count('\n', 0, found.start('language')) + 1,
            found['language'],
            found['text'],
            not found['not_run'],
        )


def find_commands(block: Block) -> Iterator[list[str]]:
    """The words of each command, with the variables of its block."""
    variables: dict[str, str] = {}
    for line in block.text.replace('\\\n', ' ').splitlines():
        for name, value in variables.items():
            line = line.replace(f'${name}', value)
        lexer = shlex.shlex(line, posix=True, punctuation_chars='&|;')
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, '&&']:
            if word not in ('&&', ';'):
                words.append(word)
                continue
            while words and re.match(r'[A-Z_]+=', words[0]):
                name, _, value = words.pop(0).partition('=')
                variables[name] = value
            if words:
                yield words
            words = []


BLOCKS = [
    block
    for page in PAGES
    for block in find_blocks(page, page.read_text(encoding='utf-8'))
]
COMMANDS = [
    pytest.param(
        words,
        id=f'{block.page.relative_to(ROOT)}:{block.line} {" ".join(words)}',
    )
    for block in BLOCKS
    if block.is_run and block.language in ('bash', 'sh', 'shell', 'console')
    for words in find_commands(block)
]


class Parsed(BaseException):
    """Ends a tool once its arguments are parsed."""

    def __init__(self, arguments: argparse.Namespace, rest: list[str]) -> None:
        self.arguments = arguments
        self.rest = rest


def parse(tool: str, argv: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the tool parse the arguments, and do nothing else."""
    known = argparse.ArgumentParser.parse_known_args

    def stop(
        parser: argparse.ArgumentParser, *args: Any, **kwargs: Any
    ) -> None:
        arguments, rest = known(parser, *args, **kwargs)
        raise Parsed(arguments, rest)

    with monkeypatch.context() as patch:
        # `parse_args` calls it.
        patch.setattr(argparse.ArgumentParser, 'parse_known_args', stop)
        patch.setattr(sys, 'argv', [tool, *argv])
        patch.syspath_prepend(ROOT / Path(tool).parent)
        with pytest.raises(Parsed) as caught:
            runpy.run_path(str(ROOT / tool), run_name='__main__')
    assert not caught.value.rest, f'{tool} has no {caught.value.rest}'
    arguments = caught.value.arguments
    if hasattr(arguments, 'cfg_options') and arguments.config:
        load_config(str(ROOT / arguments.config), arguments.cfg_options)
    return arguments


def parse_command(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``mmhgkd`` parse its arguments, and do nothing else."""
    known = argparse.ArgumentParser.parse_known_args

    def stop(
        parser: argparse.ArgumentParser, *args: Any, **kwargs: Any
    ) -> None:
        raise Parsed(*known(parser, *args, **kwargs))

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_known_args', stop)
        try:
            main(argv)
        except Parsed as parsed:
            assert not parsed.rest, f'mmhgkd has no {parsed.rest}'
        else:
            raise AssertionError(f'mmhgkd has no command {argv[0]}')


def check(
    words: list[str], sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Run a command, or check it as far as can be done in seconds.

    Returns:
        str: 'run', 'parsed' or 'listed'.
    """
    for word in words:
        if re.match(r'(configs|tools|docs|tests)/.*\.\w+$', word):
            assert (ROOT / word).is_file(), f'{word} does not exist'
    line = ' '.join(words)
    if any(f'{line} '.startswith(f'{prefix} ') for prefix in NOT_RUN):
        return 'listed'
    if words[0] in PYTHON and words[1] in RUN:
        prepare(words[1:], sandbox)
        with monkeypatch.context() as patch:
            patch.chdir(sandbox)
            patch.setattr(sys, 'argv', words[1:])
            with pytest.raises(SystemExit) as caught:
                runpy.run_path(str(ROOT / words[1]), run_name='__main__')
        assert not caught.value.code
        return 'run'
    if words[0] == 'mmhgkd':
        parse_command(words[1:], monkeypatch)
        return 'parsed'
    if words[0] in PYTHON and words[1].startswith('tools/'):
        parse(words[1], words[2:], monkeypatch)
        return 'parsed'
    if words[0] == 'bash' and words[1] in SCRIPTS:
        subprocess.run(['bash', '-n', str(ROOT / words[1])], check=True)
        before, after, tool, arguments = SCRIPTS[words[1]]
        config = words[2 + before]
        assert len(words) >= 3 + before + after
        rest = words[3 + before + after :]
        parse(tool, [config, *['epoch_1.pth'] * arguments, *rest], monkeypatch)
        return 'parsed'
    raise AssertionError(
        f'nothing checks `{line}`: add it to NOT_RUN, RUN or SCRIPTS, or put '
        '<!-- not run: REASON --> above its block'
    )


def prepare(words: list[str], sandbox: Path) -> None:
    """Write the checkpoint that a command reads."""
    tool, *rest = words
    if 'model_converters' not in tool:
        return
    path = sandbox / rest[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    if tool.endswith('import_checkpoint.py'):
        torch.save(timm.create_model('resnet18').state_dict(), path)
    elif not path.exists():
        Path(write_checkpoint(sandbox, 'resnet18')).rename(path)


@pytest.fixture(scope='module')
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what the commands write, with pictures in it."""
    folder = tmp_path_factory.mktemp('docs')
    for name in ('configs', 'tools'):
        (folder / name).symlink_to(ROOT / name)
    scenes = write_scenes(folder / 'scenes', 'cls', 8, 4)
    (scenes / 'train').rename(folder / 'photos')
    return folder


@pytest.mark.parametrize('words', COMMANDS)
def test_command(
    words: list[str], sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(words, sandbox, monkeypatch)


def test_mistakes_are_found(
    sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in (
        'curl weights',
        'mypyx',
        'python tools/no.py',
        'python tools/train.py configs/hgkd/no.py',
        'bash tools/dist_train.sh configs/hgkd/r50_mae.py',
        'python tools/train.py configs/hgkd/r50_mae.py --resumes',
        'python tools/quickstart.py --torch 2',
        'mmhgkd distill photos --out out --epochz 3',
        'mmhgkd distil photos',
    ):
        with pytest.raises((AssertionError, SystemExit)):
            check(line.split(), sandbox, monkeypatch)
    with pytest.raises(SystemExit):
        parse('tools/model_converters/export_student.py', [], monkeypatch)
    with pytest.raises(ValueError, match='has no `trai_cfg`'):
        parse(
            'tools/train.py',
            [
                'configs/hgkd/r50_mae.py',
                '--cfg-options',
                'trai_cfg.max_epochs=1',
            ],
            monkeypatch,
        )


def test_blocks_are_found() -> None:
    text = (
        '```bash\nA=1\nB=2 b $A \\\n  c  # d\ne && f\n```\n\n'
        '<!-- not run: because -->\n```bash\ng\n```\n'
    )
    first, second = find_blocks(ROOT / 'README.md', text)
    assert [*find_commands(first)] == [['b', '1', 'c'], ['e'], ['f']]
    assert first.is_run and not second.is_run and second.line == 9
    assert len(COMMANDS) > 20


@pytest.mark.parametrize(
    'block',
    [block for block in BLOCKS if block.language == 'python'],
    ids=lambda block: f'{block.page.relative_to(ROOT)}:{block.line}',
)
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block.page), 'exec')


def test_api_examples(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples of the API, in the order in which they are read."""
    monkeypatch.chdir(sandbox)
    pages = [ROOT / 'README.md', ROOT / 'docs' / 'api.md']
    examples = {
        # What a page repeats is run once.
        block.text: block
        for block in BLOCKS
        if block.page in pages
        and block.is_run
        and block.language == 'python'
        and 'type=' not in block.text
    }
    scope: dict[str, Any] = {}
    for text, block in examples.items():
        exec(compile(text, f'{block.page}:{block.line}', 'exec'), scope)
    assert len(scope['embeddings']) == len(scope['files']) == 8
    student = load_student(scope['result'])
    assert student.backbone.depth == 18
