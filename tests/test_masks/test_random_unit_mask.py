import pytest
import torch

from mmhgkd.masks import RandomUnitMask, UnitMask


def naive_visible(mask: UnitMask, stride: int) -> torch.Tensor:
    height = mask.rows * mask.unit // stride
    width = mask.columns * mask.unit // stride
    visible = torch.zeros(len(mask.ids), 1, height, width, dtype=torch.bool)
    for image, ids in enumerate(mask.ids.tolist()):
        for y in range(height):
            for x in range(width):
                unit = (
                    y * stride // mask.unit * mask.columns
                    + x * stride // mask.unit
                )
                visible[image, 0, y, x] = unit in ids
    return visible


@pytest.mark.parametrize('stride', [4, 8, 16, 32])
def test_visible_and_positions_agree_with_naive_loop(stride: int) -> None:
    mask = RandomUnitMask(seed=3)(3, 96, 160)
    expected = naive_visible(mask, stride)
    assert torch.equal(mask.visible(stride), expected)
    for image, positions in enumerate(mask.positions(stride)):
        flat = expected[image].flatten()
        assert flat[positions].all()
        assert len(set(positions.tolist())) == int(flat.sum())


def test_packed_row_order_is_unit_then_y_then_x() -> None:
    mask = UnitMask(torch.tensor([[1, 5]]), 2, 3, 8)
    assert mask.positions(4).tolist() == [[2, 3, 8, 9, 16, 17, 22, 23]]


def test_every_image_keeps_the_count_of_the_papers() -> None:
    mask = RandomUnitMask(mask_ratio=0.6)(64, 224, 224)
    assert mask.ids.shape == (64, 20)
    assert (mask.ids.diff(dim=1) > 0).all()
    # No unit is preferred: 64 * 20 / 49 = 26 expected draws each.
    counts = torch.bincount(mask.ids.flatten(), minlength=49)
    assert counts.min() > 10 and counts.max() < 45


def test_draws_differ_and_repeat_with_the_seed() -> None:
    first, again = RandomUnitMask(seed=1), RandomUnitMask(seed=1)
    draws = [first(4, 224, 224).ids for _ in range(3)]
    assert not torch.equal(draws[0], draws[1])
    assert all(torch.equal(again(4, 224, 224).ids, ids) for ids in draws)
    other = RandomUnitMask(seed=2)
    assert not torch.equal(other(4, 224, 224).ids, draws[0])
    # Neighboring seeds share no shifted stream.
    assert not torch.equal(other.draw(4, 224, 224, 0).ids, draws[1])


def test_resumed_generator_goes_on() -> None:
    whole = RandomUnitMask()
    ids = [whole(2, 96, 96).ids for _ in range(5)]
    part = RandomUnitMask()
    for _ in range(2):
        part(2, 96, 96)
    resumed = RandomUnitMask()
    resumed.load_state_dict(part.state_dict())
    for expected in ids[2:]:
        assert torch.equal(resumed(2, 96, 96).ids, expected)


def test_fixed_draw_does_not_advance() -> None:
    mask = RandomUnitMask()
    mask.draw(2, 96, 96, 7)
    assert mask.draws == 0


def test_ranks_share_one_global_draw() -> None:
    whole = RandomUnitMask()(8, 96, 96).ids
    for size in (4, 2, 1):
        ranks = [
            RandomUnitMask()(size, 96, 96, rank=rank).ids
            for rank in range(8 // size)
        ]
        assert torch.equal(torch.cat(ranks), whole)


def split_mix(state: int) -> int:
    """One step of SplitMix64 as it was published, on whole numbers."""
    bits = 2**64 - 1
    value = (state + 0x9E3779B97F4A7C15) & bits
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & bits
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & bits
    return value ^ (value >> 31)


def test_a_draw_is_a_stream_of_split_mix() -> None:
    gamma, bits = 0x9E3779B97F4A7C15, 2**64 - 1
    seed, index, units = 5, 3, 9
    start = split_mix((seed * gamma + index + 1 - gamma) & bits) - gamma
    noise = [
        [
            split_mix((start + (image * units + unit) * gamma) & bits)
            for unit in range(units)
        ]
        for image in range(4)
    ]
    expected = [
        sorted(sorted(range(units), key=values.__getitem__)[:4])
        for values in noise
    ]
    mask = RandomUnitMask(seed=seed)
    assert mask.draw(4, 96, 96, index).ids.tolist() == expected
    second = mask.draw(2, 96, 96, index, rank=1)
    assert second.ids.tolist() == expected[2:]


def test_units_are_drawn_alike_and_independently() -> None:
    mask = RandomUnitMask(mask_ratio=0.5)
    seen = torch.cat(
        [mask(400, 128, 128).visible(32).flatten(1) for _ in range(50)]
    ).double()
    assert ((seen.mean(0) - 0.5).abs() < 0.02).all()
    # Eight of sixteen without replacement: a correlation of -1 / 15.
    apart = seen.T.corrcoef()[~torch.eye(16, dtype=torch.bool)]
    assert ((apart + 1 / 15).abs() < 0.04).all()
    # Nor do images or draws that follow each other share anything.
    for step in (1, 400):
        shared = (seen[step:] * seen[:-step]).sum(1).mean()
        assert abs(shared - 4) < 0.05


@pytest.mark.parametrize(
    ('device', 'expected'),
    [
        ('cuda', ['pin', ('cuda', True)]),
        ('cuda:1', ['pin', ('cuda:1', True)]),
        ('mps', [('mps', False)]),
        ('cpu', [('cpu', False)]),
    ],
)
def test_only_pinned_memory_is_copied_without_waiting(
    device: str, expected: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list = []

    def pin(self: torch.Tensor) -> torch.Tensor:
        calls.append('pin')
        return self

    def copy(
        self: torch.Tensor, device: torch.device, non_blocking: bool = False
    ) -> torch.Tensor:
        calls.append((str(device), non_blocking))
        return self

    ids = RandomUnitMask()(2, 96, 96).ids
    monkeypatch.setattr(torch.Tensor, 'pin_memory', pin)
    monkeypatch.setattr(torch.Tensor, 'to', copy)
    assert torch.equal(RandomUnitMask()(2, 96, 96, device).ids, ids)
    assert calls == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
def test_masks_of_a_gpu_are_those_of_the_cpu() -> None:
    ids = [RandomUnitMask()(2, 96, 96, x).ids for x in ('cpu', 'cuda')]
    assert ids[1].is_cuda
    assert torch.equal(ids[0], ids[1].cpu())


def test_at_least_one_unit_stays() -> None:
    assert RandomUnitMask(mask_ratio=0.99)(1, 32, 32).ids.tolist() == [[0]]


@pytest.mark.parametrize('size', [(100, 96), (96, 100), (0, 96)])
def test_image_size_must_be_a_multiple(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match='multiple of the mask unit of 32'):
        RandomUnitMask()(1, *size)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mask_ratio=1.0), 'mask_ratio'),
        (dict(mask_ratio=-0.1), 'mask_ratio'),
        (dict(unit=0), 'unit'),
    ],
)
def test_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomUnitMask(**options)


def test_stride_must_divide_the_unit() -> None:
    mask = RandomUnitMask(unit=8)(1, 16, 16)
    with pytest.raises(ValueError, match='multiple of 16'):
        mask.visible(16)
