"""A detector run over plain events."""

import random

import pytest

from pipelines.detect.detectors.gamma_poisson import Config, GammaPoisson
from pipelines.detect.events import Alert, Event, Run, alerts_of

HOUR = 3600.0
DAY = 24 * HOUR


def usual(days: int = 20, keys: tuple[str, ...] = ("oil", "gas")) -> list[Event]:
    """One story every four hours, each fifth of them negative."""
    rows = [(hour * HOUR, key) for hour in range(0, days * 24, 4) for key in keys]
    return [Event(at, key, n % 10 < 2, f"story {n}") for n, (at, key) in enumerate(rows)]


def found(events: list[Event]) -> list[Alert]:
    return list(alerts_of(GammaPoisson(Config()), events, late_s=7200))


def burst(at: float, stories: int, key: str = "oil", name: str = "burst", step: float = 60.0) -> list[Event]:
    return [Event(at + step * n, key, True, f"{name} {n}") for n in range(stories)]


def test_a_burst_alerts_at_the_story_that_is_enough() -> None:
    start = 20 * DAY
    alerts = found(usual() + burst(start, 8))
    assert [alert.finding.key for alert in alerts] == ["oil"]
    assert alerts[0].time_s - start in {60.0 * n for n in range(2, 7)}


def test_copies_of_one_story_count_once_in_a_day() -> None:
    start = 20 * DAY
    copies = [Event(start + 60.0 * n, "oil", True, "the same") for n in range(40)]
    assert found(usual() + copies) == []


def test_the_order_within_an_instant_does_not_matter() -> None:
    start = 20 * DAY
    instant = [Event(start, "oil", n % 2 == 0, f"at once {n}") for n in range(12)]
    first = found(usual() + instant)
    random.Random(5).shuffle(instant)
    assert first == found(usual() + instant) != []


def test_an_event_that_is_a_little_late_amends() -> None:
    start = 20 * DAY
    rows = burst(start, 4, step=600.0)
    late = [rows[0], rows[2], rows[1], rows[3]]
    in_time, amended = found(usual() + rows), found(usual() + late)
    assert in_time
    assert in_time == amended


def test_an_absurd_time_is_refused_and_changes_nothing() -> None:
    run = Run(GammaPoisson(Config()), late_s=7200)
    run.take(Event(10 * DAY, "oil", False, "a"))
    with pytest.raises(ValueError, match="before an earlier row"):
        run.take(Event(9 * DAY, "oil", True, "b"))
    with pytest.raises(ValueError, match="days after the row before"):
        run.take(Event(1000 * DAY, "oil", True, "b"))
    assert run.take(Event(10 * DAY + 1, "oil", False, "c")) == []


def test_alerts_come_as_soon_as_time_goes_on() -> None:
    run = Run(GammaPoisson(Config()), late_s=7200)
    for event in usual():
        run.take(event)
    seen = [len(run.take(event)) for event in burst(20 * DAY, 8)]
    assert sum(seen) == 1
    assert run.finish() == []
