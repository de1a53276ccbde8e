"""Which compiled operators MMDetection's configs ask for.

Nothing is built: the types in the text of a config are looked up, and the
source of their classes, and of all that these use, is read.

``python tests/test_transfer/operators_of_mmdet.py`` prints the table of
docs/detection.md.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import mmhgkd  # noqa: F401  (MMCV's import needs its operators)

# isort: split
import mmcv.ops
import mmdet
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.utils import register_all_modules

from mmhgkd.transfer.torchvision_ops import (
    attention,
    boxes,
    deform_conv,
    focal_loss,
)

FOLDER = Path(mmdet.__file__).parent / '.mim' / 'configs'
#: Folders of configs that are no detectors of pictures.
OTHERS = (
    '_base_',
    'common',
    *('bytetrack', 'deepsort', 'masktrack_rcnn', 'mask2former_vis', 'ocsort'),
    *('qdtrack', 'reid', 'sort', 'strongsort'),
)
#: Modules whose source is read.
_NAMESPACES = ('mmdet.', 'mmcv.ops')
PROVIDED = {
    name
    for module in (attention, boxes, deform_conv, focal_loss)
    for name, value in vars(module).items()
    if inspect.isfunction(value) and value.__module__ == module.__name__
}


@cache
def types_of(path: Path) -> frozenset[str]:
    """Types in a config and in those that it builds on."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    found = set(_types(tree))
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(x, ast.Name) and x.id == '_base_' for x in node.targets
        ):
            bases = ast.literal_eval(node.value)
            for base in [bases] if isinstance(bases, str) else bases:
                if '::' not in base:
                    found |= types_of((path.parent / base).resolve())
    return frozenset(found)


def _types(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        pairs: list[tuple[Any, Any]] = []
        if isinstance(node, ast.keyword):
            pairs = [(node.arg, node.value)]
        elif isinstance(node, ast.Dict):
            pairs = [
                (getattr(key, 'value', None), value)
                for key, value in zip(node.keys, node.values, strict=True)
            ]
        for key, value in pairs:
            if key in ('type', 'roi_layer_type') and isinstance(
                getattr(value, 'value', None), str
            ):
                yield value.value


def _object(kind: str) -> Any:
    """What a config means by the name of a type."""
    name = kind.rpartition('.')[2]
    special = dict(DCN='DeformConv2dPack', DCNv2='ModulatedDeformConv2dPack')
    special['carafe'] = 'CARAFEPack'
    found = getattr(mmcv.ops, special.get(name, name), None)
    return found or MODELS.get(name) or TASK_UTILS.get(name)


@cache
def operators_of(thing: Any) -> frozenset[str]:
    """Names in ``mmcv._ext`` that a class or function may call."""
    found: set[str] = set()
    seen: set[Any] = set()
    open_ends = _parts(thing)
    while open_ends:
        part = open_ends.pop()
        if part not in seen:
            seen.add(part)
            names, others = _read(part)
            found |= names
            open_ends.extend(others)
    return frozenset(found)


def _parts(thing: Any) -> list[Any]:
    """A function, or a class and those that it is made from."""
    owner = getattr(thing, '__self__', None)
    thing = owner if inspect.isclass(owner) else thing
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return []
    parts = thing.__mro__ if inspect.isclass(thing) else (thing,)
    return [x for x in parts if x.__module__.startswith(_NAMESPACES)]


@cache
def _definitions(module: str) -> dict[str, ast.AST]:
    path = sys.modules[module].__file__
    assert path is not None
    tree = ast.parse(Path(path).read_text(encoding='utf-8'))
    kinds = (ast.ClassDef, ast.FunctionDef)
    return {x.name: x for x in tree.body if isinstance(x, kinds)}


@cache
def _read(part: Any) -> tuple[frozenset[str], tuple[Any, ...]]:
    """Operators that a source names, and the classes and functions."""
    node = _definitions(part.__module__).get(part.__name__)
    if node is None:
        return frozenset(), ()
    names: set[str] = set()
    others: list[Any] = []
    known = vars(sys.modules[part.__module__])
    ignored = {*_compared(node)}
    for child in ast.walk(node):
        if child in ignored:
            continue
        if isinstance(child, ast.Attribute):
            value = child.value
            if isinstance(value, ast.Name) and value.id == 'ext_module':
                names.add(child.attr)
            elif part.__module__.startswith('mmdet.'):
                ignored.add(value)  # a borrowed method is no layer
        elif isinstance(child, ast.Name) and child.id in known:
            others.extend(_parts(known[child.id]))
    for kind in {*_types(node)} & {'carafe', 'DCN', 'DCNv2'}:
        others.extend(_parts(_object(kind)))
    return frozenset(names), tuple(others)


def _compared(node: ast.AST) -> Iterator[ast.AST]:
    """Classes that a source asks for by ``isinstance`` only."""
    for child in ast.walk(node):
        if (
            isinstance(child, ast.Call)
            and isinstance(child.func, ast.Name)
            and child.func.id == 'isinstance'
        ):
            yield from ast.walk(child.args[1])


@cache
def operators_of_config(path: Path) -> frozenset[str]:
    """Names in ``mmcv._ext`` that the model of a config may call."""
    found: set[str] = set()
    for kind in types_of(path):
        found |= operators_of(_object(kind))
    return frozenset(found)


def families() -> dict[str, dict[Path, frozenset[str]]]:
    """Operators of each config, by the folder of the detector."""
    register_all_modules(init_default_scope=False)
    return {
        folder.name: {
            path: operators_of_config(path)
            for path in sorted(folder.rglob('*.py'))
        }
        for folder in sorted(FOLDER.iterdir())
        if folder.is_dir() and folder.name not in OTHERS
    }


#: Operators of ``mmcv._ext``, by what they are called in the table.
LABELS = {
    'nms': 'NMS',
    'softnms': 'Soft-NMS',
    'nms_match': 'matching NMS',
    'roi_align': 'RoIAlign',
    'deform_conv': 'DeformConv',
    'modulated_deform_conv': 'ModulatedDeformConv',
    'sigmoid_focal_loss': 'sigmoid focal loss',
    'softmax_focal_loss': 'softmax focal loss',
    'ms_deform_attn': 'multi-scale deformable attention',
}


def label(name: str) -> str:
    for key in sorted(LABELS, key=len, reverse=True):
        if name.startswith(key):
            return LABELS[key]
    return f'`{name}`'


def table() -> str:
    """Families of detectors, by the operators that they ask for."""
    rows: dict[str, list[str]] = {}
    missing: list[str] = []
    number = refused = 0
    for family, configs in families().items():
        lacks = [x - PROVIDED for x in configs.values() if x - PROVIDED]
        number += len(configs)
        refused += len(lacks)
        if len(lacks) < len(configs):
            asked = frozenset.union(*configs.values()) & PROVIDED
            given = ', '.join(sorted({label(x) for x in asked}))
            rows.setdefault(given or 'none', []).append(family)
        if lacks:
            operators = sorted(frozenset.union(*lacks))
            names = ', '.join(f'`{x}`' for x in operators if 'back' not in x)
            missing.append(
                f'| {family} | {len(lacks)} of {len(configs)} | {names} |'
            )
    return '\n'.join(
        [
            '| operators | families |',
            '|---|---|',
            *(f'| {x} | {", ".join(y)} |' for x, y in sorted(rows.items())),
            '',
            f'Of {number} configs {refused} ask for others, too:',
            '',
            '| family | configs | operators of `mmcv._ext` |',
            '|---|---:|---|',
            *missing,
        ]
    )


if __name__ == '__main__':
    print(table())
