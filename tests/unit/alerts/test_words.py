"""Numbers and times read as a person would say them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts import words
from monitor.domain.alerts import Verdict
from monitor.domain.record import utc

YEAR = 365.25 / 7


@pytest.mark.parametrize(
    ("minutes", "per_week", "told"),
    [
        (30, 1 / (8 * 365.25 / 12 / 7), "such a half hour comes about once in 8 months"),
        (45, 2.2, "such 45 minutes come about twice a week"),
        (60, 1, "such an hour comes about once a week"),
        (90, 0.5, "such 90 minutes come about once in 2 weeks"),
        (120, 1 / 8, "such 2 hours come about once in 8 weeks"),
        (720, 1 / (3 * YEAR), "such 12 hours come about once in 3 years"),
        (1440, 5.1, "such a day comes about 5 times a week"),
        (30, 0, "such a half hour comes less than once in 100 years"),
    ],
)
def test_how_rare(minutes: int, per_week: float, told: str) -> None:
    assert words.rarity(timedelta(minutes=minutes), per_week) == told


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_the_rarer_is_never_told_as_the_more_frequent(one: float, other: float) -> None:
    rarer, commoner = sorted((one, other))
    assert _per_week(words.how_often(rarer)) <= 1.0001 * _per_week(words.how_often(commoner))


@given(st.floats(1 / (90 * YEAR), 1000))
def test_what_is_told_is_near_what_is(per_week: float) -> None:
    assert 0.6 < _per_week(words.how_often(per_week)) / per_week < 1.6


def _per_week(told: str) -> float:
    """How often a week the words say."""
    if told.startswith("less than"):
        return 0.0
    if told.endswith("times a week"):
        return float(told.split()[1])
    if told.startswith("about once in"):
        number, unit = told.removeprefix("about once in ").split()
        return 1 / (float(number) * {"weeks": 1.0, "months": YEAR / 12, "years": YEAR}[unit])
    return {"about twice a week": 2.0, "about once a week": 1.0}[told]


@pytest.mark.parametrize(
    ("length", "told"),
    [
        (timedelta(seconds=20), "less than a minute"),
        (timedelta(minutes=40), "40 min"),
        (timedelta(hours=2), "2 h"),
        (timedelta(hours=2, minutes=10), "2 h 10 min"),
        (timedelta(hours=76), "3 d 4 h"),
    ],
)
def test_how_long(length: timedelta, told: str) -> None:
    assert words.lasting(length) == told


def test_a_time_of_another_day_has_its_day() -> None:
    moment = utc(2026, 3, 4, 14, 5)
    assert words.since(moment, utc(2026, 3, 4, 23)) == "14:05 UTC"
    assert words.since(moment, utc(2026, 3, 5, 0)) == "2026-03-04 14:05 UTC"


def test_every_verdict_has_its_words() -> None:
    assert set(words.VERDICTS) == set(Verdict)
    assert len(set(words.VERDICTS.values())) == len(Verdict)
