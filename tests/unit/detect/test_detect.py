"""A tick over the tables: a burst is stated once, whatever fails or restarts in between."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from monitor.bus.bus import Message
from monitor.bus.embedded import EmbeddedBus
from monitor.bus.streams import Group, Stream
from monitor.clock import ManualClock
from monitor.domain.labels import Sentiment
from monitor.domain.record import decode
from monitor.domain.spikes import Spike
from monitor.domain.windows import ALL, Key
from monitor.errors import BusError, Reason, StoreError
from monitor.settings import DetectSettings
from monitor.storage.store import Store
from pipelines.detect import stage
from pipelines.detect.detectors.gamma_poisson import Config, build
from pipelines.detect.stage import Detect
from pipelines.detect.watch import Watch
from tests.factories import NOW
from tests.news import burst, calm, item, told

TICK = timedelta(seconds=30)
TOPIC = Key("topic", "Financials")
SETTINGS = DetectSettings(keys=frozenset({"all", "topic"}))


def _detect(store: Store, bus: EmbeddedBus, *, warmup_days: float = 7, **overrides: Any) -> Detect:
    settings = SETTINGS.model_copy(update=overrides)
    return Detect(
        lambda: Watch(build(Config(warmup_days=warmup_days)), settings),
        store=store,
        bus=bus,
        clock=ManualClock(NOW),
        settings=settings,
    )


async def _published(bus: EmbeddedBus) -> list[Spike]:
    consumer = await bus.subscribe(Group.ALERTS)
    return [decode(Spike, message.value) for message in await consumer.poll(100, timeout_s=0)]


async def test_a_burst_is_stated_once(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add([*calm(9), *burst()])
    detect = _detect(store, bus)
    found = await detect.tick(NOW)
    assert [spike.key for spike in found] == [ALL, TOPIC]
    spike = found[0]
    assert (spike.observed, spike.state) == (len(spike.stories), "firing")
    assert spike.high is not None
    assert spike.expected < spike.high < spike.observed <= spike.total
    assert spike.start < spike.detected_at < spike.end <= NOW + timedelta(minutes=5)
    assert spike.end - spike.start == timedelta(seconds=spike.horizon_s or 0)
    assert all(spike.start <= story.published_at <= spike.detected_at for story in spike.stories)
    assert spike.sources == len({story.source for story in spike.stories})
    for _ in range(4):
        assert await detect.tick(NOW + TICK) == []
    assert detect.stated == 2
    assert sorted(await _published(bus), key=lambda one: one.key) == sorted(found, key=lambda one: one.key)


async def test_it_is_stated_by_the_article_that_made_it_one(store: Store, bus: EmbeddedBus) -> None:
    """However late the tick, and however the articles were shared out to ticks."""
    news = sorted([*calm(9), *burst()], key=lambda one: one.article.fetched_at)
    await store.articles.add(news)
    at_once = await _detect(store, bus).tick(NOW + timedelta(hours=5))
    other = await Store.open("sqlite+aiosqlite://")
    try:
        one_by_one = []
        detect = _detect(other, bus)
        for article in news:
            await other.articles.add([article])
            if article.article.fetched_at > NOW - timedelta(hours=2):
                one_by_one += await detect.tick(article.article.fetched_at + TICK)
        assert one_by_one == at_once != []
        assert await other.articles.trends() == await store.articles.trends()
    finally:
        await other.aclose()


async def test_a_calm_hour_and_an_empty_table_are_nothing(store: Store, bus: EmbeddedBus) -> None:
    assert await _detect(store, bus).tick(NOW) == []
    await store.articles.add([*calm(9), *burst(3)])
    assert await _detect(store, bus).tick(NOW) == []
    assert await _published(bus) == []


async def test_copies_of_one_story_are_no_burst(store: Store, bus: EmbeddedBus) -> None:
    copies = [
        item("Northfield Bank halts withdrawals", NOW - timedelta(minutes=n % 30), Sentiment.NEGATIVE, source=f"s{n}")
        for n in range(40)
    ]
    await store.articles.add([*calm(9), *copies])
    assert await _detect(store, bus).tick(NOW + TICK) == []
    [day] = await store.articles.trends(resolution="1d", key="Northfield Bank", kinds=["entity"])
    assert (day.articles, day.stories, day.negative_stories, day.sources) == (40, 1, 1, 40)
    articles = [headline.article for headline in await store.articles.headlines(limit=99)]
    assert len({article.story_id for article in articles if "Northfield" in article.title}) == 1


async def test_busy_is_not_bad(store: Store, bus: EmbeddedBus) -> None:
    busy = [item(told("busy", n), NOW - timedelta(minutes=n % 25), Sentiment.POSITIVE) for n in range(120)]
    await store.articles.add([*calm(9), *busy, *burst(4)])
    assert await _detect(store, bus).tick(NOW) == []


async def test_nothing_is_stated_before_the_warm_up_is_over(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add([*calm(6.9), *burst()])
    detect = _detect(store, bus)
    assert await detect.tick(NOW) == []
    later = NOW + timedelta(hours=6)
    await store.articles.add(burst(end=later))
    assert await detect.tick(later) != []


async def test_evidence_must_be_enough_and_from_enough_sources(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add([*calm(9), *burst(source="one")])
    assert await _detect(store, bus, min_sources=2).tick(NOW) == []
    other = await Store.open("sqlite+aiosqlite://")
    try:
        await other.articles.add([*calm(9), *burst()])
        found = await _detect(other, bus, min_sources=3).tick(NOW)
        assert found
        assert all(spike.sources >= 3 for spike in found)
    finally:
        await other.aclose()


async def test_a_probable_enough_negative_is_bad_news(store: Store, bus: EmbeddedBus) -> None:
    shares = {Sentiment.NEUTRAL: 0.6, Sentiment.NEGATIVE: 0.4}
    doubtful = [
        one.model_copy(update={"label": one.label and one.label.model_copy(update={"sentiment": shares})})
        for one in burst()
    ]
    await store.articles.add([*calm(9), *doubtful])
    assert await _detect(store, bus, negative_from=0.41).tick(NOW) == []
    other = await Store.open("sqlite+aiosqlite://")
    try:
        await other.articles.add([*calm(9), *doubtful])
        found = await _detect(other, bus, negative_from=0.4).tick(NOW)
        assert {story.probability for spike in found for story in spike.stories} == {0.4}
    finally:
        await other.aclose()


@pytest.mark.parametrize("every", [5_000, 100])
async def test_a_restart_in_the_middle_changes_nothing(
    store: Store, bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.setattr(stage, "_CHECKPOINT_EVERY", every)
    news = [*calm(9), *burst(end=NOW - timedelta(hours=30)), *burst(20)]
    await store.articles.add(news)
    undisturbed = await _detect(store, bus).tick(NOW)
    other = await Store.open("sqlite+aiosqlite://")
    try:
        await other.articles.add(news)
        found = []
        for hours in (150, 60, 31, 29, 1, 0):
            found += await _detect(other, bus).tick(NOW - timedelta(hours=hours))  # each a new process
        assert found == undisturbed != []
        assert await other.articles.trends() == await store.articles.trends()
    finally:
        await other.aclose()


async def test_a_restart_states_nothing_again(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add([*calm(9), *burst()])
    assert len(await _detect(store, bus).tick(NOW)) == 2
    for later in (TICK, timedelta(minutes=20), timedelta(hours=3)):
        assert await _detect(store, bus).tick(NOW + later) == []
    assert len(await _published(bus)) == 2


async def test_another_version_learns_from_the_tables(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add(calm(9))
    first = _detect(store, bus)
    await first.tick(NOW)
    await first.drain()
    await first.run()  # leaves a checkpoint
    await store.articles.add(burst(end=NOW + timedelta(hours=1)))
    assert await _detect(store, bus, warmup_days=6).tick(NOW + timedelta(hours=1)) != []


async def test_a_spike_that_could_not_be_published_is_published_later(
    store: Store, bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.articles.add([*calm(9), *burst()])
    publish, failing = bus.publish, True

    async def fails(stream: Stream, messages: Sequence[Message]) -> None:
        if failing:
            raise BusError(Reason.STORAGE_FULL, "full")
        await publish(stream, messages)

    monkeypatch.setattr(bus, "publish", fails)
    first = _detect(store, bus)
    with pytest.raises(BusError):
        await first.tick(NOW)
    failing = False
    assert await first.tick(NOW + TICK) == []
    assert len(await _published(bus)) == 2

    failing = True
    later = NOW + timedelta(days=2)
    await store.articles.add(burst(30, end=later))
    with pytest.raises(BusError):
        await first.tick(later)
    failing = False
    assert await _detect(store, bus).tick(later + TICK) == []  # after a restart as well
    states = [spike.state for spike in await _published(bus)]
    assert (states.count("firing"), states.count("resolved")) == (4, 2)


async def test_a_tick_that_could_not_be_saved_is_made_up_for(
    store: Store, bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.articles.add([*calm(9), *burst()])
    detect = _detect(store, bus)
    save, failing = store.sightings.save, True

    async def fails(*args: Any) -> set[str]:
        if failing:
            raise StoreError(Reason.STORAGE, "locked")
        return await save(*args)

    monkeypatch.setattr(store.sightings, "save", fails)
    with pytest.raises(StoreError):
        await detect.tick(NOW)
    assert await store.sightings.seen() == []
    failing = False
    assert len(await detect.tick(NOW + TICK)) == 2


async def test_an_end_is_stated_once_when_time_has_gone_on(
    store: Store, bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the articles that come, or by the clock, once none have come for a while."""
    monkeypatch.setattr(stage, "_QUIET_S", 0.0)
    await store.articles.add([*calm(9), *burst()])
    detect = _detect(store, bus)
    await detect.tick(NOW)
    await detect.tick(NOW + timedelta(hours=1))
    assert {spike.state for spike in await store.spikes.latest(limit=9)} == {"firing"}
    assert set(await store.spikes.firing()) == {ALL, TOPIC}
    for _ in range(2):
        await detect.tick(NOW + timedelta(hours=6))
    assert {spike.state for spike in await store.spikes.latest(limit=9)} == {"resolved"}
    assert await store.spikes.firing() == {}


async def test_it_drains_before_it_runs_and_twice(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add([*calm(9), *burst()])
    detect = _detect(store, bus)
    await detect.drain()
    async with asyncio.timeout(30):
        await detect.run()
    assert detect.stated == 2
    running = _detect(store, bus)
    task = asyncio.ensure_future(running.run())
    await asyncio.sleep(0)
    await asyncio.gather(running.drain(), running.drain())
    await task
    assert (running.stated, running.vital.state) == (0, "ok")
