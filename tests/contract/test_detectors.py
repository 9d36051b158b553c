"""What every detector keeps to."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.domain.windows import ALL, Key
from monitor.plugins import kinds, load
from pipelines.detect.detector import Counts, Detector

PACKAGE = "pipelines.detect.detectors"
KINDS = kinds(PACKAGE)
OTHER = Key("topic", "Energy")

_counts = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: Counts(pair[0], sum(pair)))
_pasts = st.lists(_counts, max_size=30)

pytestmark = pytest.mark.parametrize("kind", KINDS)


def build(kind: str, past: Sequence[Counts] = ()) -> Detector:
    module = load(PACKAGE, kind)
    detector: Detector = module.build(module.Config.example())
    for counts in past:
        detector.learn({ALL: counts} if counts.labelled else {OTHER: Counts(0, 1)})
    return detector


def test_the_version_names_the_formula_and_is_stable(kind: str) -> None:
    detector = build(kind)
    before = detector.version
    detector.learn({ALL: Counts(1, 2)})
    assert detector.version == before == build(kind).version
    assert kind in before
    assert before.isascii()


@settings(deadline=None)
@given(past=_pasts, window=_counts, buckets=st.integers(0, 24))
def test_the_same_past_gives_the_same_score_and_asking_changes_nothing(
    kind: str, past: list[Counts], window: Counts, buckets: int
) -> None:
    detector = build(kind, past)
    first = detector.score(ALL, window, buckets)
    assert detector.score(ALL, window, buckets) == first == build(kind, past).score(ALL, window, buckets)


@settings(deadline=None)
@given(past=_pasts, window=_counts, buckets=st.integers(0, 24))
@example(past=[Counts(20, 400)] * 100, window=Counts(1, 12), buckets=6)  # fewer than expected, but a larger share
def test_one_more_negative_story_never_lowers_the_score(
    kind: str, past: list[Counts], window: Counts, buckets: int
) -> None:
    detector = build(kind, past)
    score = detector.score(ALL, window, buckets).value
    more = detector.score(ALL, Counts(window.negative + 1, window.labelled + 1), buckets).value
    assert more >= score - 1e-9


@settings(deadline=None)
@given(past=_pasts, labelled=st.integers(0, 1000), buckets=st.integers(0, 24))
def test_no_negative_story_is_no_surprise(kind: str, past: list[Counts], labelled: int, buckets: int) -> None:
    assert build(kind, past).score(ALL, Counts(0, labelled), buckets).value <= 0


@settings(deadline=None)
@given(
    past=st.lists(st.integers(0, 10**12).map(lambda n: Counts(n, 2 * n)), max_size=5),
    negative=st.integers(0, 10**12),
    other=st.integers(0, 10**12),
    buckets=st.integers(0, 10**6),
)
def test_every_score_is_a_number(kind: str, past: list[Counts], negative: int, other: int, buckets: int) -> None:
    score = build(kind, past).score(ALL, Counts(negative, negative + other), buckets)
    assert math.isfinite(score.value)
    assert math.isfinite(score.expected)
    assert score.expected >= 0


def test_a_burst_is_a_surprise_and_a_busy_hour_is_not(kind: str) -> None:
    detector = build(kind, [Counts(1, 6)] * 2016)
    assert detector.score(ALL, Counts(6, 36), 6).value < 2
    assert detector.score(ALL, Counts(12, 72), 6).value < 3
    assert detector.score(ALL, Counts(40, 60), 6).value > 4


def test_a_burst_teaches_little(kind: str) -> None:
    detector = build(kind, [Counts(1, 6)] * 2016)
    before = detector.score(ALL, Counts(40, 60), 6).value
    for _ in range(6):
        detector.learn({ALL: Counts(40, 60)})
    assert detector.score(ALL, Counts(40, 60), 6).value > before / 2


def test_keys_do_not_touch_each_other(kind: str) -> None:
    quiet, loud = build(kind), build(kind)
    for _ in range(300):
        quiet.learn({ALL: Counts(1, 3)})
        loud.learn({ALL: Counts(1, 3), OTHER: Counts(50, 50)})
    assert loud.score(ALL, Counts(9, 20), 6) == quiet.score(ALL, Counts(9, 20), 6)


def test_the_memory_of_a_key_is_constant(kind: str) -> None:
    def cells(detector: Detector) -> int:
        seen: set[int] = set()

        def count(thing: object) -> int:
            if id(thing) in seen or isinstance(thing, type | str | bytes):
                return 0
            seen.add(id(thing))
            parts: list[object] = list(getattr(thing, "__dict__", {}).values())
            parts += [getattr(thing, name) for name in getattr(type(thing), "__slots__", ()) if hasattr(thing, name)]
            if isinstance(thing, dict):
                parts += [*thing, *thing.values()]
            elif isinstance(thing, list | tuple | set | frozenset):
                parts += thing
            return 1 + sum(count(part) for part in parts)

        return count(detector)

    few = cells(build(kind, [Counts(1, 3)] * 300))
    assert cells(build(kind, [Counts(1, 3)] * 3000)) <= few + 8
