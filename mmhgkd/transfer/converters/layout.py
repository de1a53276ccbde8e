from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor, nn

from mmhgkd.teachers.checkpoint import summarize
from mmhgkd.utils import ConfigError

from .student import State, Student
from .weights_file import read_weights, write_weights


class Layout(ABC):
    """How a library names the weights of its networks.

    Attributes:
        name (str): Name of the library.
        suffixes (tuple[str]): Kinds of files that it reads.
    """

    name: str
    suffixes: tuple[str, ...] = ('.pth', '.safetensors')

    @abstractmethod
    def describe(self, student: Student) -> str:
        """Name of the library's network that equals the student.

        Raises:
            ConfigError: If there is none, or the library is not installed.
        """

    @abstractmethod
    def write(self, student: Student, path: Path) -> int:
        """Write the weights in the names of the library.

        Returns:
            int: Number of tensors.

        Raises:
            ConfigError: If the weights do not fit the library's network.
        """

    @abstractmethod
    def load(self, student: Student, path: Path) -> nn.Module:
        """Read the file into a network that the library has built.

        Raises:
            ConfigError: If tensors are missing.
        """

    @abstractmethod
    def outputs(
        self, student: Student, model: nn.Module, images: Tensor
    ) -> dict[str, Tensor]:
        """Embedding, and logits where there is a head, of the network."""

    @abstractmethod
    def usage(self, student: Student, path: Path) -> str:
        """Python code that loads the file."""


class FlatLayout(Layout):
    """A library whose checkpoints are plain state dicts."""

    @abstractmethod
    def build(self, student: Student) -> nn.Module:
        """Build the library's network, with random weights."""

    @abstractmethod
    def names(self, student: Student, model: nn.Module) -> dict[str, str]:
        """New name of each key of the backbone."""

    @abstractmethod
    def head_names(self, student: Student) -> dict[str, str]:
        """New name of each key of the head."""

    def write(self, student: Student, path: Path) -> int:
        """See :class:`Layout`."""
        model = self.build(student)
        state = {
            new: student.weights[key]
            for key, new in self.names(student, model).items()
        }
        if student.head is not None:
            names = self.head_names(student)
            unnamed = sorted(set(student.head_weights) - set(names))
            if unnamed:
                raise ConfigError(
                    f'{student.source}: {self.describe(student)} has no '
                    f'layer for {", ".join(unnamed)} of the head '
                    f'{student.head["type"]}; leave the head out (--no-head)'
                )
            state.update(
                {
                    new: student.head_weights[key]
                    for key, new in names.items()
                    if key in student.head_weights
                }
            )
        state = self._reshape(student, state, model.state_dict())
        write_weights(path, state, {'network': self.describe(student)})
        return len(state)

    def load(self, student: Student, path: Path) -> nn.Module:
        """See :class:`Layout`."""
        model = self.build(student)
        missing, unexpected = model.load_state_dict(
            read_weights(path), strict=False
        )
        missing = [key for key in missing if not self._waits(student, key)]
        if missing or unexpected:
            raise ConfigError(
                f'{path}: read back, {missing} are missing and {unexpected} '
                'too many'
            )
        model.train(False)
        return model

    def _reshape(self, student: Student, state: State, own: State) -> State:
        """Give the tensors the shapes of the library's network.

        A linear layer is a 1x1 convolution in some of them.
        """
        problems = {
            'missing': [
                key
                for key in own
                if key not in state and not self._waits(student, key)
            ],
            'too many': [key for key in state if key not in own],
            'of another shape': [
                f'{key} {tuple(state[key].shape)}, not {tuple(own[key].shape)}'
                for key in own
                if key in state and _core(state[key]) != _core(own[key])
            ],
        }
        lines = summarize(problems)
        if lines:
            raise ConfigError(
                f'{student.source}: the student is no '
                f'{self.describe(student)} ({"; ".join(lines)}); the layout '
                'mmpretrain and ONNX hold every student'
            )
        return {key: state[key].reshape(own[key].shape) for key in state}

    def _waits(self, student: Student, key: str) -> bool:
        """Whether a key belongs to the head that the student lacks."""
        return student.head is None and key in self.head_keys(student)

    @abstractmethod
    def head_keys(self, student: Student) -> set[str]:
        """Keys of the network's head."""


def _core(tensor: Tensor) -> torch.Size:
    """Shape without the dimensions of size 1."""
    return tensor.squeeze().shape
