"""Articles are looked at once, in one order, and what comes of it is written down once."""

import random
from datetime import datetime, timedelta

import pytest

from monitor.domain.labels import LabelledArticle, Sentiment
from monitor.domain.windows import ALL, Key
from monitor.storage.sightings import Added, Checkpoint, Looked
from monitor.storage.store import Store
from tests.factories import NOW, make_article, make_label, make_labelled, make_spike

LATER = NOW + timedelta(days=1)
MINUTE = timedelta(minutes=1)
BANK = Key("entity", "Northfield Bank")


def _fetched(title: str, at: datetime, sentiment: Sentiment = Sentiment.NEGATIVE) -> LabelledArticle:
    article = make_article(title=title, fetched_at=at, published_at=at - timedelta(hours=1), url=None)
    return make_labelled(article=article, label=make_label(sentiment={sentiment: 1.0}))


def _added(*sources: str, stories: int = 1) -> Added:
    return Added(0, 1, 0, 0, 5, stories, stories, frozenset(sources))


async def test_articles_are_looked_at_in_the_order_of_their_fetch(store: Store) -> None:
    news = [_fetched(f"{n}", NOW + n // 3 * MINUTE) for n in range(30)]
    shuffled = list(news)
    random.Random(3).shuffle(shuffled)
    for start in range(0, 30, 7):
        await store.articles.add(shuffled[start : start + 7])
    expected = sorted((one.article.fetched_at, one.article.published_at, one.article.id) for one in news)
    found = await store.sightings.unseen(LATER)
    assert [(one.fetched_at, one.published_at, one.id) for one in found] == expected
    assert {(one.sentiment, one.topic, one.negative, one.positive, one.seen) for one in found} == {
        ("negative", "Financials", 1.0, 0.0, None)
    }
    assert await store.sightings.unseen(NOW) == []
    assert await store.sightings.unseen(NOW + MINUTE) == found[:3]
    assert await store.sightings.first_fetched_at() == NOW


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 30])
async def test_what_one_fetch_brought_is_never_taken_apart(store: Store, limit: int) -> None:
    await store.articles.add([_fetched(f"{n}", NOW + n // 3 * MINUTE) for n in range(9)])
    seen = 0
    while found := await store.sightings.unseen(LATER, limit):
        last = max(one.fetched_at for one in found)
        rows = [(one.id, one.id, seen + n) for n, one in enumerate(found, start=1)]
        await store.sightings.save(Looked(rows, {}, [], []))
        seen += len(found)
        assert not [one for one in await store.sightings.unseen(LATER) if one.fetched_at == last]
    assert seen == 9
    again = await store.sightings.seen(limit=4) + await store.sightings.seen(after=4)
    assert [one.seen for one in again] == list(range(1, 10))
    assert [one.seen for one in await store.sightings.seen(after=2, upto=5)] == [3, 4, 5]
    assert [one.seen for one in await store.sightings.seen(since=NOW + 2 * MINUTE)] == [7, 8, 9]


async def test_an_article_without_a_label_is_looked_at_too(store: Store) -> None:
    await store.articles.add([make_labelled(label=None)])
    [found] = await store.sightings.unseen(LATER)
    assert (found.topic, found.sentiment, found.negative, found.positive) == (None, None, None, None)
    assert await store.sightings.bad_news(NOW - timedelta(days=9), LATER, 0.1) == []


async def test_bad_news_is_what_is_probable_enough(store: Store) -> None:
    shares = {Sentiment.NEUTRAL: 0.7, Sentiment.NEGATIVE: 0.3}
    doubtful = make_labelled(
        article=make_article(title="doubtful", fetched_at=NOW + MINUTE), label=make_label(sentiment=shares)
    )
    await store.articles.add([_fetched("bad", NOW), _fetched("good", NOW, Sentiment.POSITIVE), doubtful])
    assert sorted(await store.sightings.bad_news(NOW, LATER, 0.3)) == [NOW, NOW + MINUTE]
    assert await store.sightings.bad_news(NOW, LATER, 0.31) == [NOW]
    assert await store.sightings.bad_news(NOW, NOW, 0.3) == []


async def test_buckets_add_up_at_every_resolution_and_sources_count_once(store: Store) -> None:
    first, second = NOW, NOW + timedelta(minutes=5)
    await store.sightings.save(Looked([], {(first, BANK): _added("a", "b"), (first, ALL): _added("a")}, [], []))
    await store.sightings.save(Looked([], {(first, BANK): _added("b", "c"), (second, BANK): _added("a")}, [], []))
    rows = await store.articles.trends(kinds=["entity"])
    assert [(row.start, row.stories, row.sources, row.neutral) for row in rows] == [(first, 2, 3, 2), (second, 1, 1, 1)]
    for resolution in ("1h", "1d"):
        [row] = await store.articles.trends(resolution=resolution, key=BANK.name)
        assert (row.stories, row.negative_stories, row.sources, row.polarity_micro) == (3, 3, 3, 15)
    [everything] = await store.articles.trends(kinds=["all"])
    assert (everything.stories, everything.sources) == (1, 1)


async def test_spikes_are_stated_once_and_end_with_their_episode(store: Store) -> None:
    spike = make_spike()
    looked = Looked([], {}, [spike], [])
    assert await store.sightings.save(looked) == {spike.id}
    assert await store.sightings.save(looked) == set()
    await store.sightings.save(Looked([], {}, [], [(spike.key, spike.detected_at)]))  # of an episode before
    assert [found.state for found in await store.spikes.latest(limit=9)] == ["firing"]
    await store.sightings.save(Looked([], {}, [], [(spike.key, spike.detected_at + MINUTE)]))
    assert [found.state for found in await store.spikes.latest(limit=9)] == ["resolved"]


async def test_a_checkpoint_replaces_the_one_before(store: Store) -> None:
    assert await store.sightings.checkpoint("detect") is None
    for number in (1, 2):
        await store.sightings.save_checkpoint("detect", Checkpoint("v", number, bytes([number, 0, 255])))
    assert await store.sightings.checkpoint("detect") == Checkpoint("v", 2, b"\x02\x00\xff")
    assert await store.sightings.checkpoint("other") is None
