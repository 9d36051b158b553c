"""Event time: what publishers' stamps, right or wrong, do to buckets."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.article import Article
from monitor.domain.record import utc
from monitor.domain.windows import BUCKET_S, RESOLUTIONS_S, bucket_start, bucket_start_s, window
from monitor.storage.store import Store
from pipelines.ingest.normalise import Plausibility, article, parse_time
from pipelines.ingest.source import Entry
from tests.factories import NOW, make_labelled

BUCKET = timedelta(seconds=BUCKET_S)
SECOND = timedelta(seconds=1)
PLAUSIBLE = Plausibility(max_age=timedelta(days=30), future_tolerance=timedelta(minutes=5))

NEW_YORK, BERLIN, LORD_HOWE = ZoneInfo("America/New_York"), ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")
CLOCK_CHANGES = [
    pytest.param(NEW_YORK, utc(2026, 3, 8, 7), timedelta(hours=1), id="New York, forward"),
    pytest.param(NEW_YORK, utc(2026, 11, 1, 6), timedelta(hours=-1), id="New York, back"),
    pytest.param(BERLIN, utc(2026, 3, 29, 1), timedelta(hours=1), id="Berlin, forward"),
    pytest.param(BERLIN, utc(2026, 10, 25, 1), timedelta(hours=-1), id="Berlin, back"),
    pytest.param(LORD_HOWE, utc(2026, 4, 4, 15), timedelta(minutes=-30), id="Lord Howe, back by half an hour"),
    pytest.param(LORD_HOWE, utc(2026, 10, 3, 15, 30), timedelta(minutes=30), id="Lord Howe, forward by half an hour"),
]


def _iso(moment: datetime) -> str:
    return moment.isoformat()


def _abbreviated(moment: datetime) -> str:
    """As many American feeds have it: EST in winter, EDT in summer."""
    return moment.strftime("%a, %d %b %Y %H:%M:%S %Z")


def _prose(moment: datetime) -> str:
    return moment.strftime("%B %d, %Y %I:%M %p %z")


def _article(published: str | None, fetched_at: datetime = NOW, **overrides: Any) -> Article:
    fields: dict[str, Any] = {
        "title": "Bank halts withdrawals", "summary": "", "url": None, "guid": None, "published": published,
        "language": None, "source": None, "raw": {}, **overrides,
    }  # fmt: skip
    return article(Entry(**fields), source="wire", fetched_at=fetched_at, plausibility=PLAUSIBLE)


@pytest.mark.parametrize(
    ("ahead", "believed"),
    [
        (-timedelta(days=30), True),
        (-timedelta(days=30) - SECOND, False),
        (timedelta(0), True),
        (timedelta(minutes=5), True),
        (timedelta(minutes=5) + SECOND, False),
        (timedelta(hours=2), False),
        (timedelta(days=400), False),
        (timedelta(days=365 * 4000), False),
    ],
)
async def test_a_stamp_ahead_of_its_time_counts_where_it_was_fetched_and_moves_nothing(
    ahead: timedelta, believed: bool, store: Store
) -> None:
    made = _article((NOW + ahead).isoformat())
    assert (made.published_at, made.time_basis) == ((NOW + ahead, "publisher") if believed else (NOW, "fetch"))
    await store.articles.add([make_labelled(article=made)])
    rows = await store.articles.trends(kinds=["all"])
    assert [row.start for row in rows] == [bucket_start(made.published_at)]
    assert rows[0].start <= NOW + PLAUSIBLE.future_tolerance
    assert window(NOW, timedelta(minutes=30)) == (NOW - timedelta(minutes=25), NOW + BUCKET)


@pytest.mark.parametrize("written", [_iso, format_datetime, _prose])
@pytest.mark.parametrize(("zone", "change", "by"), CLOCK_CHANGES)
def test_a_change_of_clocks_doubles_no_bucket_and_leaves_none_out(
    zone: ZoneInfo, change: datetime, by: timedelta, written: Callable[[datetime], str]
) -> None:
    """A feed in local time that brings an item every five minutes."""
    moments = [change + n * BUCKET for n in range(-36, 36)]
    local = [moment.astimezone(zone) for moment in moments]
    assert local[36].utcoffset() == (local[35].utcoffset() or timedelta()) + by  # the clocks do change there
    read = [parse_time(written(moment)) for moment in local]
    assert read == moments
    assert Counter(bucket_start(moment) for moment in read if moment) == Counter(moments)


@pytest.mark.parametrize("change", [utc(2026, 3, 8, 7), utc(2026, 11, 1, 6)])
def test_names_of_zones_tell_the_doubled_hour_apart(change: datetime) -> None:
    moments = [change + n * BUCKET for n in range(-24, 24)]
    texts = [_abbreviated(moment.astimezone(NEW_YORK)) for moment in moments]
    assert {text[-3:] for text in texts} == {"EST", "EDT"}
    assert [parse_time(text) for text in texts] == moments


@given(
    moment=st.datetimes(datetime(2000, 1, 2), datetime(2037, 12, 30)),  # noqa: DTZ001  # hypothesis adds the zone
    first=st.sampled_from([UTC, NEW_YORK, BERLIN, LORD_HOWE, ZoneInfo("Asia/Kolkata"), ZoneInfo("Pacific/Kiritimati")]),
    second=st.sampled_from([UTC, NEW_YORK, BERLIN, LORD_HOWE, ZoneInfo("Pacific/Marquesas")]),
)
def test_a_feed_that_switches_its_time_zone_tells_the_same(moment: datetime, first: ZoneInfo, second: ZoneInfo) -> None:
    instant = moment.replace(microsecond=0, tzinfo=UTC)
    before, after = (
        _article(format_datetime(instant.astimezone(zone)), instant + timedelta(minutes=1), guid="42")
        for zone in (first, second)
    )
    assert before == after
    assert before.published_at == instant


@pytest.mark.parametrize("offset_h", range(-12, 15))
def test_local_time_that_is_called_utc_is_wrong_by_no_more_than_its_zone(offset_h: int) -> None:
    """East of Greenwich it would lie in the future, and is not believed; west of it, it looks late."""
    for age in (timedelta(minutes=1), timedelta(hours=3)):
        local = (NOW - age + timedelta(hours=offset_h)).replace(tzinfo=None)
        made = _article(local.isoformat())
        assert made.published_at <= NOW + PLAUSIBLE.future_tolerance
        assert abs(made.published_at - (NOW - age)) <= max(abs(timedelta(hours=offset_h)), age)
        assert made.time_basis == ("fetch" if timedelta(hours=offset_h) - age > timedelta(minutes=5) else "publisher")


def test_a_leap_day_is_a_day_like_others() -> None:
    start = utc(2028, 2, 29)
    moments = [start + n * BUCKET for n in range(288)]
    assert {bucket_start(moment, 86_400) for moment in moments} == {start}
    assert bucket_start(start + timedelta(days=1), 86_400) == utc(2028, 3, 1)
    for text in ("2028-02-29T23:59:59Z", "Tue, 29 Feb 2028 23:59:59 GMT", "February 29, 2028 11:59:59 PM UTC"):
        assert parse_time(text) == utc(2028, 2, 29, 23, 59, 59)


@pytest.mark.parametrize("text", ["2027-02-29T12:00:00Z", "Mon, 29 Feb 2027 12:00:00 GMT", "February 29, 2027"])
def test_a_leap_day_that_never_was_is_not_believed(text: str) -> None:
    fetched_at = utc(2027, 3, 1, 8)
    made = _article(text, fetched_at)
    assert (made.published_at, made.time_basis) == (fetched_at, "fetch")


def test_the_year_ends_between_two_buckets() -> None:
    midnight = utc(2027, 1, 1)
    assert bucket_start(midnight - SECOND) == midnight - BUCKET
    assert {bucket_start(midnight, width_s) for width_s in RESOLUTIONS_S.values()} == {midnight}
    assert bucket_start(midnight - SECOND, 86_400) == utc(2026, 12, 31)
    for zone in ("Pacific/Kiritimati", "Pacific/Niue", "Asia/Kathmandu"):  # their years end at other times
        for text in (_iso(midnight.astimezone(ZoneInfo(zone))), format_datetime(midnight.astimezone(ZoneInfo(zone)))):
            assert parse_time(text) == midnight


def test_a_leap_second_is_counted_where_it_was_fetched() -> None:
    fetched_at = utc(2017, 1, 1, 0, 1)
    made = _article("Sat, 31 Dec 2016 23:59:60 GMT", fetched_at)
    assert (made.published_at, made.time_basis) == (fetched_at, "fetch")


@given(
    moment=st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.timezones()),  # noqa: DTZ001
    width_s=st.sampled_from(sorted(RESOLUTIONS_S.values())),
)
def test_buckets_are_half_open_and_each_moment_lies_in_one(moment: datetime, width_s: int) -> None:
    start = bucket_start(moment, width_s)
    width = timedelta(seconds=width_s)
    assert start <= moment < start + width
    assert start.utcoffset() == timedelta()
    assert bucket_start(start, width_s) == start
    assert bucket_start(start - timedelta(microseconds=1), width_s) == start - width
    assert bucket_start_s(moment, width_s) == int(start.timestamp())


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_finer_buckets_lie_within_coarser_ones(moment: datetime) -> None:
    for fine_s, coarse_s in pairwise(sorted(RESOLUTIONS_S.values())):
        assert bucket_start(bucket_start(moment, fine_s), coarse_s) == bucket_start(moment, coarse_s)


async def test_an_article_on_the_edge_is_counted_in_the_bucket_that_begins_there(store: Store) -> None:
    edges = [NOW - BUCKET, NOW - timedelta(microseconds=1), NOW]
    made = [_article(moment.isoformat(), guid=str(number)) for number, moment in enumerate(edges)]
    await store.articles.add([make_labelled(article=one) for one in made])
    rows = await store.articles.trends(kinds=["all"])
    assert [(row.start, row.articles) for row in rows] == [(NOW - BUCKET, 2), (NOW, 1)]
    (earlier,) = await store.articles.trends(kinds=["all"], since=NOW - BUCKET, until=NOW)
    assert earlier == rows[0]


async def test_a_late_article_amends_its_own_bucket_and_no_other(store: Store) -> None:
    await store.articles.add([make_labelled(article=_article(NOW.isoformat(), guid="now"))])
    late = _article((NOW - timedelta(days=2)).isoformat(), guid="late")
    await store.articles.add([make_labelled(article=late)])
    rows = await store.articles.trends(kinds=["all"])
    assert [(row.start, row.articles) for row in rows] == [(NOW - timedelta(days=2), 1), (NOW, 1)]
