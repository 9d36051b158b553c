"""One firing per episode, another only if it clearly grows, one end."""

import itertools
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.windows import ALL, Key
from monitor.storage.spikes import Episode
from pipelines.detect.trigger import Trigger
from tests.factories import NOW, make_spike

HOUR = timedelta(hours=1)
KEY = Key("topic", "Energy")


def _fired(score: float = 8.0, **overrides: object) -> Trigger:
    """A trigger of threshold 4, after one spike at NOW."""
    return Trigger(4.0, {KEY: Episode(make_spike(key=KEY, score=score, **overrides), NOW)})


def test_a_key_fires_at_the_threshold() -> None:
    trigger = Trigger(4.0, {})
    assert [trigger.fires(KEY, score, NOW) for score in (-1.0, 0.0, 3.99, 4.0, 40.0)] == [False] * 3 + [True] * 2


def test_nothing_fires_twice_within_two_hours() -> None:
    trigger = _fired()
    assert not trigger.fires(KEY, 1000.0, NOW)
    assert not trigger.fires(KEY, 1000.0, NOW + 2 * HOUR - timedelta(seconds=1))
    assert trigger.fires(KEY, 1000.0, NOW + 2 * HOUR)
    assert trigger.fires(ALL, 4.0, NOW)


def test_the_bar_halves_every_twelve_hours() -> None:
    trigger = _fired(score=8.0)
    assert not trigger.fires(KEY, 10.0, NOW + 2 * HOUR)
    assert trigger.fires(KEY, 12.0, NOW + 2 * HOUR)
    assert not trigger.fires(KEY, 5.9, NOW + 12 * HOUR)
    assert trigger.fires(KEY, 6.1, NOW + 12 * HOUR)
    assert not trigger.fires(KEY, 3.9, NOW + 9000 * HOUR)


def test_an_episode_ends_once_when_it_has_been_quiet() -> None:
    trigger = _fired()
    spike_id = make_spike(key=KEY).id
    assert trigger.high({KEY: 2.0, ALL: 9.0}, NOW + HOUR) == [(spike_id, NOW + HOUR)]
    assert trigger.high({KEY: 1.9}, NOW + 2 * HOUR) == []
    assert trigger.resolve(NOW + 2.9 * HOUR) == []
    assert trigger.resolve(NOW + 5 * HOUR) == [(spike_id, NOW + 3 * HOUR)]
    assert trigger.resolve(NOW + 9 * HOUR) == []
    assert trigger.high({KEY: 9.0}, NOW + 9 * HOUR) == []


def test_an_episode_that_ended_before_the_restart_stays_so() -> None:
    assert _fired(state="resolved").resolve(NOW + 9 * HOUR) == []


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 600)), max_size=40))
def test_no_two_spikes_of_a_key_are_closer_than_two_hours(ticks: list[tuple[float, int]]) -> None:
    trigger, now, fired = Trigger(4.0, {}), NOW, []
    for score, minutes in ticks:
        now += timedelta(minutes=minutes)
        if trigger.fires(KEY, score, now):
            spike = make_spike(key=KEY, score=score, detected_at=now)
            assert score >= 4.0
            trigger.stated(Episode(spike, now))
            fired.append(now)
        trigger.high({KEY: score}, now)
        trigger.resolve(now)
    assert all(later - earlier >= 2 * HOUR for earlier, later in itertools.pairwise(fired))
