"""What every detector keeps to."""

import math
import sys
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain.windows import ALL, Key
from monitor.plugins import kinds, load
from pipelines.detect.detector import Detector, Finding

PACKAGE = "pipelines.detect.detectors"
KINDS = kinds(PACKAGE)
OIL = Key("topic", "Energy")
KEYS: list[Hashable] = [ALL, OIL, "a plain name"]
DAY = 288
WEEK = 7 * DAY
START = 5_000_000  # some bucket

pytestmark = pytest.mark.parametrize("kind", KINDS)


class Told(NamedTuple):
    """So many new stories on a key, so many buckets after the start."""

    after: int
    key: Hashable
    negative: int
    others: int


_told = st.builds(Told, st.integers(0, 150), st.sampled_from(KEYS), st.integers(0, 6), st.integers(0, 6))
_stories = st.lists(_told, max_size=40)


def build(kind: str) -> Detector:
    module = load(PACKAGE, kind)
    detector: Detector = module.build(module.Config.example())
    return detector


def take(detector: Detector, told: Told) -> None:
    detector.take(told.key, START + told.after, told.negative, told.negative + told.others)


def play(detector: Detector, stories: Iterable[Told], until: int = 0) -> list[Finding]:
    """Each as it comes, judged as it should be; then time goes on to `until` buckets after the start."""
    findings = []
    detector.advance(START)
    for told in sorted(stories, key=lambda told: told.after):
        detector.advance(START + told.after)
        take(detector, told)
        if told.negative and (finding := detector.judge(told.key)):
            findings.append(finding)
    detector.advance(START + until)
    return findings


def seasoned(kind: str, keys: Sequence[Hashable] = (OIL,), negative: int = 0, others: int = 1) -> Detector:
    """Two weeks in which each of the keys drew these stories every two hours."""
    detector = build(kind)
    play(detector, [Told(after, key, negative, others) for after in range(0, 2 * WEEK, 24) for key in keys], 2 * WEEK)
    return detector


def values(detector: Detector) -> list[tuple[float, ...] | None]:
    """What is said of each key, but for how often it does that by itself."""
    return [None if score is None else score[:-1] for score in map(detector.score, KEYS)]


def burst(detector: Detector, key: Hashable, now: int, stories: int = 12) -> Finding | None:
    detector.advance(now)
    detector.take(key, now, stories, stories)
    return detector.judge(key)


def test_the_version_names_the_formula_and_is_stable(kind: str) -> None:
    detector = build(kind)
    before = detector.version
    play(detector, [Told(3, OIL, 1, 2)])
    assert detector.version == before == build(kind).version
    assert kind in before
    assert before.isascii()


@settings(deadline=None)
@given(stories=_stories)
def test_asking_for_a_score_or_the_power_changes_nothing(kind: str, stories: list[Told]) -> None:
    detector = build(kind)
    play(detector, stories, 150)
    before = detector.dump()
    for key in KEYS:
        assert detector.score(key) == detector.score(key)
        assert (detector.power(key, 7200) or 0) >= 1
    assert detector.dump() == before


@settings(deadline=None)
@given(stories=_stories, data=st.data(), later=st.sampled_from([0, 5, 30, 400]))
def test_neither_the_order_in_a_bucket_nor_the_bounds_of_batches_matter(
    kind: str, stories: list[Told], data: st.DataObject, later: int
) -> None:
    whole, parts = build(kind), build(kind)
    shuffled = sorted(data.draw(st.permutations(stories)), key=lambda told: told.after)
    play(whole, stories, 150 + later)
    parts.advance(START)
    for told in shuffled:
        for bucket in range(told.after + 1):
            parts.advance(START + bucket)  # going back is no step
        for _ in range(told.negative):
            parts.take(told.key, START + told.after, 1, 1)
        for _ in range(told.others):
            parts.take(told.key, START + told.after, 0, 1)
    for bucket in range(150 + later + 1):
        parts.advance(START + bucket)
    assert [whole.score(key) for key in KEYS] == [parts.score(key) for key in KEYS]
    assert [whole.power(key, 2700) for key in KEYS] == [parts.power(key, 2700) for key in KEYS]


@settings(deadline=None)
@given(
    stories=_stories, late=st.builds(Told, st.integers(0, 100), st.sampled_from(KEYS), st.integers(1, 9), st.just(1))
)
def test_a_late_amendment_is_as_good_as_having_come_in_time(kind: str, stories: list[Told], late: Told) -> None:
    in_time, amended = build(kind), build(kind)
    play(in_time, [*stories, late], 150)
    amended.advance(START)
    has_come = False
    for told in sorted(stories, key=lambda told: told.after):
        if told.after > late.after + 10 and not has_come:
            amended.advance(START + late.after + 10)
            take(amended, late)
            has_come = True
        amended.advance(START + told.after)
        take(amended, told)
    if not has_come:
        amended.advance(START + late.after + 10)
        take(amended, late)
    amended.advance(START + 150)
    assert values(in_time) == values(amended)
    for detector in (in_time, amended):
        detector.advance(START + WEEK)
        for key in KEYS:
            detector.take(key, START + WEEK, 5, 6)
    assert values(in_time) == values(amended)


@settings(deadline=None)
@given(stories=_stories, cut=st.integers(0, 40))
def test_loading_what_was_dumped_goes_on_exactly(kind: str, stories: list[Told], cut: int) -> None:
    ordered = sorted(stories, key=lambda told: told.after)
    whole, first, second = build(kind), build(kind), build(kind)
    at = ordered[min(cut, len(ordered)) - 1].after if ordered and cut else 0
    play(whole, ordered[:cut], at)
    play(first, ordered[:cut], at)
    second.load(first.dump())
    for detector in (whole, second):
        for told in ordered[cut:]:
            detector.advance(START + told.after, observed=0.5, silent={OIL})
            detector.volume(START + told.after, told.others)
            take(detector, told)
            detector.judge(told.key)
        detector.advance(START + WEEK)
    assert whole.dump() == second.dump()


def test_what_another_version_has_dumped_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="learn again"):
        build(kind).load(b"something else")
    with pytest.raises(ValueError, match="learn again"):
        build(kind).load(build(kind).dump()[:-5])


@settings(deadline=None)
@given(stories=_stories, key=st.sampled_from(KEYS), back=st.integers(0, 23))
def test_one_more_negative_story_never_lowers_the_score(
    kind: str, stories: list[Told], key: Hashable, back: int
) -> None:
    detector = build(kind)
    play(detector, stories, 150)
    before = detector.score(key)
    detector.take(key, START + 150 - back, 1, 1)
    after = detector.score(key)
    if before is not None:
        assert after is not None
        assert after.value >= before.value - 1e-9


@settings(deadline=None)
@given(
    past=st.lists(st.integers(0, 10**12), max_size=5), negative=st.integers(0, 10**12), others=st.integers(0, 10**12)
)
def test_every_score_is_a_number(kind: str, past: list[int], negative: int, others: int) -> None:
    detector = build(kind)
    play(detector, [Told(30 * n, OIL, count, count) for n, count in enumerate(past)], 200)
    detector.take(OIL, START + 200, negative, negative + others)
    score = detector.score(OIL)
    if score is not None:
        assert all(math.isfinite(number) for number in score)
        assert 0 <= score.low <= score.high
        assert score.expected >= 0
        assert score.negative == negative


def test_no_negative_story_is_no_surprise(kind: str) -> None:
    detector = seasoned(kind)
    detector.take(OIL, START + 2 * WEEK, 0, 500)
    score = detector.score(OIL)
    assert score is None or score.value <= 0
    assert detector.judge(OIL) is None


def test_a_burst_is_a_surprise_and_a_busy_hour_is_not(kind: str) -> None:
    busy, bad = seasoned(kind, negative=1, others=5), seasoned(kind, negative=1, others=5)
    now = START + 2 * WEEK
    busy.take(OIL, now, 5, 40)
    assert busy.judge(OIL) is None
    found = burst(bad, OIL, now)
    assert found is not None
    assert found.opens
    assert found.score.negative == 12
    assert found.score.negative > found.score.high >= found.score.expected >= found.score.low
    assert found.score.per_week < 1


def test_a_burst_neither_raises_nor_much_teaches_its_own_baseline(kind: str) -> None:
    detector = seasoned(kind, negative=1, others=5)
    now = START + 2 * WEEK
    first = burst(detector, OIL, now)
    detector.advance(now + 1)
    detector.take(OIL, now + 1, 40, 40)
    again = detector.score(OIL)
    detector.advance(now + DAY)
    detector.take(OIL, now + DAY, 12, 12)
    later = detector.score(OIL)
    assert first is not None
    assert again is not None
    assert later is not None
    assert again.expected == pytest.approx(first.score.expected, rel=0.05)
    assert later.value > 0.8 * first.score.value


@pytest.mark.parametrize("times", [2, 5, 20])
def test_more_of_everything_in_the_same_proportion_is_no_less_of_a_verdict(kind: str, times: int) -> None:
    def excess(many: int) -> float:
        detector = seasoned(kind, negative=many, others=4 * many)
        detector.take(OIL, START + 2 * WEEK, 8 * many, 8 * many)
        score = detector.score(OIL)
        assert score is not None
        return score.value

    assert excess(times) >= excess(1)
    quiet = seasoned(kind, negative=times, others=4 * times)
    quiet.take(OIL, START + 2 * WEEK, times, 5 * times)
    assert quiet.judge(OIL) is None


def test_keys_do_not_touch_each_other(kind: str) -> None:
    alone, beside = seasoned(kind), seasoned(kind, [OIL, ALL])
    now = START + 2 * WEEK
    assert burst(beside, ALL, now, 100) is not None
    assert burst(alone, OIL, now) == burst(beside, OIL, now)


def test_an_episode_fires_once_grows_and_ends_once(kind: str) -> None:
    detector = seasoned(kind)
    now = START + 2 * WEEK
    first = burst(detector, OIL, now, 6)
    assert first is not None
    assert burst(detector, OIL, now + 1, 1) is None
    assert burst(detector, OIL, now + 2, 60) is None, "not so soon"
    grown = burst(detector, OIL, now + 30, 60)
    assert grown is not None
    assert not grown.opens
    assert burst(detector, OIL, now + 60, 6) is None, "smaller than before"
    ended = detector.advance(now + DAY)
    assert [key for key, _ in ended] == [OIL]
    assert now + 60 < ended[0][1] < now + DAY
    assert detector.advance(now + 2 * DAY) == []
    anew = burst(detector, OIL, now + 5 * DAY)
    assert anew is not None
    assert anew.opens


@pytest.mark.parametrize(
    "unheard",
    [lambda to, detector: detector.advance(to, observed=0.0), lambda to, detector: detector.advance(to, silent={OIL})],
    ids=["nothing", "its feeds"],
)
def test_what_was_not_observed_is_neither_learned_nor_an_end(
    kind: str, unheard: Callable[[int, Detector], list[tuple[Hashable, int]]]
) -> None:
    detector = seasoned(kind, negative=1, others=5)
    now = START + 2 * WEEK
    assert burst(detector, OIL, now) is not None
    before = detector.score(OIL)
    assert unheard(now + DAY, detector) == []
    detector.take(OIL, now + DAY, 12, 12)
    after = detector.score(OIL)
    assert before is not None
    assert after is not None
    # A day of silence that were taken for quiet would lower what is expected by a twentieth.
    assert after.expected == pytest.approx(before.expected, rel=0.03)
    assert [key for key, _ in detector.advance(now + 3 * DAY)] == [OIL]


def test_nothing_fires_before_it_has_seen_a_week(kind: str) -> None:
    detector = build(kind)
    play(detector, [Told(after, OIL, 0, 1) for after in range(0, WEEK, 24)], WEEK - 1)
    assert burst(detector, OIL, START + WEEK - 1, 50) is None
    assert burst(detector, OIL, START + WEEK, 50) is not None


def test_the_power_is_the_least_burst_that_fires(kind: str) -> None:
    for horizon_s in (2700, 7200):
        enough, short = seasoned(kind, negative=2, others=5), seasoned(kind, negative=2, others=5)
        now = START + 2 * WEEK + 30
        enough.advance(now)
        short.advance(now)
        least = enough.power(OIL, horizon_s)
        assert least is not None
        assert least > 1
        back = horizon_s // 300 - 1  # as far apart as the horizon allows: no shorter one sees all of them
        for detector, stories in ((enough, least), (short, least - 1)):
            detector.take(OIL, now - back, 1, 1)
            detector.take(OIL, now, stories - 1, stories - 1)
        found = enough.judge(OIL)
        assert found is not None
        if horizon_s == 2700:
            assert short.judge(OIL) is None
    with pytest.raises(ValueError, match="2700"):
        build(kind).power(OIL, 1801)


def test_the_bar_tells_what_it_takes_to_fire_now(kind: str) -> None:
    fresh = build(kind)
    fresh.advance(START)
    assert fresh.bar(OIL).held == "warming_up"
    detector = seasoned(kind)
    before = detector.bar(OIL)
    assert (before.held, before.again) == (None, 0.0)
    found = burst(detector, OIL, START + 2 * WEEK)
    assert found is not None
    assert found.threshold == before.score <= found.score.value
    after = detector.bar(OIL)
    assert after.held == "just_fired"
    assert after.score == after.again > found.score.value
    detector.advance(START + 2 * WEEK + 30)
    later = detector.bar(OIL)
    assert later.held is None
    assert before.score < later.score < after.score


def test_a_story_that_is_too_late_is_ignored_and_one_from_the_future_counts_now(kind: str) -> None:
    detector, untouched = seasoned(kind), seasoned(kind)
    now = START + 2 * WEEK
    detector.take(OIL, now - DAY, 50, 50)
    assert detector.dump() == untouched.dump()
    detector.take(OIL, now + 99, 5, 5)
    untouched.take(OIL, now, 5, 5)
    assert detector.score(OIL) == untouched.score(OIL) is not None


def test_idle_keys_cost_nothing_and_are_forgotten(kind: str) -> None:
    detector, untouched = build(kind), build(kind)
    play(detector, [Told(after, f"once {after}", 1, 0) for after in range(1000)], 2000)
    size = len(detector.dump())
    detector.advance(START + 2000 + 10 * WEEK)
    assert len(detector.dump()) > size / 2, "what is half forgotten is kept"
    detector.advance(START + 2000 + 100 * WEEK)
    untouched.advance(START)
    untouched.advance(START + 2000 + 100 * WEEK)
    assert detector.dump() == untouched.dump()


def test_it_tells_what_it_expects_over_each_horizon(kind: str) -> None:
    detector = build(kind)
    play(detector, [Told(after, OIL, 1, 2) for after in range(0, WEEK, 12)], WEEK)
    assert list(detector.horizons_s) == sorted(set(detector.horizons_s))
    known = [detector.expected(OIL, horizon_s) for horizon_s in detector.horizons_s]
    assert [mean for mean, _, _ in known] == sorted({mean for mean, _, _ in known}), "more in a longer time"
    for horizon_s, (mean, low, high) in zip(detector.horizons_s, known, strict=True):
        assert 0 <= low <= mean <= high
        assert detector.expected("never seen", horizon_s)[0] < mean
        needed = detector.power(OIL, horizon_s)
        assert needed is None or needed > mean


def test_the_memory_of_a_key_is_small_and_constant(kind: str) -> None:
    def held(weeks: int) -> float:
        detector = build(kind)
        keys = [f"key {n}" for n in range(50)]
        play(detector, [Told(after, key, 1, 2) for after in range(0, weeks * WEEK, 96) for key in keys], weeks * WEEK)
        return _size(detector, set()) / len(keys)

    few = held(1)
    assert held(6) <= few * 1.05 + 64
    assert few < 1200


def _size(thing: object, seen: set[int]) -> int:
    if id(thing) in seen or isinstance(thing, type) or callable(thing):
        return 0
    seen.add(id(thing))
    parts: list[object] = list(getattr(thing, "__dict__", {}).values())
    parts += [getattr(thing, name) for name in getattr(type(thing), "__slots__", ()) if hasattr(thing, name)]
    if isinstance(thing, dict):
        parts += [*thing, *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset):
        parts += thing
    return sys.getsizeof(thing) + sum(_size(part, seen) for part in parts)
