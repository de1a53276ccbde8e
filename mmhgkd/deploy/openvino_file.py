"""Graphs as files of OpenVINO."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmhgkd.transfer.converters.weights_file import partial_file
from mmhgkd.utils import ConfigError

from .onnx_file import draw_photos, open_session, run

#: Largest accepted difference, relative to the largest output above 1.
TOLERANCE = 1e-2


def need_openvino() -> None:
    """Refuse where OpenVINO is missing."""
    try:
        import openvino  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            'files of OpenVINO need the package openvino; run `pip install '
            '"mmhgkd[openvino]"`, or write ONNX, which OpenVINO reads, too'
        ) from error


def write_openvino(
    graph: Path, out: Path, metadata: Mapping[str, str]
) -> None:
    """Convert a file of ONNX by OpenVINO's own tools, and verify it.

    Args:
        graph (Path): The file of ONNX.
        out (Path): The file to write, ``.xml``; the weights lie beside it.
        metadata (Mapping[str, str]): Go to its section ``mmhgkd``.

    Raises:
        ConfigError: If OpenVINO computes something else.
    """
    import openvino

    model = openvino.convert_model(str(graph))
    for name, value in metadata.items():
        model.set_rt_info(value, ['mmhgkd', name])
    channels = len(json.loads(metadata['mean']))
    images = draw_photos(1, 96, 128, seed=3, channels=channels)
    expected = run(open_session(graph), images)
    # Of itself it takes bfloat16 on processors that have products of it.
    precision = {'INFERENCE_PRECISION_HINT': 'f32'}
    compiled = openvino.compile_model(model, 'CPU', precision)
    found = compiled(images.numpy())
    for number, (name, wanted) in enumerate(expected.items()):
        values = np.asarray(found[number], np.float64)
        scale = max(1.0, float(wanted.abs().max()))
        difference = float(np.abs(values - wanted.double().numpy()).max())
        if not difference <= TOLERANCE * scale:
            raise ConfigError(
                f'{out}: the {name} of OpenVINO differ by {difference:.3g} '
                'from those of ONNX Runtime; nothing is written'
            )
    with partial_file(out) as partial:
        openvino.save_model(model, str(partial), compress_to_fp16=False)
        weights = partial.with_suffix('.bin')
        weights.replace(out.with_suffix('.bin'))
