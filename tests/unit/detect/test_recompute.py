"""Spikes made again from the tables: equal to what was stated, until someone changes the tables."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update

from monitor.bus.embedded import EmbeddedBus
from monitor.clock import ManualClock
from monitor.domain.labels import LabelledArticle, Sentiment
from monitor.domain.spikes import Spike
from monitor.settings import DetectSettings
from monitor.storage import tables as t
from monitor.storage.database import MEMORY, Database
from monitor.storage.store import Store
from pipelines.detect.detectors.gamma_poisson import Config, build
from pipelines.detect.order import looked_at
from pipelines.detect.recompute import recount, replay
from pipelines.detect.stage import Detect
from pipelines.detect.watch import Watch
from tests.factories import NOW
from tests.news import burst, calm, item, told

SETTINGS = DetectSettings()
FROM = SETTINGS.negative_from
EAGER = Config(warmup_days=0, theta=0.5, per_week=1000, min_stories=1)


def _watch(config: Config) -> Watch:
    return Watch(build(config), SETTINGS)


async def _play(store: Store, ticks: Sequence[datetime], config: Config) -> list[Spike]:
    """All that is stated, by looks at these moments."""
    bus = await EmbeddedBus.open(None, partitions=1, retention=timedelta(hours=1), clock=ManualClock(NOW))
    try:
        detect = Detect(lambda: _watch(config), store=store, bus=bus, clock=ManualClock(NOW), settings=SETTINGS)
        return [spike for moment in ticks for spike in await detect.tick(moment)]
    finally:
        await bus.aclose()


async def _change(store: Store, *statements: Any) -> None:
    database: Database = store._database
    async with database.write() as connection:
        for statement in statements:
            await connection.execute(statement)


async def _stated(store: Store) -> Spike:
    """The spike on all news of a burst, with what came after it in the tables too."""
    later = burst(3, end=NOW + timedelta(hours=1))
    await store.articles.add([*calm(9), *burst(), *later])
    found = await _play(store, [NOW, NOW + timedelta(hours=2)], Config())
    return found[0]


_MINUTES = st.integers(0, 40 * 60)
_ARTICLE = st.tuples(
    _MINUTES,
    st.integers(0, 90),  # minutes from publication to fetch
    st.integers(0, 11),  # story
    st.sampled_from(("wire", "desk", "ledger")),
    st.sampled_from((Sentiment.NEGATIVE, Sentiment.NEGATIVE, Sentiment.POSITIVE)),
)


def _articles(drawn: Sequence[tuple[int, int, int, str, Sentiment]]) -> list[LabelledArticle]:
    start = NOW - timedelta(hours=41)
    found = []
    for number, (minute, late, story, source, sentiment) in enumerate(drawn):
        # Few instants, so that fetches bring several.
        published = start + timedelta(minutes=minute // 10 * 10)
        one = item(f"Northfield {told(story)}", published, sentiment, source=source, guid=str(number))
        fetched = published + timedelta(minutes=late // 15 * 15)
        found.append(one.model_copy(update={"article": one.article.model_copy(update={"fetched_at": fetched})}))
    return found


@given(st.lists(_ARTICLE, min_size=20, max_size=60), st.lists(_MINUTES, min_size=1, max_size=4), st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_whatever_came_every_spike_recomputes_as_equal(drawn: list[Any], looks: list[int], every: int) -> None:
    """Though some were stored only after others that were fetched later had been looked at."""

    async def go() -> None:
        store = await Store.open(MEMORY)
        try:
            articles = _articles(drawn)
            behind = articles[::every] if every > 1 else []
            await store.articles.add([article for article in articles if article not in behind])
            start = NOW - timedelta(hours=41)
            spikes = await _play(store, [start + timedelta(minutes=minute) for minute in sorted(looks)], EAGER)
            await store.articles.add(behind)
            spikes += await _play(store, [NOW + timedelta(hours=2)], EAGER)
            assume(spikes)
            for spike in spikes:
                counted = await recount(store, spike, negative_from=FROM)
                assert counted.differences == []
                again = await replay(store, spike, _watch(EAGER), upto=counted.counted.upto)
                assert (again.spike, again.differences) == (spike, [])
        finally:
            await store.aclose()

    asyncio.run(go())


async def test_a_burst_recomputes_as_equal_though_more_has_come_since(store: Store) -> None:
    spike = await _stated(store)
    assert spike.observed > 2
    counted = await recount(store, spike, negative_from=FROM)
    assert (counted.differences, counted.why) == ([], [])
    assert counted.counted.stories == spike.stories
    done: list[int] = []
    again = await replay(store, spike, _watch(Config()), upto=counted.counted.upto, progress=done.append)
    assert (again.spike, again.differences, again.why) == (spike, [], [])
    assert done[-1] == again.articles == counted.counted.upto


async def test_a_label_that_was_changed_is_told(store: Store) -> None:
    spike = await _stated(store)
    changed = spike.stories[0]
    await _change(store, update(t.label).where(t.label.c.article_id == changed.article_id).values(negative=0.5))
    found = await recount(store, spike, negative_from=FROM)
    [difference] = found.differences
    assert difference == (f"story {changed.article_id[:8]}: probability", changed.probability, 0.5)
    assert "another label" in found.why[0]

    await _change(store, update(t.label).where(t.label.c.article_id == changed.article_id).values(negative=0.0))
    found = await recount(store, spike, negative_from=FROM)
    told_of = {one.what: (one.stated, one.recomputed) for one in found.differences}
    assert told_of["observed"] == (spike.observed, spike.observed - 1)
    assert told_of[f"story {changed.article_id[:8]}"] == (changed.title, None)
    again = await replay(store, spike, _watch(Config()), upto=found.counted.upto)
    assert again.spike != spike
    assert again.differences


async def test_articles_that_are_gone_are_told(store: Store) -> None:
    spike = await _stated(store)
    gone = [story.article_id for story in spike.stories[:2]]
    await _change(
        store, delete(t.label).where(t.label.c.article_id.in_(gone)), delete(t.article).where(t.article.c.id.in_(gone))
    )
    found = await recount(store, spike, negative_from=FROM)
    told_of = {one.what: (one.stated, one.recomputed) for one in found.differences}
    assert told_of["observed"] == (spike.observed, spike.observed - 2)
    assert told_of["total"] == (spike.total, spike.total - 2)
    assert "2 of the" in found.why[0]
    assert "no longer stored" in found.why[0]
    again = await replay(store, spike, _watch(Config()), upto=found.counted.upto)
    assert any("no longer stored" in reason for reason in again.why)


async def test_one_without_any_article_left_is_told(store: Store) -> None:
    spike = await _stated(store)
    await _change(store, delete(t.label), delete(t.article))
    found = await recount(store, spike, negative_from=FROM)
    assert (found.counted.observed, found.counted.stories) == (0, ())
    again = await replay(store, spike, _watch(Config()), upto=found.counted.upto)
    assert again.spike is None
    assert again.differences[0] == ("stated", True, False)


async def test_a_source_that_was_renamed_is_told(store: Store) -> None:
    spike = await _stated(store)
    await _change(store, update(t.article).where(t.article.c.id == spike.stories[0].article_id).values(source="nobody"))
    found = await recount(store, spike, negative_from=FROM)
    assert f"story {spike.stories[0].article_id[:8]}: source" in {one.what for one in found.differences}
    assert found.why


async def test_another_detector_says_that_it_is_another(store: Store) -> None:
    spike = await _stated(store)
    counted = await recount(store, spike, negative_from=FROM)
    again = await replay(store, spike, _watch(Config(theta=50)), upto=counted.counted.upto)
    assert again.spike is None
    assert again.differences == [("stated", True, False)]  # the score is the same; it is not high enough there
    assert "gamma_poisson-1(theta=50.0)" in again.why[0]


@pytest.mark.parametrize("together", [1, 7, 1000])
async def test_those_of_one_fetch_come_together_and_in_order(
    store: Store, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr("pipelines.detect.order._TOGETHER", together)
    await store.articles.add([*calm(2), *(item(told("at once", n), NOW, Sentiment.NEUTRAL) for n in range(9))])
    await _play(store, [NOW + timedelta(hours=1)], Config())
    batches = [articles async for articles in looked_at(store.sightings)]
    assert [article.seen for batch in batches for article in batch] == list(range(1, 106))
    ends = [batch[-1].fetched_at for batch in batches]
    assert len(set(ends)) == len(ends)
    assert len(batches[-1]) >= 9


async def test_an_outage_of_polled_feeds_is_remembered_by_the_tables(store: Store) -> None:
    from_, until = NOW - timedelta(hours=20), NOW - timedelta(hours=14)
    heard = [one for one in calm(9) if not from_ <= one.article.fetched_at < until]
    await store.articles.add([*heard, *burst()])
    for source in (f"wire {n}" for n in range(5)):
        await store.coverage.heard(source, NOW - timedelta(days=9), from_)
        await store.coverage.heard(source, until, NOW + timedelta(hours=1))
    spikes = await _play(store, [NOW - timedelta(hours=hours) for hours in range(30, -1, -1)], Config())
    assert spikes
    for spike in spikes:
        counted = await recount(store, spike, negative_from=FROM)
        again = await replay(store, spike, _watch(Config()), upto=counted.counted.upto)
        assert (counted.differences, again.differences) == ([], [])
    unpolled = await Store.open(MEMORY)
    try:
        await unpolled.articles.add([*heard, *burst()])
        [other, *_] = await _play(unpolled, [NOW], Config())
        assert other.expected != spikes[0].expected, "what was observed matters"
    finally:
        await unpolled.aclose()
