"""Libraries whose checkpoints are plain state dicts."""

from abc import abstractmethod
from itertools import zip_longest
from pathlib import Path
from typing import ClassVar

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmhgkd.teachers.checkpoint import rename, summarize
from mmhgkd.utils import ConfigError
from mmhgkd.utils.safe_files import read_checkpoint

from .layout import Layout
from .preprocessing import weights_metadata
from .student import State, Student
from .weights_file import write_weights

#: Where a config of mmpretrain leaves the size out.
_ARCHS = {'ConvNeXt': 'tiny', 'MobileNetV3': 'small', 'EfficientNet': 'b0'}


class FlatLayout(Layout):
    """A library whose checkpoints are plain state dicts.

    Attributes:
        networks (dict[str, str]): Name of the network, by mmpretrain's type.
        names (dict[str, tuple]): Patterns and replacements that turn keys of
            mmpretrain into those of the library, by the type of network.
            Where there are none both have the same layers in the same order.
        heads (dict[str, dict[str, str]]): Layers of the head by mmpretrain's
            name, by the type of network, '' for all others. What comes into
            the first one is the embedding.
        notes (dict[str, str]): What the library lacks, by the type.
    """

    suffixes = ('.pth', '.safetensors')
    networks: ClassVar[dict[str, str]]
    names: ClassVar[dict[str, tuple[tuple[str, str], ...]]]
    heads: ClassVar[dict[str, dict[str, str]]]
    notes: ClassVar[dict[str, str]] = {}

    @abstractmethod
    def build(self, student: Student) -> nn.Module:
        """Build the library's network, with random weights."""

    @abstractmethod
    def has(self, network: str) -> bool:
        """Whether the library has a network of this name."""

    def network(self, student: Student) -> str:
        """Name of the network that equals the student."""
        options, family = student.backbone, student.family
        if family not in self.networks:
            raise ConfigError(
                f'{student.source}: {self.name} has no network that equals '
                f'this {family}; the layouts mmpretrain, mmdet and mmseg and '
                'ONNX hold every student'
            )
        arch = options.get('arch') or _ARCHS.get(family)
        width = f'{round(100 * options.get("widen_factor", 1)):03}'
        name = self.networks[family].format(
            depth=options.get('depth'),
            arch=arch,
            arch_of_width=arch if '_' in str(arch) else f'{arch}_100',
            version='v2' if options.get('use_grn') else '',
            width=width,
            other_width='' if width == '100' else f'_{width}',
        )
        if not self.has(name):
            raise ConfigError(
                f'{student.source}: {self.name} has no network that equals '
                f'this {family} ({self.notes.get(family, name)}); the layout '
                'mmpretrain and ONNX hold every student'
            )
        return name

    def describe(self, student: Student) -> str:
        """See :class:`Layout`."""
        return f'{self.name} {self.network(student)}'

    def write(self, student: Student, model: BaseModel, path: Path) -> int:
        """See :class:`Layout`."""
        own = self.build(student).state_dict()
        # In the order of the network, whatever that of the checkpoint is.
        weights = model.backbone.state_dict()
        head = self._head_keys(student)
        patterns = self.names.get(student.family)
        keys = [key for key in own if key not in head.values()]
        if patterns is not None:
            keys = [rename(key, patterns) for key in weights]
        pairs = [
            (old, new, weights.get(old))
            for old, new in zip_longest(weights, keys, fillvalue='nothing')
        ]
        if student.num_classes:
            layers = model.head.state_dict()
            unnamed = sorted(set(layers) - set(head))
            if unnamed:
                raise ConfigError(
                    f'{student.source}: {self.describe(student)} has no '
                    f'layer for {", ".join(unnamed)} of the head '
                    f'{student.config.model.head.type}; leave the head out '
                    '(--no-head)'
                )
            pairs += [(old, head[old], value) for old, value in layers.items()]
        state = {new: value for _, new, value in pairs if value is not None}
        problems = {
            'do not fit': [
                f'{old} for {new}'
                for old, new, value in pairs
                if not _fits(value, own.get(new))
                or (patterns is None and _leaf(old) != _leaf(new))
            ],
            'missing': self._missing(student, own, state),
        }
        if any(problems.values()):
            raise ConfigError(
                f'{student.source}: the student is no '
                f'{self.describe(student)} '
                f'({"; ".join(summarize(problems))}); the layout mmpretrain '
                'and ONNX hold every student'
            )
        state = {k: value.reshape(own[k].shape) for k, value in state.items()}
        entries = weights_metadata(student.config)
        write_weights(
            path, state, dict(network=self.describe(student), **entries)
        )
        return len(state)

    def load(self, student: Student, path: Path) -> nn.Module:
        """See :class:`Layout`."""
        model = self.build(student)
        state = read_checkpoint(path)
        _, unexpected = model.load_state_dict(state, strict=False)
        missing = self._missing(student, model.state_dict(), state)
        if missing or unexpected:
            raise ConfigError(
                f'{path}: read back, {missing} are missing and {unexpected} '
                'too many'
            )
        model.train(False)
        return model

    def outputs(
        self, student: Student, model: nn.Module, images: Tensor
    ) -> dict[str, Tensor]:
        """See :class:`Layout`."""
        result = {}

        def keep(layer: nn.Module, inputs: tuple[Tensor]) -> None:
            result['embedding'] = inputs[0].flatten(1)

        first = next(iter(self._head(student).values()))
        handle = model.get_submodule(first).register_forward_pre_hook(keep)
        with torch.no_grad():
            logits = model(images)
        handle.remove()
        if student.num_classes:
            result['logits'] = logits
        return result

    def _head(self, student: Student) -> dict[str, str]:
        return self.heads.get(student.family) or self.heads['']

    def _head_keys(self, student: Student) -> dict[str, str]:
        return {
            f'{old}.{tensor}': f'{new}.{tensor}'
            for old, new in self._head(student).items()
            for tensor in ('weight', 'bias')
        }

    def _missing(
        self, student: Student, own: State, state: State
    ) -> list[str]:
        """Keys that a file lacks, other than those of an absent head."""
        head = self._head_keys(student).values()
        absent = () if student.num_classes else head
        return [key for key in own if key not in state and key not in absent]


def _leaf(key: str) -> str:
    return key.rpartition('.')[2]


def _fits(value: Tensor | None, own: Tensor | None) -> bool:
    """Equal shapes, but a linear layer may be a 1x1 convolution."""
    if value is None or own is None:
        return False
    return value.squeeze().shape == own.squeeze().shape
