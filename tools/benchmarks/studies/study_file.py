import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from mmhgkd.utils import ConfigError, one_of

#: Of lightly-train, see ``tools/benchmarks/peers``.
PEER_METHODS = ('distillationv1', 'distillationv2', 'distillationv3')
METHODS = ('pretrain', 'scratch', 'soft_labels', 'supervised', *PEER_METHODS)
T = TypeVar('T')

_MEANING = {
    int: 'a whole number',
    str: 'a text',
    dict: 'a mapping of dotted keys to values',
    list: 'a list',
}


@dataclass
class Teacher:
    """The teacher of all arms, trained once or given."""

    #: Config that trains it, and changes of that by dotted key.
    config: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int | None = None  #: None means those of the config
    checkpoint: str | None = None  #: of a trained one, instead of ``config``


@dataclass
class Finetune:
    """How every arm is fine-tuned, with all labels and with a tenth."""

    config: str
    epochs: int
    options: dict[str, Any] = field(default_factory=dict)  #: by dotted key
    few_label_epochs: int | None = None  #: None means ``epochs``


@dataclass
class Judging:
    """What ``judge.py`` asks of every frozen student."""

    size: int = 96  #: side of the center crop
    #: Splits of the data whose photos are classified, together.
    test: list[str] = field(default_factory=lambda: ['val'])
    dense_data: str | None = None  #: segmentation as ADE20K has it


@dataclass
class Detection:
    """How every arm is trained to detect, on data of its own."""

    config: str
    epochs: int
    data_root: str | None = None  #: None means that of the config
    options: dict[str, Any] = field(default_factory=dict)  #: by dotted key


@dataclass
class Arm:
    """One way to pre-train the student."""

    name: str  #: letters, digits, '.', '_' and '-'
    config: str  #: its path below ``configs/`` without ending
    asks: str = ''  #: the question that the arm answers
    label: str = ''  #: what pictures call it; without one its name
    #: Changes of the config by dotted key, after those of the study.
    options: dict[str, Any] = field(default_factory=dict)
    #: 'pretrain'; 'scratch' for the untrained student; 'soft_labels' for
    #: :class:`SoftLabelDistiller` with backbone and teacher of the config;
    #: 'supervised', whose config is a classification, which takes the labels
    #: and no options of the study; or a method of lightly-train with photos,
    #: teacher and student of the config.
    method: str = 'pretrain'
    #: None means those of the study. Others are for equal cost, where an
    #: epoch of this arm shows more views of the images.
    epochs: int | None = None
    #: Options of ``lightly_train_peer.py``, such as ``lr`` and ``optimizer``.
    peer: dict[str, Any] = field(default_factory=dict)


@dataclass
class Study:
    """Arms that are compared under the same conditions."""

    data_root: str  #: with images in ``{train,val}/CLASS``
    epochs: int  #: of each pre-training
    arms: list[Arm]
    finetune: Finetune | None = None
    #: Of frozen students, in place of the probes of the configs.
    judge: Judging | None = None
    detect: Detection | None = None
    teacher: Teacher = field(default_factory=Teacher)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    #: Changes of all base configs by dotted key.
    options: dict[str, Any] = field(default_factory=dict)
    #: Iterations between two looks of :class:`LossGradientHook`; 0 for none.
    gradient_interval: int = 0
    reference: str | None = None  #: arm that the others are compared with
    name: str = 'study'  #: without one that of the file


def read_study(path: str | Path) -> Study:
    """Read the YAML file of a study.

    Its keys are the fields of :class:`Study`. With ``base``, the name of
    another study beside it, the keys that are left out are those of that one,
    and ``arms`` may also have the names of its arms.

    Raises:
        ConfigError: If the file cannot be read or a key does not fit.
    """
    path = Path(path)
    return _study(path, _load(path))


def _study(path: Path, content: Any) -> Study:
    try:
        base: dict[str, Any] = {}
        if isinstance(content, dict) and 'base' in content:
            base = vars(_base(path, content.pop('base')))
        study = _fill(
            Study,
            content,
            'the study',
            dict(
                teacher=lambda x: _fill(Teacher, x, '`teacher`'),
                finetune=lambda x: _fill(Finetune, x, '`finetune`'),
                judge=lambda x: _fill(Judging, x, '`judge`'),
                detect=lambda x: _fill(Detection, x, '`detect`'),
                arms=lambda x: _arms(x, base.get('arms', [])),
            ),
            base,
        )
        if 'name' not in content:
            study.name = path.stem
        _check(study)
    except ConfigError as error:
        raise ConfigError(f'{path}: {error}') from None
    return study


def _load(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f'cannot read the study `{path}`: {error}'
        ) from error


def _base(path: Path, name: Any) -> Study:
    _check_type('`base` of the study', str, name)
    file = path.parent / name
    content = _load(file)
    if isinstance(content, dict) and 'base' in content:
        raise ConfigError(
            f'`base: {name}` has a base itself; name `{content["base"]}`'
        )
    return _study(file, content)


def _arms(content: Any, known: list[Arm]) -> list[Arm]:
    if not isinstance(content, list) or not content:
        raise ConfigError('`arms` must be a list of at least one arm')
    by_name = {arm.name: arm for arm in known}
    arms = []
    for number, item in enumerate(content, 1):
        if isinstance(item, str) and known:
            if item not in by_name:
                raise ConfigError(
                    f'the base has no arm `{item}`; its arms '
                    f'are {", ".join(by_name)}'
                )
            arms.append(by_name[item])
            continue
        name = item.get('name') if isinstance(item, dict) else None
        arms.append(_fill(Arm, item, f'arm `{name or number}`'))
    return arms


def _fill(
    cls: type[T],
    content: Any,
    where: str,
    parts: dict[str, Callable] | None = None,
    defaults: dict[str, Any] | None = None,
) -> T:
    """Make a dataclass of a mapping, or say what is wrong with it."""
    if not isinstance(content, dict):
        raise ConfigError(
            f'{where} must be a mapping of keys to values, got {content!r}'
        )
    hints = get_type_hints(cls)
    for key in content:
        if key not in hints:
            close = get_close_matches(str(key), hints, n=1)
            raise ConfigError(
                f'{where} has the unknown key `{key}`; '
                + (
                    f'did you mean `{close[0]}`?'
                    if close
                    else f'the keys are {", ".join(hints)}'
                )
            )
    values = dict(defaults or {})
    for key, value in content.items():
        if parts and key in parts:
            values[key] = parts[key](value)
        else:
            _check_type(f'`{key}` of {where}', hints[key], value)
            values[key] = value
    try:
        return cls(**values)
    except TypeError as error:  # its message names what is missing
        raise ConfigError(f'{where} is incomplete: {error}') from None


def _check_type(where: str, hint: Any, value: Any) -> None:
    choices = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    types = tuple(get_origin(choice) or choice for choice in choices)
    if not isinstance(value, types) or isinstance(value, bool):
        raise ConfigError(
            f'{where} must be {_MEANING[types[0]]}, got {value!r}'
        )


def _check(study: Study) -> None:
    names = [arm.name for arm in study.arms]
    for arm in study.arms:
        if not re.fullmatch(r'[\w.-]+', arm.name):
            raise ConfigError(
                f'the arm name {arm.name!r} must consist of '
                "letters, digits, '.', '_' and '-'"
            )
        if names.count(arm.name) > 1:
            raise ConfigError(f'there are two arms `{arm.name}`')
        one_of(f'`method` of arm `{arm.name}`', arm.method, METHODS)
        for option in arm.options:
            if str(option).split('.')[0] == 'train_cfg':
                raise ConfigError(
                    f'arm `{arm.name}` sets `{option}`, but its length is '
                    'that of the study, or its own `epochs`'
                )
        if arm.peer and arm.method not in PEER_METHODS:
            raise ConfigError(
                f'arm `{arm.name}` has options for a `peer`, but its method '
                f'is {arm.method!r}; the peers are {", ".join(PEER_METHODS)}'
            )
        for count in (arm.epochs, study.epochs):
            if count is not None and count < 1:
                raise ConfigError(
                    f'arm `{arm.name}` would train for {count} epochs; set '
                    '`epochs` to 1 or more'
                )
        if arm.method in ('supervised', *PEER_METHODS) and not study.judge:
            raise ConfigError(
                f'arm `{arm.name}`: the method {arm.method!r} has no probes '
                'of its own; add `judge` to the study'
            )
    if not (study.finetune or study.judge):
        raise ConfigError('the study needs `finetune`, `judge`, or both')
    if study.judge and (study.judge.size < 32 or not study.judge.test):
        raise ConfigError(
            '`judge` needs a `size` of 32 or more and at least one split of '
            f'the data as `test`, got {study.judge}'
        )
    if study.reference is not None and study.reference not in names:
        raise ConfigError(
            f'`reference` names no arm: {study.reference!r}; '
            f'the arms are {", ".join(names)}'
        )
    if not study.seeds or not all(type(seed) is int for seed in study.seeds):
        raise ConfigError(
            f'`seeds` must be a list of whole numbers, got {study.seeds!r}'
        )
    if study.teacher.config and study.teacher.checkpoint:
        raise ConfigError(
            '`teacher` is either trained by its `config` or '
            'read from its `checkpoint`; leave one of them out'
        )
