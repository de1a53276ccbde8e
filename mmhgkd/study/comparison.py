import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95


class Comparison(NamedTuple):
    """How much arms differ from a reference, and how much chance does.

    Args:
        differences (dict[str, float]): Of the means over the seeds, by arm.
        least (float): Least significant difference: what two equal arms stay
            below in 19 of 20 comparisons.
        freedom (int): Degrees of freedom of the estimate of the spread.
    """

    differences: dict[str, float]
    least: float
    freedom: int


def compare_with_reference(
    values: Mapping[str, Mapping[int, float]], reference: str
) -> Comparison | None:
    """Compare arms that were run with the same seeds.

    A seed shares its order of images, its masks and its tenth of the labels
    among all arms, and three seeds of one arm say little about the spread. So
    the spread is what remains of all arms together when the mean of each arm
    and the mean of each seed are taken away (a two-way layout without
    interaction), and the difference of two means over ``S`` seeds has the
    variance ``2 / S`` times that (Fisher's least significant difference).

    Args:
        values (Mapping[str, Mapping[int, float]]): A metric by arm and seed.
        reference (str): The arm to compare with.

    Returns:
        Comparison or None: Of the arms that have all seeds of the reference.
        None where there is no second arm or no second seed.
    """
    seeds = sorted(values.get(reference, {}))
    arms = [
        arm for arm in values if all(seed in values[arm] for seed in seeds)
    ]
    if len(seeds) < 2 or len(arms) < 2:
        return None
    table = np.array([[values[arm][seed] for seed in seeds] for arm in arms])
    means = table.mean(1)
    residual = table - means[:, None] - table.mean(0) + table.mean()
    freedom = (len(arms) - 1) * (len(seeds) - 1)
    spread = math.sqrt(float((residual**2).sum()) / freedom)
    quantile = float(stats.t.ppf((1 + LEVEL) / 2, freedom))
    own = means[arms.index(reference)]
    differences = {
        arm: float(mean - own)
        for arm, mean in zip(arms, means, strict=True)
        if arm != reference
    }
    return Comparison(
        differences, quantile * spread * math.sqrt(2 / len(seeds)), freedom
    )
