"""Compare exported graphs: size, time of a batch, and accuracy.

For example, of a student, its supervised twin and the teacher,

    python tools/benchmarks/deploy_speed.py student.onnx twin.onnx \
        teacher.onnx --photos data/photos/val

The files are graphs of `mmhgkd export --to onnx`, or of any exporter. ONNX
Runtime runs them, and OpenVINO where it is installed. The accuracy is that on
a folder with a folder of photos a class; a file without metadata, or of
another task, has none. All files take turns, one step each, so that a machine
that slows down slows all of them; the table has the medians.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from mmhgkd.deploy.agreement import calibration_photos, numbers_of
from mmhgkd.report import to_markdown
from mmhgkd.runner.command_line import report
from mmhgkd.transfer.converters.preprocessing import Preprocessing
from mmhgkd.utils import ConfigError

RUNTIMES = ('onnxruntime', 'openvino')
_TYPES = {
    'tensor(uint8)': np.uint8,
    'tensor(float)': np.float32,
    'tensor(float16)': np.float16,
}
# Runs a batch, and returns the outputs by name.
Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]


class Graph(NamedTuple):
    """A file, and what it says about itself."""

    path: Path
    metadata: Mapping[str, str]
    shape: tuple[int, int, int, int]  #: of the batch that is timed
    dtype: Any
    megabytes: float


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('files', nargs='+', help='graphs of ONNX')
    runtimes = 'defaults to those that are installed'
    add('--runtimes', nargs='+', choices=RUNTIMES, help=runtimes)
    add('--photos', help='folder with a folder of photos a class')
    limit = 'photos at most, spread evenly (1000)'
    add('--limit', type=int, default=1000, help=limit)
    add('--batch-size', type=int, default=1)
    size = 'side where the file does not say it (224)'
    add('--image-size', type=int, default=224, help=size)
    add('--threads', type=int, default=1, help='of the CPU (1)')
    add('--steps', type=int, default=20, help='that are timed (20)')
    add('--json', help='file for the numbers')
    args = parser.parse_args(argv)
    for name in ('limit', 'batch_size', 'image_size', 'threads', 'steps'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 at least')
    return args


def read_graph(path: Path, args: argparse.Namespace) -> Graph:
    """Read what is to be known of a file.

    Raises:
        ConfigError: If it is no graph of images.
    """
    import onnxruntime

    if not path.is_file():
        raise ConfigError(f'there is no file {path}')
    try:
        session = onnxruntime.InferenceSession(
            str(path), providers=['CPUExecutionProvider']
        )
    except Exception as error:  # of ONNX Runtime's own, which have no base
        text = ' '.join(str(error).split())
        raise ConfigError(
            f'{path}: is no graph that ONNX Runtime reads ({text[:200]})'
        ) from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ConfigError(f'{path}: takes something else than images')
    if inputs[0].type not in _TYPES:
        raise ConfigError(f'{path}: takes images as {inputs[0].type}')
    metadata = session.get_modelmeta().custom_metadata_map
    height, width = json.loads(metadata.get('size', 'null')) or (
        args.image_size,
        args.image_size,
    )
    wanted = (args.batch_size, 3, height, width)
    batch, channels, height, width = (
        own if isinstance(own, int) else other
        for own, other in zip(inputs[0].shape, wanted, strict=True)
    )
    return Graph(
        path,
        metadata,
        (batch, channels, height, width),
        _TYPES[inputs[0].type],
        path.stat().st_size / 2**20,
    )


def with_onnxruntime(graph: Graph, threads: int) -> Run:
    """Open a file in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(graph.path), options, providers=['CPUExecutionProvider']
    )
    names = [output.name for output in session.get_outputs()]
    given = session.get_inputs()[0].name

    def run(images: np.ndarray) -> Mapping[str, np.ndarray]:
        return dict(
            zip(names, session.run(names, {given: images}), strict=True)
        )

    return run


def with_openvino(graph: Graph, threads: int) -> Run:
    """Open a file in OpenVINO."""
    import openvino

    # Of itself it takes bfloat16 on processors that have products of it, and
    # all rows are to compute the same.
    options = {
        'INFERENCE_NUM_THREADS': threads,
        'INFERENCE_PRECISION_HINT': 'f32',
    }
    compiled = openvino.Core().compile_model(str(graph.path), 'CPU', options)
    names = [output.get_any_name() for output in compiled.outputs]

    def run(images: np.ndarray) -> Mapping[str, np.ndarray]:
        found = compiled(images)
        return {name: found[number] for number, name in enumerate(names)}

    return run


def choose_runtimes(wanted: Sequence[str] | None) -> list[str]:
    """The runtimes that are installed; all that are asked for must be.

    Raises:
        ConfigError: If one is missing.
    """
    found = []
    for name in wanted or RUNTIMES:
        try:
            __import__(name)
        except ImportError as error:
            if wanted or name == 'onnxruntime':
                raise ConfigError(
                    f'{name} cannot be imported ({error}); run `pip install '
                    f'{name}`'
                ) from error
            continue
        found.append(name)
    return found


def time_in_turns(
    runs: Sequence[tuple[Run, np.ndarray]], steps: int
) -> list[float]:
    """Median of the milliseconds of each, after two steps to warm up."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(steps + 2):
        for kept, (run, images) in zip(times, runs, strict=True):
            begin = perf_counter()
            run(images)
            kept.append(1000 * (perf_counter() - begin))
    return [median(kept[2:]) for kept in times]


def accuracy(
    graph: Graph, run: Run, folder: str, limit: int
) -> tuple[float | None, str]:
    """Share of photos whose class has the largest logit, or why there is none.

    Args:
        graph (Graph): The file.
        run (Callable): Runs it.
        folder (str): With a folder a class.
        limit (int): Photos at most.
    """
    metadata = graph.metadata
    if metadata.get('task') != 'classification' or 'steps' not in metadata:
        return None, 'the file does not say that it is a classifier'
    photos, names = calibration_photos(folder, limit)
    labels, why = numbers_of(names, json.loads(metadata['classes']))
    if not labels:
        return None, why
    prepare = Preprocessing.read(metadata)
    hits = 0
    for photo, label in zip(photos, labels, strict=True):
        images = np.ascontiguousarray(prepare(photo)[None])
        hits += int(run(images)['logits'][0].argmax()) == label
    return hits / len(photos), ''


def measure(args: argparse.Namespace) -> tuple[list[dict], list[str]]:
    """Rows of the table, and what is to be said below it."""
    runtimes = choose_runtimes(args.runtimes)
    opened = dict(onnxruntime=with_onnxruntime, openvino=with_openvino)
    rows: list[dict[str, Any]] = []
    runs, notes = [], []
    rng = np.random.default_rng(0)
    for graph in [read_graph(Path(file), args) for file in args.files]:
        for runtime in runtimes:
            run = opened[runtime](graph, args.threads)
            images = rng.integers(0, 256, graph.shape).astype(graph.dtype)
            runs.append((run, images))
            value = None
            if args.photos:
                value, why = accuracy(graph, run, args.photos, args.limit)
                if why and f'{graph.path.name}: {why}' not in notes:
                    notes.append(f'{graph.path.name}: {why}')
            rows.append(
                dict(
                    file=graph.path.name,
                    runtime=runtime,
                    precision=graph.metadata.get('precision'),
                    images='x'.join(map(str, graph.shape)),
                    megabytes=graph.megabytes,
                    accuracy=value,
                )
            )
    for row, milliseconds in zip(
        rows, time_in_turns(runs, args.steps), strict=True
    ):
        row['milliseconds'] = milliseconds
    return rows, notes


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = []
    for row in rows:
        value = row['accuracy']
        lines.append(
            dict(
                file=row['file'],
                runtime=row['runtime'],
                precision=row['precision'] or '-',
                images=row['images'],
                MiB=f'{row["megabytes"]:.1f}',
                ms=f'{row["milliseconds"]:.1f}',
                accuracy='-' if value is None else f'{100 * value:.1f}',
            )
        )
    return to_markdown(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    args = parse_args(argv)
    try:
        rows, notes = measure(args)
    except (OSError, ValueError) as error:
        return report(error)
    print('\n'.join([table(rows), *notes]).strip())
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
