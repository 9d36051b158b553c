"""What every database keeps to: articles count once, and the trends are their sum."""

import asyncio
import itertools
import random
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from monitor.domain.labels import LabelledArticle, Sentiment, Topic
from monitor.domain.windows import RESOLUTIONS_S, Key, WindowStats, bucket_start
from monitor.errors import ConfigError
from monitor.storage import tables
from monitor.storage.database import Database, sqlite_url
from monitor.storage.store import Store
from tests.factories import NOW, make_article, make_label, make_labelled

_ON_A_SHARED_STORE = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

_labels = st.one_of(
    st.none(),
    st.builds(
        lambda topic, shares, version: make_label(
            topic={topic: 1.0},
            sentiment={sentiment: share / sum(shares) for sentiment, share in zip(Sentiment, shares, strict=True)},
            model_version=version,
        ),
        st.sampled_from([Topic.FINANCIALS, Topic.ENERGY]),
        st.tuples(*[st.integers(1, 99)] * 3),
        st.sampled_from(["one", "two"]),
    ),
)


def _labelled(number: int, source: str, age_s: int, label: Any) -> LabelledArticle:
    article = make_article(
        title=f"Story {number}", source=source, published_at=NOW - timedelta(seconds=age_s), url=None
    )
    return make_labelled(article=article, label=label)


@st.composite
def _deliveries(draw: st.DrawFn) -> tuple[list[LabelledArticle], list[list[LabelledArticle]]]:
    """Different articles, and the same in any order, with repeats, in batches."""
    count = draw(st.integers(1, 12))
    articles = [
        _labelled(number, draw(st.sampled_from(["a", "b"])), draw(st.integers(0, 200_000)), draw(_labels))
        for number in range(count)
    ]
    repeats = draw(st.lists(st.sampled_from(articles), max_size=8))
    order = draw(st.permutations([*articles, *repeats]))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)))) | {0, len(order)})
    return articles, [list(order[a:b]) for a, b in itertools.pairwise(cuts)]


async def _wipe(store: Store) -> None:
    async with store._database.write() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            await connection.execute(delete(table))


async def _trends(store: Store, resolution: str) -> list[WindowStats]:
    return sorted(await store.articles.trends(resolution=resolution), key=_place)


def _place(stats: WindowStats) -> tuple[datetime, Key]:
    return stats.start, stats.key


async def _assert_adds_up(store: Store) -> None:
    for resolution in RESOLUTIONS_S:
        recount = await store.recount(resolution, negative_from=0.25)
        assert sorted(recount.stored, key=_place) == sorted(recount.counted, key=_place)


def _rolled_up(rows: Sequence[WindowStats], width_s: int) -> dict[tuple[Key, datetime], tuple[int, ...]]:
    sums: dict[tuple[Key, datetime], tuple[int, ...]] = defaultdict(lambda: (0,) * 5)
    for row in rows:
        place = row.key, bucket_start(row.start, width_s)
        counts = (row.positive, row.neutral, row.negative, row.unlabelled, row.polarity_micro)
        sums[place] = tuple(a + b for a, b in zip(sums[place], counts, strict=True))
    return dict(sums)


@_ON_A_SHARED_STORE
@given(delivery=_deliveries())
async def test_any_delivery_of_the_same_articles_gives_the_same_trends(
    delivery: tuple[list[LabelledArticle], list[list[LabelledArticle]]], store: Store
) -> None:
    articles, batches = delivery
    await _wipe(store)
    assert await store.articles.add(articles) == articles
    expected = {resolution: await _trends(store, resolution) for resolution in RESOLUTIONS_S}

    await _wipe(store)
    new = [item for batch in batches for item in await store.articles.add(batch)]

    assert sorted(item.article.id for item in new) == sorted(item.article.id for item in articles)
    for resolution, rows in expected.items():
        assert await _trends(store, resolution) == rows
    await _assert_adds_up(store)
    for width_s in (3600, 86_400):
        assert _rolled_up(expected["5m"], width_s) == _rolled_up(expected["1h" if width_s == 3600 else "1d"], width_s)


async def test_an_article_added_twice_counts_once(store: Store) -> None:
    item = make_labelled()
    assert await store.articles.add([item, item]) == [item]
    assert await store.articles.add([item]) == []
    assert await store.articles.add([]) == []
    (total,) = await store.articles.trends(kinds=["all"])
    assert (total.negative, total.articles, total.polarity_micro) == (1, 1, -880_000)
    assert await store.articles.totals() == {"articles": 1, "labelled": 1, "unlabelled": 0}


async def test_a_newer_label_is_kept_and_not_counted(store: Store) -> None:
    first = make_labelled()
    newer = make_labelled(label=make_label(model_version="test-2", sentiment={Sentiment.POSITIVE: 1.0}))
    await store.articles.add([first])
    assert await store.articles.add([newer]) == []
    (headline,) = await store.articles.headlines(limit=9)
    assert (headline.sentiment, headline.model_version) == ("negative", "test-1")
    await _assert_adds_up(store)


async def test_an_article_comes_back_as_it_was_stored(store: Store) -> None:
    article = make_article(
        title="“Żółć” 🏦 ‮", guid="g" * 2000, declared_language="x" * 35, language="zh", summary="s" * 4000
    )
    await store.articles.add([make_labelled(article=article, label=None)])
    (headline,) = await store.articles.headlines(limit=1)
    assert headline.article == article
    assert headline[1:] == (None, None, None, None)


async def test_known_tells_which_of_many_ids_are_stored(store: Store) -> None:
    item = make_labelled()
    await store.articles.add([item])
    assert await store.articles.known([f"{number:032}" for number in range(1200)] + [item.article.id]) == {
        item.article.id
    }
    assert await store.articles.known([]) == set()


async def test_headlines_are_filtered_newest_first(store: Store) -> None:
    items = [_labelled(number, "ab"[number % 2], number * 60, make_label()) for number in range(4)]
    items.append(_labelled(4, "a", 240, make_label(topic={Topic.ENERGY: 1.0}, sentiment={Sentiment.POSITIVE: 1.0})))
    items.append(_labelled(5, "c", 300, None))
    await store.articles.add(items)

    async def titles(**filters: Any) -> list[str]:
        return [headline.article.title[-1] for headline in await store.articles.headlines(limit=9, **filters)]

    assert await titles() == list("012345")
    assert await titles(source="a") == list("024")
    assert await titles(topic="Energy | Oil") == await titles(sentiment="positive") == ["4"]
    assert await titles(since=NOW - timedelta(seconds=120)) == list("012")
    assert await titles(until=NOW - timedelta(seconds=120)) == list("345")
    assert await titles(source="c", sentiment="negative") == []
    assert [headline.article.title for headline in await store.articles.headlines(limit=1)] == ["Story 0"]


async def test_trends_are_filtered_and_cut(store: Store) -> None:
    await store.articles.add([_labelled(number, "a", number * 300, make_label()) for number in range(3)])
    rows = await store.articles.trends(kinds=["all"])
    assert [row.start for row in rows] == [NOW - timedelta(minutes=5 * back) for back in (2, 1, 0)]
    assert await store.articles.trends(kinds=["all"], newest_first=True, limit=1) == rows[-1:]
    assert await store.articles.trends(since=rows[1].start, until=rows[2].start, key="all") == [rows[1]]
    assert await store.articles.trends(kinds=[]) == []


async def test_retention_keeps_what_is_left_adding_up(store: Store) -> None:
    """The limit falls into the middle of a bucket: an article on either side of it."""
    await store.articles.add(
        [_labelled(number, "a", age_s, make_label()) for number, age_s in enumerate((30, 200, 900))]
    )
    days = await _trends(store, "1d")
    assert await store.articles.delete_before(NOW - timedelta(seconds=100)) == 1
    recount = await store.recount("5m", negative_from=0.25)
    assert sorted(recount.stored, key=_place) == sorted(recount.counted, key=_place)
    assert await _trends(store, "1d") == days
    assert (await store.articles.totals())["labelled"] == 2


async def test_times_come_back_in_utc_to_the_microsecond(store: Store) -> None:
    moment = NOW.replace(microsecond=123_456)
    abroad = make_article(published_at=moment.astimezone(datetime.fromisoformat("2026-01-01T00:00+09:00").tzinfo))
    await store.articles.add([make_labelled(article=abroad)])
    (headline,) = await store.articles.headlines(limit=1)
    assert headline.article.published_at == moment
    assert headline.article.published_at.utcoffset() == timedelta()
    assert await store.sightings.first_fetched_at() == abroad.fetched_at


async def test_writers_at_once_lose_and_double_nothing(database_url: str) -> None:
    """Two stores on one database, the same articles in opposite orders; some of the writers are cancelled."""
    articles = [_labelled(number, "ab"[number % 2], number * 40, make_label()) for number in range(60)]
    shared = await Store.open(database_url)
    stores = [shared, shared if ":memory:" in database_url else await Store.open(database_url)]
    try:
        chance = random.Random(1)
        writers = []
        for index in range(24):
            batch = chance.sample(articles, 30)
            writers.append(asyncio.ensure_future(stores[index % 2].articles.add(batch)))
            if index % 3 == 2 and ":memory:" not in database_url:  # its one connection would be lost
                asyncio.get_running_loop().call_later(chance.uniform(0, 0.02), writers[-1].cancel)
        results = await asyncio.gather(*writers, return_exceptions=True)
        assert {type(result) for result in results} <= {list, asyncio.CancelledError}
        for store in stores:
            await store.articles.add(articles)
            await _assert_adds_up(store)
        assert (await shared.articles.totals())["articles"] == 60
    finally:
        for store in stores:
            await store.aclose()


async def test_a_snapshot_does_not_see_what_is_written_meanwhile(store: Store, database_url: str) -> None:
    if ":memory:" in database_url:
        pytest.skip("a database in memory has one connection, so one transaction")
    await store.articles.add([_labelled(1, "a", 30, make_label())])
    articles = select(func.count()).select_from(tables.article)
    async with store._database.snapshot() as connection:
        before = await connection.scalar(articles)
        await store.articles.add([_labelled(2, "a", 30, make_label())])
        assert (before, await connection.scalar(articles)) == (1, 1)
    async with store._database.read() as connection:
        assert await connection.scalar(articles) == 2


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite:///x", "mysql+aiomysql://x/y", "postgresql+nodriver://x/y"])
async def test_an_unusable_url_is_a_mistake_in_the_configuration(url: str) -> None:
    with pytest.raises(ConfigError, match=r"database\.url"):
        await Database.open(url)


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.01, 0.02])
async def test_a_cancelled_write_leaves_nothing_locked(after_s: float, tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite3"
    store = await Store.open(sqlite_url(file))
    many = [make_labelled(article=make_article(title=f"Story {n}")) for n in range(400)]
    writing = asyncio.create_task(store.articles.add(many))
    await asyncio.wait([writing], timeout=after_s)
    writing.cancel()
    (outcome,) = await asyncio.gather(writing, return_exceptions=True)  # held on to, as a task group would
    with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    assert isinstance(outcome, asyncio.CancelledError | list)
    assert (await store.articles.totals())["articles"] in (0, 400)
    await store.aclose()
