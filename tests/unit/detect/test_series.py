"""Scores of plain series of numbers."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.detect.series import WARMUP_ROWS, Series

LENGTH = 3000
AT = 2000


def scores(values: list[float]) -> list[float]:
    series = Series()
    return [series.score(value) for value in values]


def counts(mean: float) -> list[float]:
    rng = random.Random(1)
    return [float(sum(rng.random() < mean / 50 for _ in range(50))) for _ in range(LENGTH)]


def noise(level: float, width: float) -> list[float]:
    rng = random.Random(2)
    return [rng.gauss(level, width) for _ in range(LENGTH)]


@pytest.mark.parametrize(
    ("values", "odd"),
    [
        (counts(5.0), 60.0),
        (counts(0.1), 9.0),
        ([1000 * count for count in counts(20.0)], 90_000.0),
        (noise(45.0, 2.0), 95.0),
        (noise(45.0, 2.0), 5.0),
        (noise(-20.0, 3.0), 20.0),
        (noise(0.002, 0.0001), 0.004),
        ([7.0] * LENGTH, 9.0),
        ([-0.5] * LENGTH, 0.5),
    ],
    ids=["counts", "rare", "large", "up", "down", "negative", "tiny", "constant", "constant below zero"],
)
def test_one_odd_value_stands_out_and_little_else_does(values: list[float], odd: float) -> None:
    values[AT] = odd
    found = scores(values)
    assert found[AT] > 0.9
    others = [score for row, score in enumerate(found) if abs(row - AT) > 3]
    assert sum(score >= 0.5 for score in others) <= 3
    assert sum(others) / len(others) < 0.2


def test_a_drop_and_a_new_level_are_told_once() -> None:
    values = noise(100.0, 5.0)
    for row in range(AT, LENGTH):
        values[row] -= 60
    told = [row for row, score in enumerate(scores(values)) if score >= 0.5]
    assert AT in told
    assert len([row for row in told if row >= AT]) <= 3


def test_nothing_scores_in_the_warm_up() -> None:
    values = noise(10.0, 1.0)
    values[WARMUP_ROWS - 1] = 1e6
    assert scores(values)[:WARMUP_ROWS] == [0.0] * WARMUP_ROWS


def test_more_of_a_surprise_never_scores_less() -> None:
    found = []
    for odd in (12.0, 13.0, 14.0, 15.0, 20.0, 40.0):
        values = noise(10.0, 1.0)[: AT + 1]
        values[AT] = odd
        found.append(scores(values)[AT])
    assert found == sorted(found)
    assert found[0] < 0.5 < found[-1]


@settings(deadline=None)
@given(values=st.lists(st.floats(-1e12, 1e12) | st.integers(0, 10**9).map(float), max_size=60))
def test_every_score_is_in_range_and_depends_on_what_came_before_alone(values: list[float]) -> None:
    one, other = Series(warmup_rows=0), Series(warmup_rows=0)
    found = [one.score(value) for value in values]
    assert all(0 <= score <= 1 for score in found)
    assert found[: len(values) // 2] == [other.score(value) for value in values[: len(values) // 2]]


def test_values_far_beyond_what_squares_hold_are_survived() -> None:
    found = scores([*noise(1.0, 0.1), 1e300, -1e300, 1.0])
    assert all(0 <= score <= 1 for score in found)
    assert found[LENGTH] > 0.9
