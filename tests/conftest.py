import functools
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import utils as config_utils
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from PIL import Image
from yapf.yapflib import yapf_api

# Tests run side by side; threads that wait for each other cost more than
# they compute.
torch.set_num_threads(1)
# A config that inherits `mmdet::` is looked up in all 400 metafiles there,
# which are read again for each of its bases otherwise.
config_utils.load = functools.cache(config_utils.load)
# A run lays out the text of its config three times, a second each, for people.
yapf_api.FormatCode = lambda text, **kwargs: (text, True)
# `nohup` and the background of a shell switch these off, for child processes
# too. A handler of Python's in their place would be one for this process only.
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
GPUS = [pytest.param('cuda', marks=pytest.mark.gpu)]


@pytest.fixture(
    params=['cpu', *GPUS] if torch.cuda.is_available() else ['cpu']
)
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Every device that this machine has, with exact float32 products."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield torch.device(request.param)


@pytest.fixture(autouse=True)
def nothing_of_earlier_runs() -> Iterator[None]:
    """A runner leaves its scope behind, and its logger with its log file.

    Types are looked up in the one, and lines are written to the other.
    Runners of fixtures that many tests share leave them, too.
    """
    for manager in (DefaultScope, MMLogger):
        manager._instance_dict = type(manager._instance_dict)()
    yield
    for manager in (DefaultScope, MMLogger):
        manager._instance_dict = type(manager._instance_dict)()


@pytest.fixture(scope='session')
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set: {train,val}/{a,b}/*.png."""
    root = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name in ('a', 'b'):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(4):
                pixels = rng.integers(0, 256, (112, 120, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f'{index}.png')
    return root
