from collections.abc import Iterator
from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn


def unwrapped(model: Any) -> nn.Module:
    """A model without what wraps it for several processes or for a test."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def wrapped_datasets(dataset: Any) -> Iterator[Any]:
    """A data set and those that it wraps."""
    yield dataset
    for name in ('dataset', '_dataset'):
        if name in vars(dataset):
            yield from wrapped_datasets(getattr(dataset, name))
    for part in getattr(dataset, 'datasets', ()):
        yield from wrapped_datasets(part)
