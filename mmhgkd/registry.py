"""Registry nodes of mmhgkd, children of MMEngine's root registries.

Types that this project registers are found from every OpenMMLab scope under
their scoped name, such as ``mmhgkd.HGKD``, without ``custom_imports``.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

__all__ = [
    'DATASETS',
    'HOOKS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'OPTIMIZERS',
    'OPTIM_WRAPPERS',
    'TRANSFORMS',
]

DATASETS = Registry(
    'dataset',
    parent=MMENGINE_DATASETS,
    scope='mmhgkd',
    locations=['mmhgkd.datasets'],
)
TRANSFORMS = Registry(
    'transform',
    parent=MMENGINE_TRANSFORMS,
    scope='mmhgkd',
    locations=['mmhgkd.datasets'],
)
MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmhgkd',
    locations=[
        'mmhgkd.masks',
        'mmhgkd.teachers',
        'mmhgkd.sparse',
        'mmhgkd.backbones',
        'mmhgkd.necks',
        'mmhgkd.losses',
        'mmhgkd.algorithms',
    ],
)
OPTIMIZERS = Registry(
    'optimizer',
    parent=MMENGINE_OPTIMIZERS,
    scope='mmhgkd',
    locations=['mmhgkd.optimizers'],
)
OPTIM_WRAPPERS = Registry(
    'optimizer wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='mmhgkd',
    locations=['mmhgkd.optimizers'],
)
HOOKS = Registry(
    'hook', parent=MMENGINE_HOOKS, scope='mmhgkd', locations=['mmhgkd.hooks']
)
LOOPS = Registry(
    'loop',
    parent=MMENGINE_LOOPS,
    scope='mmhgkd',
    locations=['mmhgkd.evaluation'],
)
METRICS = Registry(
    'metric',
    parent=MMENGINE_METRICS,
    scope='mmhgkd',
    locations=['mmhgkd.evaluation'],
)
