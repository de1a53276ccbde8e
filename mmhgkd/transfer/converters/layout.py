from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from mmengine.model import BaseModel
from torch import Tensor

from .student import Student


class Layout(ABC):
    """A kind of file for a student, verified by whose network reads it.

    Students are those of :func:`dense_student`. What a library cannot hold is
    a ``ConfigError``.

    Attributes:
        name (str): Name of the library.
        suffixes (tuple[str]): Kinds of files that it reads.
    """

    name: str
    suffixes: tuple[str, ...]

    @abstractmethod
    def describe(self, student: Student) -> str:
        """Name of the library's network that equals the student."""

    @abstractmethod
    def write(self, student: Student, model: BaseModel, path: Path) -> int:
        """Write the student, whose model is given; the number of tensors."""

    @abstractmethod
    def load(self, student: Student, path: Path) -> Any:
        """Read the file into a network that the library has built."""

    @abstractmethod
    def outputs(
        self, student: Student, model: Any, images: Tensor
    ) -> dict[str, Tensor]:
        """Embedding, and logits where there is a head, of the network."""

    @abstractmethod
    def usage(self, student: Student, path: Path) -> str:
        """Python code that loads the file."""
