import numpy as np
import pytest
from scipy import stats
from studies.comparison import compare_with_reference


def draw(arms: int, seeds: int) -> np.ndarray:
    return np.random.default_rng(0).normal(40, 2, (arms, seeds))


def by_arm(table: np.ndarray) -> dict[str, dict[int, float]]:
    return {
        f'arm{row}': {
            10 + seed: float(value) for seed, value in enumerate(values)
        }
        for row, values in enumerate(table)
    }


def test_equals_least_squares_of_the_two_way_layout() -> None:
    table = draw(5, 3)
    found = compare_with_reference(by_arm(table), 'arm2')
    assert found is not None
    # Dummy variables of the arms, and of the seeds but one.
    arm, seed = np.indices(table.shape)
    design = np.column_stack(
        [arm.ravel() == i for i in range(5)]
        + [seed.ravel() == i for i in range(1, 3)]
    )
    solution, squares, rank, _ = np.linalg.lstsq(
        design.astype(float), table.ravel(), rcond=None
    )
    freedom = table.size - rank
    assert found.freedom == freedom == 8
    variance = squares[0] / freedom
    # Variance of the estimated difference of two arms.
    contrast = np.zeros(7)
    contrast[[0, 2]] = 1, -1
    error = (
        contrast
        @ np.linalg.inv(design.T.astype(float) @ design)
        @ contrast
        * variance
    )
    assert found.least == pytest.approx(
        stats.t.ppf(0.975, freedom) * np.sqrt(error)
    )
    assert found.differences == {
        f'arm{i}': pytest.approx(solution[i] - solution[2])
        for i in (0, 1, 3, 4)
    }


def test_two_arms_are_the_paired_t_test() -> None:
    table = draw(2, 4)
    found = compare_with_reference(by_arm(table), 'arm0')
    assert found is not None
    interval = stats.ttest_rel(table[1], table[0]).confidence_interval(0.95)
    difference = found.differences['arm1']
    assert difference - found.least == pytest.approx(interval.low)
    assert difference + found.least == pytest.approx(interval.high)


def test_a_seed_moves_all_arms_alike() -> None:
    table = draw(4, 3)
    plain = compare_with_reference(by_arm(table), 'arm0')
    moved = compare_with_reference(by_arm(np.add(table, [0, 50, -20])), 'arm0')
    assert plain is not None and moved is not None
    assert moved.least == pytest.approx(plain.least)
    assert moved.differences['arm3'] == pytest.approx(
        plain.differences['arm3']
    )


def test_arms_without_all_seeds_are_left_out() -> None:
    values = by_arm(draw(4, 3))
    complete = compare_with_reference(
        {k: values[k] for k in ('arm0', 'arm1', 'arm3')}, 'arm0'
    )
    del values['arm2'][11]
    assert compare_with_reference(values, 'arm0') == complete


def test_nothing_to_compare() -> None:
    values = by_arm(draw(2, 2))
    assert compare_with_reference(values, 'other') is None
    assert compare_with_reference({'arm0': values['arm0']}, 'arm0') is None
    assert compare_with_reference(by_arm(draw(3, 1)), 'arm0') is None
