import inspect
import logging
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from .errors import ConfigError

#: Top-level keys that a run reads and that configs may leave out.
RUN_KEYS = {
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

    A top-level variable that no run reads itself, such as ``data_root``, also
    changes where the config uses its value.

    Args:
        path (str): Config file.
        options (dict, optional): Values by dotted key path, as
            :class:`mmengine.config.DictAction` parses them.
            Defaults to None.

    Returns:
        Config: The merged config.

    Raises:
        ConfigError: If the file cannot be read, or an option fits nowhere.
    """
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is code: it can raise anything
        raise ConfigError(
            f'cannot read the config `{path}`: {type(error).__name__}: {error}'
        ) from error
    for option in options or {}:
        check_option(cfg.to_dict(), option)
    for option, value in (options or {}).items():
        old = cfg.get(option)
        if (
            option not in RUN_KEYS
            and isinstance(old, str)
            and isinstance(value, str)
            and old
        ):
            _replace(cfg._cfg_dict, old, value)
    cfg.merge_from_dict(options or {})
    return cfg


def _replace(node: Any, old: str, new: str) -> None:
    """Replace a text, also as the folder of a path, at any depth."""
    for key, value in list(
        node.items() if isinstance(node, dict) else enumerate(node)
    ):
        if isinstance(value, (dict, list)):
            _replace(value, old, new)
        elif isinstance(value, str) and (
            value == old or value.startswith(f'{old}/')
        ):
            node[key] = new + value.removeprefix(old)


def check_option(cfg: dict[str, Any], option: str) -> None:
    """Refuse an option that goes nowhere or looks like a slip of the pen.

    New keys are legal, as components have optional arguments, such as
    ``optim_wrapper.clip_grad.max_norm``. But nothing reads an unknown
    top-level key, and a new dictionary whose name nearly equals an existing
    one is a typing error. A new last key of this kind is only pointed out.

    Args:
        cfg (dict): The config before the merge.
        option (str): Dotted key path, with indices for the items of lists.

    Raises:
        ConfigError: If the option is refused.
    """
    keys = option.split('.')
    node: Any = {**{key: {} for key in RUN_KEYS}, **cfg}
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
    """Find a key at any depth.

    Args:
        node (Any): A part of a config.
        key (str): The key to find.
        path (str): Option path of ``node``.

    Yields:
        tuple[str, dict]: Option path of the key, and the dictionary it is in.
    """
    if isinstance(node, dict):
        if key in node:
            yield f'{path}.{key}', node
        for name, child in node.items():
            yield from find_key(child, key, f'{path}.{name}')
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from find_key(child, key, f'{path}.{index}')
