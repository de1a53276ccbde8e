import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional

from mmhgkd.utils import ConfigError

from .dense import outputs
from .layout import Layout
from .student import Student


class OnnxLayout(Layout):
    """Graphs that onnxruntime runs, for any number and size of images.

    An EfficientNet takes sizes that are multiples of 32: its padding "same"
    depends on the size otherwise.
    """

    name = 'onnx'
    suffixes = ('.onnx',)

    def describe(self, student: Student) -> str:
        """See :class:`Layout`."""
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                'ONNX files need the packages onnx and onnxruntime; run `pip '
                'install "mmhgkd[export]"`'
            ) from error
        return 'ONNX'

    def write(self, student: Student, model: BaseModel, path: Path) -> int:
        """See :class:`Layout`."""
        graph = _Graph(model)
        # The exporter leaves the model in the mode of the outermost module.
        graph.train(False)
        names = ['embedding', 'logits'][: 2 if student.num_classes else 1]
        axes = {name: {0: 'batch'} for name in names}
        axes['images'] = {0: 'batch', 2: 'height', 3: 'width'}
        with warnings.catch_warnings():
            # PyTorch recommends its newer exporter, which needs more packages.
            warnings.simplefilter('ignore')
            torch.onnx.export(
                graph,
                (torch.zeros(2, 3, 64, 64),),
                str(path),
                input_names=['images'],
                output_names=names,
                dynamic_axes=axes,
                dynamo=False,
            )
        return len(model.state_dict())

    def load(self, student: Student, path: Path) -> Any:
        """See :class:`Layout`."""
        import onnxruntime

        return onnxruntime.InferenceSession(
            str(path), providers=['CPUExecutionProvider']
        )

    def outputs(
        self, student: Student, model: Any, images: Tensor
    ) -> dict[str, Tensor]:
        """See :class:`Layout`."""
        names = [output.name for output in model.get_outputs()]
        arrays = model.run(names, {'images': images.numpy()})
        return dict(zip(names, map(torch.from_numpy, arrays), strict=True))

    def usage(self, student: Student, path: Path) -> str:
        """See :class:`Layout`."""
        return f"session = onnxruntime.InferenceSession('{path}')"


class _Graph(nn.Module):
    """The student as a graph: images in, tensors out."""

    model: Any

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        _fix_padding(self.model)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Embeddings ``(B, C)``, and logits ``(B, classes)`` of a head."""
        return tuple(outputs(self.model, images).values())


def _fix_padding(model: nn.Module) -> None:
    """Replace the padding "same", which a recorded graph cannot compute.

    Where the size is a multiple of the stride it does not depend on it.
    """
    for layer in model.modules():
        if isinstance(layer, Conv2dAdaptivePadding):
            layer.__class__ = nn.Conv2d
            layer.register_forward_pre_hook(_pad)


def _pad(layer: Any, inputs: tuple[Tensor]) -> Tensor:
    sides: list[int] = []
    for axis in (1, 0):  # columns first
        span = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        total = max(span - layer.stride[axis], 0)
        sides += (total // 2, total - total // 2)
    return functional.pad(inputs[0], sides)
