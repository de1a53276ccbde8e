import copy
import io
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from mmhgkd.utils import late_scalars
from mmhgkd.utils.late_scalars import LateHistory, record_scalar


@pytest.fixture
def hub() -> MessageHub:
    return MessageHub('late scalars')


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many values are read at once, each time."""
    found: list[int] = []
    numbers = late_scalars.read_scalars

    def read(scalars: list) -> list[float]:
        if scalars:
            found.append(len(scalars))
        return numbers(scalars)

    monkeypatch.setattr(late_scalars, 'read_scalars', read)
    return found


def test_values_are_those_of_mmengine(
    hub: MessageHub, reads: list[int]
) -> None:
    plain = MessageHub('plain')
    values = [torch.tensor(0.1 * i, requires_grad=True) for i in range(7)]
    for value in values:
        record_scalar(hub, 'train/loss', value)
        plain.update_scalar('train/loss', value)
    assert reads == []
    mine, theirs = (x.get_scalar('train/loss') for x in (hub, plain))
    assert mine.mean(3) == theirs.mean(3)
    assert reads == [7]
    for x, y in zip(mine.data, theirs.data, strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype
    assert reads == [7]


def test_order_is_kept(hub: MessageHub, reads: list[int]) -> None:
    for value in (
        torch.tensor(1.0),
        2.0,
        torch.tensor([3.0]),
        torch.tensor(4),
    ):
        record_scalar(hub, 'x', value)
    history = hub.get_scalar('x')
    assert history.data[0].tolist() == [1, 2, 3, 4]
    assert history.current() == 4
    assert history.max() == 4 and history.min() == 1
    # A plain number asks for those before it; the last two differ in type.
    assert reads == [1, 2]


def test_no_graph_is_kept(hub: MessageHub) -> None:
    weight = torch.ones(3, requires_grad=True)
    record_scalar(hub, 'x', (weight * 2).sum())
    assert not hub.log_scalars['x']._late[0].requires_grad


def test_goes_on_after_a_history_of_mmengine(hub: MessageHub) -> None:
    hub.update_scalar('x', 1.0)
    record_scalar(hub, 'x', torch.tensor(2.0))
    assert hub.get_scalar('x').data[0].tolist() == [1, 2]


def test_checkpoints_hold_plain_histories(hub: MessageHub) -> None:
    record_scalar(hub, 'x', torch.tensor(1.5))
    state = hub.state_dict()
    assert type(state['log_scalars']['x']) is HistoryBuffer
    assert state['resumed_keys'] == dict(x=True)
    resumed = MessageHub('resumed')
    resumed.load_state_dict(state)
    record_scalar(resumed, 'x', torch.tensor(2.5))
    assert resumed.get_scalar('x').data[0].tolist() == [1.5, 2.5]
    # The original goes on by itself.
    assert hub.get_scalar('x').data[0].tolist() == [1.5]
    for copied in (
        copy.deepcopy(hub.log_scalars['x']),
        pickle.load(io.BytesIO(pickle.dumps(hub.log_scalars['x']))),
    ):
        assert type(copied) is HistoryBuffer
        assert copied.mean() == 1.5
        assert copied.statistics('mean') == 1.5


def test_without_a_logger_values_do_not_pile_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(late_scalars, '_MOST', 4)
    history = LateHistory()
    for index in range(10):
        history.update_late(torch.tensor(float(index)))
        assert len(history._late) < 4
    assert history.data[0].tolist() == list(range(10))
