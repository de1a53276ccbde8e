import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from torch import Tensor, nn

from mmhgkd.utils import ConfigError


class OnnxStudent(nn.Module):
    """The student as a graph: images in, named tensors out.

    Args:
        model (nn.Module): Of :meth:`Student.build`.
    """

    model: Any

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        _fix_padding(self.model)
        self.names = ['embedding']
        if model.head is not None:
            self.names.append('logits')

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Embeddings ``(B, C)``, and logits ``(B, classes)`` of a head."""
        features = self.model.extract_feat(images)
        if self.model.head is None:
            return (features[-1],)
        return features[-1], self.model.head(features)


def require_onnx() -> None:
    """Fail early where the packages are missing.

    Raises:
        ConfigError: If they are.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            'ONNX files need the packages onnx and onnxruntime; run `pip '
            'install "mmhgkd[export]"`'
        ) from error


def write_onnx(model: nn.Module, path: Path) -> int:
    """Write the graph, for any number and size of images.

    An EfficientNet takes sizes that are multiples of 32: its padding "same"
    depends on the size otherwise.

    Args:
        model (nn.Module): Of :meth:`Student.build`.
        path (Path): The file.

    Returns:
        int: Number of tensors.
    """
    graph = OnnxStudent(model)
    # The exporter leaves the model in the mode of the outermost module.
    graph.train(False)
    axes = {name: {0: 'batch'} for name in graph.names}
    axes['images'] = {0: 'batch', 2: 'height', 3: 'width'}
    with warnings.catch_warnings():
        # PyTorch recommends its newer exporter, which needs more packages.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            graph,
            (torch.zeros(2, 3, 64, 64),),
            str(path),
            input_names=['images'],
            output_names=graph.names,
            dynamic_axes=axes,
            dynamo=False,
        )
    return len(model.state_dict())


def onnx_outputs(path: Path, images: Tensor) -> dict[str, Tensor]:
    """Run the file with onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path), providers=['CPUExecutionProvider']
    )
    names = [output.name for output in session.get_outputs()]
    arrays = session.run(names, {'images': images.numpy()})
    return {
        name: torch.from_numpy(array)
        for name, array in zip(names, arrays, strict=True)
    }


def _fix_padding(model: nn.Module) -> None:
    """Replace the padding "same", which a recorded graph cannot compute.

    Where the size is a multiple of the stride it does not depend on it.
    """
    for name, layer in list(model.named_modules()):
        if not isinstance(layer, Conv2dAdaptivePadding):
            continue
        (top, bottom), (left, right) = (_sides(layer, axis) for axis in (0, 1))
        plain = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            layer.stride,
            dilation=layer.dilation,
            groups=layer.groups,
            bias=layer.bias is not None,
        )
        plain.load_state_dict(layer.state_dict())
        parent, _, child = name.rpartition('.')
        padded = nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), plain)
        setattr(model.get_submodule(parent), child, padded)


def _sides(layer: nn.Conv2d, axis: int) -> tuple[int, int]:
    """Padding before and behind the rows (axis 0) or columns (axis 1)."""
    span = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
    total = max(span - layer.stride[axis], 0)
    return total // 2, total - total // 2
