import numpy as np
import pytest
import torch

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError

NORM = dict(mean=[10.0, 20.0, 30.0], std=[2.0, 4.0, 5.0], to_rgb=True)


def build(**options: object) -> torch.nn.Module:
    return MODELS.build(
        dict(type='mmhgkd.MixupDataPreprocessor', **NORM, **options)
    )


def test_pairs_of_normalized_images() -> None:
    images = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8)
    data = dict(inputs=images, data_samples=list('abcde'))
    rgb = images[:, [2, 1, 0]].double()
    whole = torch.stack(
        [(rgb[:, c] - NORM['mean'][c]) / NORM['std'][c] for c in range(3)], 1
    )
    part = build(mixup=0.7)
    for seed in range(3):
        np.random.seed(seed)
        torch.manual_seed(seed)
        found = part(data, training=True)
        np.random.seed(seed)
        torch.manual_seed(seed)
        share = np.random.beta(0.7, 0.7)
        order = torch.randperm(5)
        assert 0 < share < 1
        for index in range(5):
            expected = share * whole[index] + (1 - share) * whole[order[index]]
            assert torch.allclose(
                found['inputs'][index].double(), expected, atol=1e-4
            )
        assert found['data_samples'] == list('abcde')
    assert torch.allclose(part(data)['inputs'].double(), whole, atol=1e-5)


def test_same_draws_for_same_states() -> None:
    data = dict(inputs=torch.rand(4, 3, 4, 4) * 255, data_samples=[None] * 4)
    part = build()
    found = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        torch.manual_seed(seed)
        found.append(part(data, training=True)['inputs'])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize('value', [0, -1.0, True, 'a', float('inf')])
def test_bad_share(value: object) -> None:
    with pytest.raises(ConfigError, match='mixup` must be a positive number'):
        build(mixup=value)
