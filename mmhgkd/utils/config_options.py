import ast
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config import utils as config_utils
from mmengine.logging import print_log

from .errors import ConfigError
from .safe_handlers import safe_data_files


@cache
def run_keys() -> set[str]:
    """Top-level keys that a run reads and that configs may leave out."""
    # Its import takes seconds.
    from mmengine.runner import Runner

    return {
        *inspect.signature(Runner).parameters,
        'activation_checkpointing',
        'compile',
        'efficient_conv_bn_eval',
        'find_unused_parameters',
        'model_wrapper_cfg',
        'runner_type',
        'sync_bn',
        'tta_model',
        'tta_pipeline',
    }


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config file and merge the ``--cfg-options`` into it.

    A file anywhere may build on one of this project, by
    ``_base_ = 'mmhgkd::hgkd/r50_mae.py'``.

    An option changes the one key that it names. A top-level variable that no
    run reads itself, such as ``data_root`` or ``teacher_checkpoint``, has its
    new value while the file and its bases are run: so all that they make
    from the variable changes, and nothing that only has an equal value.

    Args:
        path (str): Config file.
        options (dict, optional): Values by dotted key path, as
            :class:`mmengine.config.DictAction` parses them.
            Defaults to None.

    Raises:
        ConfigError: If the file cannot be read, or an option fits nowhere.
    """
    options = options or {}
    cfg = _read(path)
    for option in options:
        check_option(cfg.to_dict(), option)
    variables = {
        name: value
        for name, value in options.items()
        if name in cfg and name not in run_keys()
    }
    if variables:
        with _assigned(variables):
            cfg = _read(path)
    cfg.merge_from_dict(options)
    return cfg


@contextmanager
def _as_base() -> Iterator[None]:
    """Have this project among those whose configs can be a base."""
    packages = config_utils.MODULE2PACKAGE
    known = 'mmhgkd' in packages
    packages['mmhgkd'] = 'mmhgkd'
    try:
        yield
    finally:
        if not known:
            del packages['mmhgkd']


def _drop_scope(part: Any) -> None:
    """Remove the scope that a base of this project leaves in its parts.

    Their types name it themselves, and those without it are MMPretrain's.
    """
    if isinstance(part, dict):
        if part.get('_scope_') == 'mmhgkd':
            del part['_scope_']
        part = list(part.values())
    if isinstance(part, (list, tuple)):
        for value in part:
            _drop_scope(value)


def _read(path: str) -> Config:
    try:
        with safe_data_files(), _as_base():
            cfg = Config.fromfile(path)
        _drop_scope(cfg._cfg_dict)
        return cfg
    except ConfigError as error:
        raise ConfigError(
            f'cannot read the config `{path}`: {error}'
        ) from error
    except Exception as error:  # a config is code: it can raise anything
        raise ConfigError(
            f'cannot read the config `{path}`: {type(error).__name__}: {error}'
        ) from error


@contextmanager
def _assigned(variables: dict[str, Any]) -> Iterator[None]:
    """Let configs assign other values to their top-level variables."""
    prepare = Config._pre_substitute_base_vars

    def prepare_and_assign(filename: str, temp_config_name: str) -> Any:
        result = prepare(filename, temp_config_name)
        if filename.endswith('.py'):
            file = Path(temp_config_name)
            tree = _Assign(variables).visit(ast.parse(file.read_text('utf-8')))
            file.write_text(ast.unparse(tree), 'utf-8')
        return result

    # The last step before MMEngine runs a file, each base on its own.
    Config._pre_substitute_base_vars = staticmethod(prepare_and_assign)
    try:
        yield
    finally:
        Config._pre_substitute_base_vars = staticmethod(prepare)


class _Assign(ast.NodeTransformer):
    """Replaces the values of top-level variables."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id in self.values:
                value = self.values[target.id]
                old = node.value
                if (
                    isinstance(value, str)
                    and isinstance(old, ast.Constant)
                    and str(old.value).endswith('/')
                ):
                    # MMDetection's configs append names to such folders.
                    value = value.rstrip('/') + '/'
                node.value = ast.parse(repr(value), mode='eval').body
        return node


def check_option(cfg: dict[str, Any], option: str) -> None:
    """Refuse an option that goes nowhere or looks like a slip of the pen.

    New keys are legal, as components have optional arguments, such as
    ``optim_wrapper.clip_grad.max_norm``. But nothing reads an unknown
    top-level key, and a new dictionary whose name nearly equals an existing
    one is a typing error. A new last key of this kind is only pointed out.

    Args:
        cfg (dict): The config before the merge.
        option (str): Dotted key path, with indices for the items of lists.
    """
    keys = option.split('.')
    node: Any = {**{key: {} for key in run_keys()}, **cfg}
    for depth, key in enumerate(keys):
        where = f'`{".".join(keys[:depth])}`' if depth else 'the config'
        is_last = depth == len(keys) - 1
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, dict):
            close = get_close_matches(key, list(node), n=1, cutoff=0.8)
            message = f'--cfg-options {option}: {where} has no `{key}`' + (
                f'; did you mean `{close[0]}`?' if close else ''
            )
            if depth == 0 or (close and not is_last):
                raise ConfigError(message)
            if close:
                print_log(message, level=logging.WARNING)
            return
        elif (
            isinstance(node, list)
            and key.isdigit()
            and int(key) < len(node)
            and not is_last
        ):
            node = node[int(key)]
        else:
            raise ConfigError(
                f'--cfg-options {option}: {where} is of type '
                f'{type(node).__name__} and has no `{key}`; set {where} as a '
                'whole'
            )


def find_key(
    node: Any, key: str, path: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Find a key at any depth of the part of a config that lies at a path.

    Yields:
        tuple[str, dict]: Path of the key, and the dictionary it is in.
    """
    if isinstance(node, dict):
        if key in node:
            yield f'{path}.{key}', node
        for name, child in node.items():
            yield from find_key(child, key, f'{path}.{name}')
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from find_key(child, key, f'{path}.{index}')
