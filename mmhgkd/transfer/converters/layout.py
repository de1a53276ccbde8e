from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from mmengine.model import BaseModel
from torch import Tensor

from .student import Student


class Layout(ABC):
    """A kind of file for a student, verified by whose network reads it.

    Attributes:
        name (str): Name of the library.
        suffixes (tuple[str]): Kinds of files that it reads.
    """

    name: str
    suffixes: tuple[str, ...]

    @abstractmethod
    def describe(self, student: Student) -> str:
        """Name of the library's network that equals the student.

        Raises:
            ConfigError: If there is none, or the library is not installed.
        """

    @abstractmethod
    def write(self, student: Student, model: BaseModel, path: Path) -> int:
        """Write the student in the names of the library.

        Args:
            student (Student): The student, of :meth:`Student.dense`.
            model (BaseModel): Its model.
            path (Path): The file.

        Returns:
            int: Number of tensors.

        Raises:
            ConfigError: If the weights do not fit the library's network.
        """

    @abstractmethod
    def load(self, student: Student, path: Path) -> Any:
        """Read the file into a network that the library has built.

        Raises:
            ConfigError: If tensors are missing.
        """

    @abstractmethod
    def outputs(
        self, student: Student, model: Any, images: Tensor
    ) -> dict[str, Tensor]:
        """Embedding, and logits where there is a head, of the network."""

    @abstractmethod
    def usage(self, student: Student, path: Path) -> str:
        """Python code that loads the file."""
