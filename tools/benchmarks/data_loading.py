"""Speed of the data pipeline on one core."""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import mmcv
import torch
from common import Numbers, medians
from mmengine.dataset import BaseDataset
from torchvision.io import ImageReadMode, decode_image

from mmhgkd.datasets.scenes import SceneGenerator
from mmhgkd.datasets.scenes.writers import write_image
from mmhgkd.registry import DATASETS
from mmhgkd.runner.empty_words import without_weights_told

TORCHVISION = 'torchvision'
KINDS = dict(decode='decode, images/s', pipeline='whole pipeline, images/s')


@contextmanager
def image_folder(
    data_root: str | None,
    count: int,
    side: int,
    height: int | None = None,
) -> Iterator[str]:
    """A folder of images, drawn in a temporary place if there is none.

    They are squares, or the upper rows of squares.
    """
    if data_root is not None:
        yield data_root
        return
    with tempfile.TemporaryDirectory() as folder:
        scenes = SceneGenerator(side)
        for index in range(count):
            write_image(
                Path(folder) / f'{index:04}.jpg',
                scenes.scene('train', index).image[:height],
            )
        yield folder


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep the libraries of the pipeline on one core, as a worker does."""
    threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv2_threads)


def build_dataset(
    config: dict[str, Any], data_root: str, **load_options: Any
) -> BaseDataset:
    """Build the data set of a config on a folder, with a way to load."""
    load, *rest = config['pipeline']
    config = {
        **config,
        '_scope_': 'mmpretrain',
        'data_root': data_root,
        'pipeline': [{**load, **load_options}, *rest],
    }
    with without_weights_told():
        return DATASETS.build(config)


def decoders(path: str) -> dict[str, Callable[[bytes], Any]]:
    """The decode backends that can read a file."""
    data = Path(path).read_bytes()
    found: dict[str, Callable[[bytes], Any]] = {}
    for name in ('cv2', 'pillow', 'turbojpeg'):
        decode = partial(mmcv.imfrombytes, backend=name)
        try:
            # Only this loads the library of turbojpeg.
            mmcv.use_backend(name)
            decode(data)
        # A missing package, a missing library, or no JPEG.
        except (ImportError, RuntimeError, OSError):
            continue
        finally:
            mmcv.use_backend('cv2')
        found[name] = decode
    found[TORCHVISION] = lambda data: decode_image(
        torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB
    )
    return found


def measure(
    config: dict[str, Any], data_root: str, count: int, repeats: int
) -> dict[str, Numbers]:
    """Time decoding alone and the whole pipeline, by decode backend.

    The backends take turns over ``count`` images, as far as there are.
    torchvision decodes only, as the transforms do not use it.

    Returns:
        dict[str, dict[str, float]]: Images per second on one core of each
        backend: ``decode`` and ``pipeline``.
    """
    dataset = build_dataset(config, data_root)
    indices = range(min(count, len(dataset)))
    paths = [dataset.get_data_info(index)['img_path'] for index in indices]
    files = [Path(path).read_bytes() for path in paths]
    tasks: dict[str, dict[str, tuple[Callable, Iterable]]] = {}
    for name, decode in decoders(paths[0]).items():
        tasks[name] = dict(decode=(decode, files))
        if name != TORCHVISION:
            dataset = build_dataset(config, data_root, imdecode_backend=name)
            tasks[name]['pipeline'] = dataset.__getitem__, indices
    turns: dict[str, list[Numbers]] = {name: [] for name in tasks}
    with one_thread():
        for _ in range(repeats + 1):
            for name, kinds in tasks.items():
                seconds = {}
                for kind, (load, items) in kinds.items():
                    start = time.perf_counter()
                    for item in items:
                        load(item)
                    seconds[kind] = time.perf_counter() - start
                turns[name].append(seconds)
    return {
        # The first turn fills the caches.
        name: {k: len(files) / x for k, x in medians(seconds[1:]).items()}
        for name, seconds in turns.items()
    }
