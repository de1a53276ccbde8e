import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

HUB = 'mmpretrain.apis.model'


class HubFinder:
    """Registers the models of this project when mmpretrain's hub is imported.

    So their names are there whichever package is imported first, and the
    import of this project stays free of mmpretrain's.
    """

    @classmethod
    def find_spec(
        cls,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        if name != HUB:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            _register(module)

        spec.loader.exec_module = (  # type: ignore[method-assign]
            execute_and_register
        )
        return spec


def announce_models() -> None:
    """Make the models known to mmpretrain, now or when it is imported."""
    if HUB in sys.modules:
        _register(sys.modules[HUB])
    elif HubFinder not in sys.meta_path:
        sys.meta_path.insert(0, HubFinder)


def _register(module: ModuleType) -> None:
    from .hub_model import register_models

    register_models(module.ModelHub)
