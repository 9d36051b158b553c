"""What every database keeps to: a bucket is observed where its sources were heard, and unknown where none was asked."""

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, text

from monitor.domain.windows import ALL, BUCKET_S, RESOLUTIONS_S, Key, bucket_start
from monitor.storage import tables
from monitor.storage.coverage import Exposure
from monitor.storage.feeds import FeedState
from monitor.storage.store import Store
from monitor.storage.timeline import keys_named, points, timeline
from tests.factories import NOW, make_article, make_labelled

BUCKET = timedelta(seconds=BUCKET_S)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


async def _rows(store: Store) -> list[tuple[Any, ...]]:
    async with store._database.read() as connection:
        rows = await connection.execute(select(tables.coverage).order_by(*tables.coverage.primary_key))
        return [tuple(row) for row in rows]


async def _shares(store: Store, start: datetime, end: datetime) -> list[float | None]:
    return [bucket.share for bucket in (await store.coverage.observed(start, end)).values()]


async def test_where_nobody_was_ever_asked_nothing_is_known(store: Store) -> None:
    exposure = await store.coverage.observed(NOW, NOW + HOUR)
    assert list(exposure) == [NOW + n * BUCKET for n in range(12)]
    assert {bucket.share for bucket in exposure.values()} == {None}
    assert exposure.share(ALL, NOW, NOW + HOUR) is None
    assert await store.coverage.bounds() is None


async def test_a_span_covers_the_buckets_it_touches_and_no_other(store: Store) -> None:
    second = timedelta(seconds=1)
    await store.coverage.heard("wire", NOW - second, NOW + BUCKET)
    await store.coverage.heard("wire", NOW + 3 * BUCKET, NOW + 3 * BUCKET + second)
    await store.coverage.heard("wire", NOW + 5 * BUCKET, NOW + 5 * BUCKET)  # empty
    await store.coverage.heard("wire", NOW + 6 * BUCKET, NOW + 5 * BUCKET)  # nor does time run backwards
    assert await _shares(store, NOW - 2 * BUCKET, NOW + 5 * BUCKET) == [None, 1, 1, 0, 0, 1, 0]


async def test_only_whole_buckets_within_what_was_asked_for_are_answered(store: Store) -> None:
    await store.coverage.heard("wire", NOW, NOW + DAY)
    exposure = await store.coverage.observed(NOW, NOW + 2 * BUCKET)
    assert len(exposure) == 2
    for elsewhere in (NOW - BUCKET, NOW + 2 * BUCKET, NOW + timedelta(seconds=1)):
        with pytest.raises(KeyError):
            exposure[elsewhere]


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    polls=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 5000), st.integers(0, 3000)), min_size=1, max_size=12
    ),
    repeated=st.integers(0, 11),
)
async def test_spans_are_the_union_of_what_was_heard_in_any_order(
    polls: list[tuple[str, int, int]], repeated: int, store: Store
) -> None:
    async with store._database.write() as connection:
        await connection.execute(delete(tables.coverage))
    heard: dict[str, set[datetime]] = {"a": set(), "b": set()}
    for source, start_s, length_s in [*polls, polls[repeated % len(polls)]]:
        start, end = NOW + timedelta(seconds=start_s), NOW + timedelta(seconds=start_s + length_s)
        await store.coverage.heard(source, start, end)
        bucket = bucket_start(start)
        while bucket < end and start < end:
            heard[source].add(bucket)
            bucket += BUCKET
    exposure = await store.coverage.observed(NOW, NOW + 3 * HOUR)
    for start, observed in exposure.items():
        assert observed.heard == {source for source, buckets in heard.items() if start in buckets}
        assert observed.expected == {source for source, buckets in heard.items() if buckets and start >= min(buckets)}
    rows = await _rows(store)
    assert len(rows) == sum(
        1 for buckets in heard.values() for start in buckets if start - BUCKET not in buckets
    )  # one span a stretch: an undisturbed year is one row


async def test_the_same_said_at_once_by_many_is_one_span(store: Store) -> None:
    await asyncio.gather(*(store.coverage.heard("wire", NOW, NOW + n * BUCKET) for n in range(1, 6)))
    await store.coverage.heard("wire", NOW + BUCKET, NOW + 2 * BUCKET)
    assert [row[:3] for row in await _rows(store)] == [("wire", NOW, NOW + 5 * BUCKET)]


def test_spans_that_overlap_count_once() -> None:
    """As two copies leave them that poll the same feed at once."""
    week = timedelta(days=7)
    spans = [("a", NOW, NOW + 3 * BUCKET), ("a", NOW + BUCKET, NOW + 2 * BUCKET), ("b", NOW, NOW + BUCKET)]
    exposure = Exposure(NOW, NOW + 5 * BUCKET, [(*span, span[2] + week) for span in spans])
    assert [bucket.share for bucket in exposure.values()] == [1, 0.5, 0.5, 0, 0]
    assert exposure.share(ALL, NOW, NOW + 4 * BUCKET) == 0.5
    assert exposure.share(Key("source", "a"), NOW, NOW + 4 * BUCKET) == 0.75
    assert exposure.share(Key("source", "c"), NOW, NOW + 4 * BUCKET) is None


async def test_a_source_is_missed_for_a_week_and_then_no_longer_expected(store: Store) -> None:
    await store.coverage.heard("alive", NOW, NOW + 9 * DAY)
    await store.coverage.heard("dead", NOW, NOW + DAY)
    exposure = await store.coverage.observed(NOW - DAY, NOW + 10 * DAY)
    assert exposure.share(ALL, NOW - DAY, NOW) is None
    assert exposure.share(ALL, NOW, NOW + DAY) == 1
    assert exposure[NOW + DAY - BUCKET].share == 1
    assert exposure[NOW + DAY].share == exposure[NOW + 8 * DAY - BUCKET].share == 0.5
    assert exposure[NOW + 8 * DAY].share == 1
    assert exposure.share(ALL, NOW, NOW + 2 * DAY) == 0.75
    assert exposure.share(ALL, NOW - DAY, NOW + DAY) == 1  # the mean of what is known


async def test_a_sources_own_key_hangs_on_that_source_alone(store: Store) -> None:
    await store.coverage.heard("a", NOW, NOW + 2 * BUCKET)
    await store.coverage.heard("b", NOW, NOW + BUCKET)
    bucket = (await store.coverage.observed(NOW, NOW + HOUR))[NOW + BUCKET]
    shares = {name: bucket.of(Key("source", name)) for name in ("a", "b", "an archive")}
    assert shares == {"a": 1, "b": 0, "an archive": None}
    assert bucket.of(ALL) == bucket.of(Key("topic", "Financials")) == 0.5


async def test_who_is_retired_is_not_missed_until_heard_again(store: Store) -> None:
    for name in ("kept", "gone"):
        await store.coverage.heard(name, NOW, NOW + BUCKET)
        await store.coverage.heard(name, NOW + 2 * BUCKET, NOW + 3 * BUCKET)
    await store.coverage.retire(["gone", "never heard of"])
    assert await store.coverage.sources() == {"kept", "gone"}

    async def expected() -> list[int]:
        exposure = await store.coverage.observed(NOW, NOW + 6 * BUCKET)
        return [len(bucket.expected) for bucket in exposure.values()]

    assert await expected() == [2, 2, 2, 1, 1, 1]
    await store.coverage.heard("gone", NOW + 4 * BUCKET, NOW + 5 * BUCKET)
    assert await expected() == [2, 2, 2, 1, 2, 2]


async def test_retention_forgets_what_lies_before_and_nothing_else(store: Store) -> None:
    await store.coverage.heard("long", NOW - DAY, NOW + DAY)
    await store.coverage.heard("old", NOW - DAY, NOW - HOUR)
    await store.coverage.heard("new", NOW + HOUR, NOW + 2 * HOUR)
    await store.coverage.heard("edge", NOW - HOUR, NOW)
    before = await store.coverage.observed(NOW + HOUR, NOW + 2 * HOUR)
    for _ in range(2):
        await store.coverage.delete_before(NOW + timedelta(seconds=17))
        assert [row[:3] for row in await _rows(store)] == [
            ("long", NOW, NOW + DAY),
            ("new", NOW + HOUR, NOW + 2 * HOUR),
        ]
    after = await store.coverage.observed(NOW + HOUR, NOW + 2 * HOUR)
    assert [bucket.heard for bucket in after.values()] == [bucket.heard for bucket in before.values()]
    assert await _shares(store, NOW - 2 * BUCKET, NOW + BUCKET) == [None, None, 1]


async def test_analysts_see_each_bucket_with_how_many_were_expected_and_heard(store: Store) -> None:
    await store.coverage.heard("a", NOW, NOW + 6 * BUCKET)
    await store.coverage.heard("b", NOW + BUCKET, NOW + 2 * BUCKET)
    await store.coverage.heard("b", NOW + 4 * BUCKET, NOW + 5 * BUCKET)
    query = text("SELECT bucket_start, sources_expected, sources_heard FROM coverage_5m ORDER BY bucket_start")
    async with store._database.read() as connection:
        seen = [tuple(row) for row in await connection.execute(query.columns(bucket_start=tables.Utc()))]
    exposure = await store.coverage.observed(NOW, NOW + 6 * BUCKET)
    assert seen == [(start, len(bucket.expected), len(bucket.heard)) for start, bucket in exposure.items()]
    assert [row[1:] for row in seen] == [(1, 1), (2, 2), (2, 1), (2, 1), (2, 2), (2, 1)]


@pytest.mark.parametrize(
    ("failures", "next_poll", "ago", "expected"),
    [
        (0, timedelta(minutes=3), timedelta(minutes=2), False),
        (0, -timedelta(minutes=15), timedelta(minutes=20), False),
        (0, -timedelta(minutes=16), timedelta(minutes=25), True),
        (0, timedelta(hours=3), timedelta(hours=3), False),  # it asked for patience
        (2, timedelta(minutes=3), timedelta(minutes=15), False),
        (2, timedelta(minutes=3), timedelta(minutes=20), True),
        (0, None, timedelta(minutes=20), True),
    ],
)
async def test_who_is_not_overdue_is_not_missed_yet(
    failures: int, next_poll: timedelta | None, ago: timedelta, expected: bool, store: Store
) -> None:
    heard_until = NOW - ago
    await store.coverage.heard("late", NOW - DAY, heard_until)
    await store.coverage.heard("wire", NOW - DAY, NOW - BUCKET)
    await store.coverage.heard("wire", NOW - BUCKET, NOW)
    state = FeedState("late", "https://x.example", {}, failures=failures)
    await store.feeds.save(state._replace(next_poll_at=None if next_poll is None else NOW + next_poll))
    exposure = await store.coverage.observed(NOW - DAY, NOW + HOUR, now=NOW)
    assert exposure[bucket_start(heard_until) - BUCKET].share == 1
    assert exposure[NOW - BUCKET].expected == {"wire", *(["late"] if expected or ago < BUCKET else [])}
    assert {exposure[NOW + n * BUCKET].share for n in range(12)} == {None}  # nobody knows the future
    told = await store.coverage.observed(NOW - DAY, NOW + HOUR)
    assert told[NOW].expected == {"late", "wire"}


async def _counted(store: Store, ages: list[timedelta]) -> None:
    articles = [make_article(title=f"Story {n}", published_at=NOW - age, source="a") for n, age in enumerate(ages)]
    await store.articles.add([make_labelled(article=article) for article in articles])


async def _line(store: Store, key: Key = ALL, *, limit: int = 50, **asked: Any) -> list[tuple[int, int, float | None]]:
    """Buckets before that of NOW, articles, observed."""
    resolution = asked.setdefault("resolution", "5m")
    found = await timeline(store, key, limit=limit, **{"now": NOW, **asked})
    width = timedelta(seconds=RESOLUTIONS_S[resolution])
    assert all(point.stats.end - point.stats.start == width and point.stats.key == key for point in found)
    newest = bucket_start(NOW, RESOLUTIONS_S[resolution])
    return [((newest - point.stats.start) // width, point.stats.articles, point.observed) for point in found]


async def test_a_timeline_has_no_holes_and_tells_zero_from_not_observed(store: Store) -> None:
    await _counted(store, [5 * BUCKET, 2 * BUCKET])
    await store.coverage.heard("a", NOW - 6 * BUCKET, NOW - 3 * BUCKET)
    await store.coverage.heard("a", NOW - 2 * BUCKET, NOW - BUCKET)
    missed = [(-3, 0, None), *((number, 0, 0.0) for number in range(-2, 2))]  # the first has just begun
    whole = [*missed, (2, 1, 1.0), (3, 0, 0.0), (4, 0, 1.0), (5, 1, 1.0), (6, 0, 1.0)]
    line = partial(_line, store, now=NOW + 3 * BUCKET)
    assert await line() == whole
    assert await line(limit=3) == whole[:3]
    assert await line(until=NOW - BUCKET) == whole[5:]
    assert await line(until=NOW - BUCKET - timedelta(seconds=1), limit=2) == whole[5:7]
    assert await line(since=NOW - 4 * BUCKET - timedelta(seconds=1)) == whole[:8]
    assert await line(since=NOW + DAY) == []
    assert await line(until=NOW - DAY) == []
    assert await line(Key("source", "a")) == whole
    assert await line(Key("topic", "Energy | Oil")) == [(number, 0, observed) for number, _, observed in whole]
    assert await line(resolution="1h") == [(0, 0, 0.0), (1, 2, 4 / 6)]
    # While the next poll is not overdue, nothing is missing yet.
    assert (await _line(store))[:3] == [(0, 0, None), (1, 0, None), (2, 1, 1.0)]


async def test_a_timeline_of_an_archive_ends_with_the_archive(store: Store) -> None:
    await _counted(store, [DAY, DAY + 2 * BUCKET])
    assert await _line(store) == [(288, 1, None), (289, 0, None), (290, 1, None)]
    await store.coverage.heard("a", NOW - 20 * DAY, NOW - 19 * DAY)  # nobody has been expected for long
    assert (await _line(store, limit=4)) == [(288, 1, None), (289, 0, None), (290, 1, None), (291, 0, None)]


async def test_where_nothing_is_stored_there_is_no_timeline(store: Store) -> None:
    assert await _line(store) == []


async def test_a_name_stands_for_what_was_counted_or_is_watched(store: Store) -> None:
    assert await keys_named(store, "all") == [ALL]
    assert await keys_named(store, "Energy | Oil") == [Key("topic", "Energy | Oil")]
    assert await keys_named(store, "wire") == await keys_named(store, "a") == []
    await _counted(store, [BUCKET])
    await store.coverage.heard("wire", NOW, NOW + BUCKET)
    assert await keys_named(store, "wire") == [Key("source", "wire")]
    assert await keys_named(store, "a") == await keys_named(store, "a", ["source"]) == [Key("source", "a")]
    assert await keys_named(store, "a", ["topic"]) == []


async def test_rows_of_any_keys_are_told_with_what_was_observed(store: Store) -> None:
    await _counted(store, [BUCKET, 3 * DAY])
    await store.coverage.heard("a", NOW - DAY, NOW)
    await store.coverage.heard("b", NOW - DAY, NOW - DAY + BUCKET)
    rows = await store.articles.trends(newest_first=True)
    told = {(point.stats.key, NOW - point.stats.start): point.observed for point in await points(store, rows, NOW)}
    topic = Key("topic", "Financials")
    assert told == {
        **{(key, BUCKET): share for key, share in ((ALL, 0.5), (topic, 0.5), (Key("source", "a"), 1.0))},
        **{(key, 3 * DAY): None for key in (ALL, topic, Key("source", "a"))},
    }
    assert await points(store, [], NOW) == []
