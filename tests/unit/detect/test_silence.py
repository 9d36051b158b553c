"""Who has fallen silent, told from arrivals: neither a night nor a seldom voice is an outage."""

import random
from collections.abc import Callable, Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.detect.silence import Silence

HOUR, DAY, WEEK = 12, 288, 2016
MONDAY = 4 * DAY  # the epoch was a Thursday
Rates = Mapping[str, Callable[[int], float]]
"""Items an hour of each source, by bucket."""


def _steady(per_hour: float) -> Callable[[int], float]:
    return lambda _: per_hour


def _office(per_hour: float) -> Callable[[int], float]:
    """Works from 7 to 19 on weekdays."""
    return lambda bucket: per_hour if 7 <= bucket % DAY // HOUR < 19 and (bucket - MONDAY) % WEEK < 5 * DAY else 0.0


def _arrivals(rates: Rates, buckets: Iterable[int], seed: int = 7) -> list[tuple[int, dict[str, int]]]:
    rng = random.Random(seed)
    found = []
    for bucket in buckets:
        counts: dict[str, int] = {}
        for source, rate in rates.items():
            hits = sum(rng.random() < rate(bucket) / HOUR / 4 for _ in range(4))
            if hits:
                counts[source] = hits
        found.append((bucket, counts))
    return found


def _watched(arrivals: Iterable[tuple[int, Mapping[str, int]]], silence: Silence | None = None) -> Silence:
    silence = silence or Silence()
    for bucket, counts in arrivals:
        silence.observe(bucket, counts)
    return silence


RATES: Rates = {"busy": _steady(6), "office": _office(5), "small": _steady(2), "rare": _steady(0.02)}
LEARNED = MONDAY + 4 * WEEK
"""Monday morning, after four weeks."""
PAST = _arrivals(RATES, range(MONDAY, LEARNED))


@pytest.fixture
def silence() -> Silence:
    return _watched(PAST)


def test_a_source_is_silent_since_its_last_item_once_that_is_hardly_chance(silence: Silence) -> None:
    last = max(bucket for bucket, counts in PAST if "busy" in counts)
    others = {name: rate for name, rate in RATES.items() if name != "busy"}
    called = None
    for bucket, counts in _arrivals(others, range(LEARNED, LEARNED + DAY)):
        silence.observe(bucket, counts)
        if called is None and "busy" in silence.silent():
            called = bucket
            assert silence.share(last) == 1
            assert silence.share(last + 1) < 0.7  # it was so all along
    assert called is not None
    # Nine items are due in an hour and a half; it may take longer where the rate is not quite known, never less.
    assert 1.5 * HOUR - 2 <= called - last <= 3 * HOUR
    assert silence.silent() == {"busy"}
    assert silence.since("busy") == last + 1
    assert silence.since("office") is silence.since("unheard of") is None


def test_a_quiet_night_and_weekend_are_not_silence(silence: Silence) -> None:
    for bucket, counts in _arrivals(RATES, range(LEARNED, LEARNED + 3 * WEEK), seed=8):
        silence.observe(bucket, counts)
        assert silence.silent() == set()
        assert silence.share(bucket) == 1


def test_the_share_is_that_of_the_usual_volume_in_that_hour(silence: Silence) -> None:
    outage = {name: rate for name, rate in RATES.items() if name != "office"}
    _watched(_arrivals(outage, range(LEARNED, LEARNED + DAY)), silence)
    assert silence.silent() == {"office"}
    assert silence.share(LEARNED + 12 * HOUR) == pytest.approx(8 / 13, abs=0.08)
    assert silence.share(LEARNED + 3 * HOUR) == pytest.approx(1, abs=0.02)  # at night it is not missed


def test_when_all_is_quiet_everyone_is_silent_long_before_each_would_be(silence: Silence) -> None:
    last = max(bucket for bucket, counts in PAST if counts)
    bucket = LEARNED
    while not silence.silent():
        silence.observe(bucket, {})
        bucket += 1
    assert bucket - last <= 3 * HOUR
    assert silence.silent() == set(RATES)
    assert silence.share(last) == 1
    assert {silence.share(b) for b in range(last + 1, bucket)} == {0}
    assert silence.since("rare") == last + 1

    silence.observe(bucket + HOUR, {"busy": 1})
    assert silence.silent() == set()
    assert silence.share(bucket + HOUR) == 1
    assert {silence.share(b) for b in range(last + 1, bucket + HOUR)} == {0}  # remembered


def test_an_outage_does_not_teach_that_sources_are_quiet(silence: Silence) -> None:
    undisturbed = _watched(_arrivals(RATES, range(LEARNED, LEARNED + DAY)), _watched(PAST))
    _watched(((bucket, {}) for bucket in range(LEARNED, LEARNED + DAY)), silence)
    following = _arrivals(RATES, range(LEARNED + DAY, LEARNED + 2 * DAY), seed=9)
    for watched in (silence, undisturbed):
        _watched(following, watched)
        _watched(((bucket, {}) for bucket in range(LEARNED + 2 * DAY, LEARNED + 2 * DAY + 3 * HOUR)), watched)
    assert silence.silent() == undisturbed.silent() == set(RATES)


def test_a_source_that_dies_stops_counting_after_a_week(silence: Silence) -> None:
    others = {name: rate for name, rate in RATES.items() if name != "busy"}
    last = max(bucket for bucket, counts in PAST if "busy" in counts)
    for bucket, counts in _arrivals(others, range(LEARNED, LEARNED + WEEK + DAY)):
        silence.observe(bucket, counts)
        missed = LEARNED + 4 * HOUR < bucket <= last + WEEK
        if missed:
            assert silence.silent() == {"busy"}
            assert silence.share(bucket) < 0.8
    assert silence.silent() == set()
    assert silence.share(LEARNED + WEEK) == 1


def test_one_that_came_seldom_and_never_again_is_forgotten(silence: Silence) -> None:
    rates = {"busy": RATES["busy"]}
    _watched(_arrivals(rates, range(LEARNED, LEARNED + 14 * WEEK)), silence)
    assert set(silence._sources) == {"busy"}


def test_a_source_that_becomes_seldom_is_not_called_silent_for_ever(silence: Silence) -> None:
    slower = {**RATES, "busy": _steady(0.5)}
    shares = []
    for week in range(6):
        begin = LEARNED + week * WEEK
        silent = 0
        for bucket, counts in _arrivals(slower, range(begin, begin + WEEK), seed=week):
            silence.observe(bucket, counts)
            silent += "busy" in silence.silent()
        shares.append(silent / WEEK)
    assert shares[0] > 0.2
    assert shares[-1] < 0.02, shares


def test_nobody_is_judged_in_the_first_week() -> None:
    silence = Silence()
    assert silence.share(0) == 1
    _watched(_arrivals({"new": _steady(12)}, range(MONDAY, MONDAY + DAY)), silence)
    _watched(((bucket, {}) for bucket in range(MONDAY + DAY, MONDAY + WEEK)), silence)
    assert silence.silent() == set()


def test_a_batch_is_one_sign_of_life() -> None:
    """Two hundred items twice a day do not make half a day without any a silence."""
    silence = Silence()
    for bucket in range(MONDAY, MONDAY + 6 * WEEK):
        silence.observe(bucket, {"batches": 200} if bucket % DAY in (100, 244) else {})
        assert silence.silent() == set()


def test_what_comes_late_is_no_sign_of_life(silence: Silence) -> None:
    before = silence.dump()
    silence.observe(LEARNED - DAY, {"busy": 50, "unknown": 3})
    assert silence.dump() == before
    silence.observe(LEARNED, {"busy": 0})
    assert silence.since("busy") is None


_BATCHES = st.lists(
    st.tuples(st.integers(0, 30), st.dictionaries(st.sampled_from("abcd"), st.integers(1, 5), max_size=4)),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(steps=_BATCHES, seed=st.integers(0, 2**32))
def test_neither_the_order_in_a_bucket_nor_how_it_is_cut_matters(
    steps: list[tuple[int, dict[str, int]]], seed: int
) -> None:
    rng = random.Random(seed)
    whole, pieces = Silence(), Silence()
    bucket = MONDAY
    whole.observe(bucket, {})
    for step, counts in steps:
        bucket += step
        whole.observe(bucket, counts)
        singles = [source for source, count in counts.items() for _ in range(count)]
        rng.shuffle(singles)
        for earlier in range(bucket - step, bucket):
            pieces.observe(earlier, {})
        for source in singles:
            pieces.observe(bucket, {source: 1})
    pieces.observe(bucket, {})
    whole.observe(bucket, {})
    assert whole.dump() == pieces.dump()
    assert [whole.share(b) for b in range(bucket - 20, bucket + 2)] == [
        pieces.share(b) for b in range(bucket - 20, bucket + 2)
    ]


@pytest.mark.parametrize("cut", [0, 1, 5 * HOUR, DAY, WEEK + 7])
def test_loaded_it_goes_on_exactly(cut: int, silence: Silence) -> None:
    following = _arrivals({"small": RATES["small"], "new": _steady(1)}, range(LEARNED, LEARNED + WEEK + DAY))
    _watched(following[:cut], silence)
    loaded = Silence()
    loaded.load(silence.dump())
    assert loaded.dump() == silence.dump()
    for bucket, counts in following[cut:]:
        silence.observe(bucket, counts)
        loaded.observe(bucket, counts)
        assert loaded.silent() == silence.silent()
        assert loaded.share(bucket - 24) == silence.share(bucket - 24)
    assert loaded.dump() == silence.dump()


def test_an_untaught_one_can_be_kept_too() -> None:
    loaded = _watched(PAST)
    loaded.load(Silence().dump())
    assert loaded.dump() == Silence().dump()
    assert _watched(PAST, loaded).dump() == _watched(PAST).dump()


def test_a_state_of_another_version_is_refused_and_changes_nothing(silence: Silence) -> None:
    before = silence.dump()
    with pytest.raises(ValueError, match="expected a state of silence-1, got one of other: learn anew"):
        silence.load(b'{"version": "other"}')
    assert silence.dump() == before
