import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from ranks import run_ranks

from mmhgkd.losses import EmbeddingQueue


def test_is_first_in_first_out() -> None:
    queue = EmbeddingQueue(size=7, embed_dims=1)
    expected: list[float] = []
    for step in range(5):
        batch = [step * 3.0, step * 3.0 + 1, step * 3.0 + 2]
        queue.enqueue(torch.tensor(batch)[:, None])
        expected = (expected + batch)[-7:]
        # The order inside the ring does not matter to any loss.
        assert sorted(queue().flatten().tolist()) == expected


def test_grows_until_full() -> None:
    queue = EmbeddingQueue(size=5, embed_dims=2)
    assert queue().shape == (0, 2)
    queue.enqueue(torch.ones(3, 2))
    assert queue().tolist() == [[1, 1]] * 3
    queue.enqueue(torch.ones(3, 2))
    assert queue().shape == (5, 2)


def test_batch_longer_than_the_queue_keeps_the_newest() -> None:
    queue = EmbeddingQueue(size=3, embed_dims=1)
    queue.enqueue(torch.arange(8.0)[:, None])
    assert sorted(queue().flatten().tolist()) == [5, 6, 7]
    queue.enqueue(torch.tensor([[8.0]]))
    assert sorted(queue().flatten().tolist()) == [6, 7, 8]


def test_backward_survives_enqueue() -> None:
    queue = EmbeddingQueue(size=4, embed_dims=3)
    queue.enqueue(torch.randn(4, 3))
    student = torch.randn(2, 3, requires_grad=True)
    bank = queue()
    loss = (student @ bank.T).sum()
    queue.enqueue(torch.randn(2, 3))
    loss.backward()
    assert torch.allclose(student.grad, bank.sum(0).expand(2, 3))


def test_resumed_queue_goes_on() -> None:
    queue = EmbeddingQueue(size=5, embed_dims=2)
    queue.enqueue(torch.randn(3, 2))
    resumed = EmbeddingQueue(size=5, embed_dims=2)
    resumed.load_state_dict(queue.state_dict())
    batch = torch.randn(4, 2)
    queue.enqueue(batch)
    resumed.enqueue(batch)
    assert torch.equal(queue(), resumed())
    assert int(resumed.received) == 7


@pytest.mark.parametrize('key', ['embeddings', 'received'])
def test_queue_of_another_size_starts_empty(key: str) -> None:
    """Not with zeros that count as received, as in a lenient load."""
    other = EmbeddingQueue(size=5, embed_dims=2)
    other.enqueue(torch.randn(5, 2))
    state = other.state_dict()
    state[key] = state[key].new_zeros(8, 2)
    queue = EmbeddingQueue(size=5, embed_dims=2)
    load_state_dict(queue, state)
    assert int(queue.received) == 0
    queue.enqueue(torch.ones(1, 2))
    assert queue().tolist() == [[1, 1]]


def test_no_gradient_enters() -> None:
    queue = EmbeddingQueue(size=4, embed_dims=2)
    queue.enqueue(torch.randn(2, 2, requires_grad=True))
    assert not queue().requires_grad


def gather(rank: int) -> torch.Tensor:
    queue = EmbeddingQueue(size=6, embed_dims=1)
    for step in range(2):
        queue.enqueue(
            torch.tensor([[step * 10.0 + rank], [step * 10.0 + rank]])
        )
    return queue()


def test_ranks_gather_in_rank_order() -> None:
    queues = run_ranks(gather)
    assert torch.equal(*queues)
    # Steps 0 and 1 brought 0, 0, 1, 1 and 10, 10, 11, 11 to six places.
    assert queues[0].flatten().tolist() == [11, 11, 1, 1, 10, 10]


def test_size_must_be_positive() -> None:
    with pytest.raises(ValueError, match='size'):
        EmbeddingQueue(size=0)
