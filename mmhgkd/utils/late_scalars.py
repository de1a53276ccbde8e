"""Figures of the log that stay on the device until someone looks at them.

MMEngine reads every loss in every iteration, and each time the host waits
until the GPU has caught up.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import Tensor

__all__ = ['LateHistory', 'read_scalars', 'record_scalar']

# Reads that often even where nothing looks: a run may have no logger.
_MOST = 1000


class LateHistory(HistoryBuffer):
    """A history of which the latest values may still be on the device.

    Any look at it reads them, all at once. Copies, and with them checkpoints,
    are MMEngine's plain histories.

    Args:
        *args: See :class:`mmengine.logging.HistoryBuffer`.
        **kwargs: See :class:`mmengine.logging.HistoryBuffer`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._late: list[Tensor] = []
        super().__init__(*args, **kwargs)

    def update_late(self, value: Tensor) -> None:
        """Append a scalar without reading it."""
        self._late.append(value.detach())
        if len(self._late) >= _MOST:
            self._read()

    @property
    def _log_history(self) -> np.ndarray:
        self._read()
        return self._values

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def _count_history(self) -> np.ndarray:
        self._read()
        return self._counts

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._counts = counts

    def _read(self) -> None:
        late, self._late = self._late, []
        for value in read_scalars(late):
            self.update(value)

    def __reduce__(self) -> tuple[Any, ...]:
        return HistoryBuffer, (*self.data, self.max_length)


def record_scalar(hub: MessageHub, name: str, value: Any) -> None:
    """Append to a history of the log; a tensor is read later.

    Args:
        hub (MessageHub): The log.
        name (str): Such as ``'train/loss'``.
        value (Tensor or number): One number.
    """
    history = hub.log_scalars.get(name)
    if not isinstance(value, Tensor) or value.numel() != 1:
        hub.update_scalar(name, value)
        return
    if history is None:
        # Makes the entry, and what goes with it.
        hub.update_scalar(name, 0.0)
        history = HistoryBuffer([], np.zeros(0, int))
    if not isinstance(history, LateHistory):
        history = LateHistory(*history.data, history.max_length)
        hub.log_scalars[name] = history
    history.update_late(value)


def read_scalars(scalars: Sequence[Tensor]) -> list[Any]:
    """Values of scalars, with one wait for the device.

    Args:
        scalars (Sequence[Tensor]): Each with one element. Those of several
            devices or types are read one by one.

    Returns:
        list: Python's numbers, or booleans.
    """
    kinds = {(x.device, x.dtype) for x in scalars}
    if len(kinds) == 1:
        return torch.stack([x.reshape(()) for x in scalars]).tolist()
    return [x.item() for x in scalars]
