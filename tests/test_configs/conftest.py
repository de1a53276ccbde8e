from pathlib import Path

import pytest

from mmhgkd.datasets.scenes import TASKS, write_scenes


@pytest.fixture(scope='session')
def scene_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny data set of scenes for each task."""
    root = tmp_path_factory.mktemp('scenes')
    for task in TASKS:
        write_scenes(root / task, task, 20, 10, image_size=64)
    return root
