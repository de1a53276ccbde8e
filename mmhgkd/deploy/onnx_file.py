"""Graphs as files of ONNX."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmhgkd.utils import ConfigError
from mmhgkd.version import __version__

from .graph import Graph
from .task_model import TaskModel

#: Version of ONNX's operators that is written unless another is asked for.
OPSET = 17
NEWEST_OPSET = 20
_TASK_PARTS = ('', 'boxes', 'proposals')


def need_onnx() -> None:
    """Refuse where ONNX or its runtime is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            'ONNX files need the packages onnx and onnxruntime; run `pip '
            'install "mmhgkd[export]"`'
        ) from error


def write_graph(graph: Graph, path: Path, opset: int = OPSET) -> None:
    """Record a graph, for photos of any number and size.

    Raises:
        ConfigError: If the version of the operators is out of range, or an
            operator is missing from it.
    """
    if not graph.least_opset <= opset <= NEWEST_OPSET:
        raise ConfigError(
            f'`--opset` must be in {graph.least_opset} to {NEWEST_OPSET} for '
            f'this model, got {opset}'
        )
    axes = dict(graph.axes, images={0: 'batch', 2: 'height', 3: 'width'})
    try:
        with warnings.catch_warnings():
            # PyTorch recommends its newer exporter, which needs more packages
            # and has no suppression of boxes, and it warns of each size that
            # becomes part of the graph: the result is verified.
            warnings.simplefilter('ignore')
            torch.onnx.export(
                graph,
                (draw_photos(2, 96, 128, channels=graph.channels),),
                str(path),
                input_names=['images'],
                output_names=list(graph.names),
                dynamic_axes=axes,
                opset_version=opset,
                dynamo=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        text = ' '.join(str(error).split())
        raise ConfigError(
            f'{type(graph.model).__name__} cannot be written with `--opset '
            f'{opset}`: {text[:300]}'
        ) from error


def write_metadata(path: Path, entries: Mapping[str, str]) -> None:
    """Put entries into the metadata of a file."""
    import onnx

    model = onnx.load(str(path))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(entries))
    onnx.save(model, str(path))


def metadata(task_model: TaskModel, precision: str) -> dict[str, str]:
    """What a program around a file has to know, by name."""
    graph = task_model.graph
    return dict(
        task=graph.task,
        classes=json.dumps(task_model.classes),
        **task_model.preprocessing.metadata(),
        layout='NCHW',
        channel_order=task_model.preprocessing.order,
        input_range='uint8, 0 to 255; mean and std are applied in the graph',
        outputs=json.dumps(graph.describe()),
        **graph.settings(),
        precision=precision,
        mmhgkd_version=__version__,
    )


def open_session(path: Path) -> Any:
    """Open a file in ONNX Runtime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(path), options, providers=['CPUExecutionProvider']
    )


def run(session: Any, images: Tensor) -> dict[str, Tensor]:
    """Outputs of a session for photos ``(B, C, H, W)``, by name."""
    names = [output.name for output in session.get_outputs()]
    arrays = session.run(names, {'images': images.numpy()})
    return dict(zip(names, map(torch.from_numpy, arrays), strict=True))


def around_the_network(path: Path) -> list[str]:
    """Nodes that are no layer of the network: photos in, boxes out."""
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    return [
        node.name
        for node in nodes
        if node.name.rpartition('/')[0].strip('/') in _TASK_PARTS
    ]


def to_half(path: Path) -> None:
    """Compute the layers of the network in fp16; all else stays as it is."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(str(path))
    with warnings.catch_warnings():
        # Of values that become 0.
        warnings.simplefilter('ignore')
        model = convert_float_to_float16(
            model,
            keep_io_types=True,
            node_block_list=around_the_network(path),
        )
    # Shapes that it has inferred, as large as the weights of a small network.
    del model.graph.value_info[:]
    onnx.save(model, str(path))


def draw_photos(
    batch: int, height: int, width: int, seed: int = 0, channels: int = 3
) -> Tensor:
    """Pictures of rectangles, ``(batch, channels, height, width)`` uint8."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return torch.rand(size, generator=generator)

    images = draw(batch, channels, height, width) * 40
    for image in images:
        for _ in range(6):
            top, left = (draw(2) * torch.tensor([height, width])).long()
            rows, columns = (
                (0.2 + 0.4 * draw(2)) * torch.tensor([height, width])
            ).long()
            color = draw(channels, 1, 1) * 215
            image[:, top : top + rows, left : left + columns] += color
    return images.clamp(0, 255).byte()
