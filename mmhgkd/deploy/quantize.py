import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mmhgkd.transfer.converters.preprocessing import Preprocessing
from mmhgkd.utils import ConfigError

from .onnx_file import around_the_network

#: Oldest version of ONNX's operators with scales by channel.
LEAST_OPSET = 13
_LAYERS = ['Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'Add']


def quantize(
    path: Path, photos: Sequence[str], preprocessing: Preprocessing
) -> None:
    """Compute the layers of a network in int8, by ONNX Runtime's own tools.

    The ranges of the values are those on the photos.

    Args:
        path (Path): The file, which is replaced.
        photos (Sequence[str]): Files.
        preprocessing (Preprocessing): Their way into the graph.

    Raises:
        ConfigError: If the file cannot be quantized.
    """
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    class Photos(CalibrationDataReader):
        """The photos, one after the other."""

        def __init__(self) -> None:
            self.batches = self._read()

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

        def _read(self) -> Iterator[dict[str, np.ndarray]]:
            for photo in photos:
                yield {'images': preprocessing(photo)[None]}

    log = logging.getLogger()
    level = log.level
    # It recommends a preparation that is not needed here.
    log.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / path.name
            quantize_static(
                str(path),
                str(result),
                Photos(),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=_LAYERS,
                nodes_to_exclude=around_the_network(path),
            )
            path.write_bytes(result.read_bytes())
    except (ValueError, RuntimeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f'`--int8`: the graph cannot be quantized ({error}); leave it '
            'out, or take `--half`'
        ) from error
    finally:
        log.setLevel(level)
