from importlib.machinery import PathFinder

import mmcv
import pytest

import mmhgkd  # noqa: F401  (MMDetection's import needs its operators)

COMPILED = PathFinder.find_spec('mmcv._ext', mmcv.__path__) is not None


@pytest.fixture(autouse=True)
def operators_of_this_project(request: pytest.FixtureRequest) -> None:
    if COMPILED and request.path.name.startswith('test_torchvision_'):
        pytest.skip('MMCV has compiled operators here, and they are used')
