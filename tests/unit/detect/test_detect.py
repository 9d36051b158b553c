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
from monitor.domain.record import decode, fingerprint
from monitor.domain.spikes import Spike
from monitor.domain.windows import ALL, Key
from monitor.errors import BusError, Reason, StoreError
from monitor.settings import DetectSettings
from monitor.storage.store import Store
from pipelines.detect.detector import Counts, Detector
from pipelines.detect.detectors.negative_binomial import Config, build
from pipelines.detect.stage import Detect
from tests.factories import NOW
from tests.news import burst, calm, item

SETTINGS = DetectSettings(history_days=9)
TICK = timedelta(seconds=30)
TOPIC = Key("topic", "Financials")


def _detect(store: Store, bus: EmbeddedBus, detector: Detector | None = None, **overrides: Any) -> Detect:
    settings = SETTINGS.model_copy(update=overrides)
    taught = detector or build(Config())
    return Detect(lambda: taught, store=store, bus=bus, clock=ManualClock(NOW), settings=settings)


async def _published(bus: EmbeddedBus) -> list[Spike]:
    consumer = await bus.subscribe(Group.ALERTS)
    return [decode(Spike, message.value) for message in await consumer.poll(100, timeout_s=0)]


async def test_a_burst_is_stated_once(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add([*calm(8), *burst()])
    detect = _detect(store, bus)
    found = await detect.tick(NOW)
    assert [spike.key for spike in found] == [ALL, TOPIC]
    spike = found[0]
    assert (spike.observed, spike.sources, spike.state, spike.detected_at) == (12, 5, "firing", NOW)
    assert (spike.total >= 12, spike.expected < 3, len(spike.stories)) == (True, True, 12)
    assert spike.start < NOW - timedelta(minutes=20)
    for _ in range(4):
        assert await detect.tick(NOW + TICK) == []
    assert detect.stated == 2
    assert sorted(await _published(bus), key=lambda one: one.key) == sorted(found, key=lambda one: one.key)


async def test_a_calm_hour_and_an_empty_table_are_nothing(store: Store, bus: EmbeddedBus) -> None:
    assert await _detect(store, bus).tick(NOW) == []
    await store.articles.add([*calm(8), *burst(3)])
    assert await _detect(store, bus).tick(NOW) == []
    assert await _published(bus) == []


async def test_copies_of_one_story_are_no_burst(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add([*calm(8), *burst(40, story_id=fingerprint("one"))])
    assert await _detect(store, bus).tick(NOW) == []


async def test_busy_is_not_bad(store: Store, bus: EmbeddedBus) -> None:
    busy = [item(f"Results {n}", NOW - timedelta(minutes=n % 25), Sentiment.POSITIVE) for n in range(120)]
    await store.articles.add([*calm(8), *busy, *burst(6)])
    assert await _detect(store, bus).tick(NOW) == []


async def test_nothing_is_stated_before_the_warm_up_is_over(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add([*calm(6.9), *burst()])
    detect = _detect(store, bus)
    assert await detect.tick(NOW) == []
    later = NOW + timedelta(hours=6)
    await store.articles.add(burst(end=later))
    assert await detect.tick(later) != []
    assert await _detect(store, bus, warmup_h=200).tick(later) == []


async def test_an_old_archive_is_no_warm_up(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add([*calm(8, until=NOW - timedelta(days=900)), *burst()])
    assert await _detect(store, bus).tick(NOW) == []


async def test_evidence_must_be_enough_and_from_enough_sources(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add([*calm(8), *burst(source="one")])
    assert await _detect(store, bus, min_sources=9).tick(NOW) == []
    assert await _detect(store, bus, min_stories=40).tick(NOW) == []
    assert await _detect(store, bus).tick(NOW) != []


async def test_a_restart_states_nothing_again(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add([*calm(8), *burst()])
    assert len(await _detect(store, bus).tick(NOW)) == 2
    for later in (TICK, timedelta(minutes=20), timedelta(hours=3)):
        assert await _detect(store, bus).tick(NOW + later) == []
    assert len(await _published(bus)) == 2


async def test_a_spike_that_could_not_be_published_is_published_later(
    store: Store, bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.articles.add([*calm(8), *burst()])
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
    assert len(await _published(bus)) == 4


async def test_a_tick_that_could_not_be_saved_is_made_up_for(
    store: Store, bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the statement of a spike nor its end is lost."""
    await store.articles.add([*calm(8), *burst()])
    detect = _detect(store, bus)
    save, failing = store.spikes.save, True

    async def fails(*args: Any) -> set[str]:
        if failing:
            raise StoreError(Reason.STORAGE, "locked")
        return await save(*args)

    monkeypatch.setattr(store.spikes, "save", fails)
    with pytest.raises(StoreError):
        await detect.tick(NOW)
    failing = False
    assert len(await detect.tick(NOW + TICK)) == 2
    failing = True
    with pytest.raises(StoreError):
        await detect.tick(NOW + timedelta(hours=9))
    failing = False
    await detect.tick(NOW + timedelta(hours=9) + TICK)
    assert {spike.state for spike in await store.spikes.latest(limit=9)} == {"resolved"}


class Counting:
    """Remembers what it was taught."""

    version = "counting"

    def __init__(self) -> None:
        self.learned: list[dict[Key, Counts]] = []
        self._scores = build(Config())

    def learn(self, counts: Any) -> None:
        self.learned.append(dict(counts))

    def score(self, key: Key, window: Counts, observed_buckets: int) -> Any:
        return self._scores.score(key, window, observed_buckets)


async def test_every_bucket_is_learned_once_whatever_fails(
    store: Store, bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.articles.add([*calm(8), *burst()])
    detector = Counting()
    detect = _detect(store, bus, detector)
    trends, calls = store.articles.trends, 0

    async def sometimes(**asked: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise StoreError(Reason.STORAGE, "locked")
        return await trends(**asked)

    monkeypatch.setattr(store.articles, "trends", sometimes)
    for _ in range(20):
        try:
            await detect.tick(NOW)
        except StoreError:
            continue
    steady = Counting()
    monkeypatch.setattr(store.articles, "trends", trends)
    await _detect(store, bus, steady).tick(NOW)
    assert detector.learned == steady.learned
    assert sum(counts[ALL].labelled for counts in steady.learned) >= 48 * 8 - 7
    assert not [counts for counts in steady.learned if counts[ALL].negative > 1]  # the burst is too young


async def test_an_end_is_stated_once(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add([*calm(8), *burst()])
    detect = _detect(store, bus)
    await detect.tick(NOW)
    await detect.tick(NOW + timedelta(hours=1))
    assert {spike.state for spike in await store.spikes.latest(limit=9)} == {"firing"}
    await detect.tick(NOW + timedelta(hours=6))
    assert {spike.state for spike in await store.spikes.latest(limit=9)} == {"resolved"}


async def test_it_drains_before_it_runs_and_twice(store: Store, bus: EmbeddedBus) -> None:
    await store.articles.add([*calm(8), *burst()])
    detect = _detect(store, bus)
    await detect.drain()
    async with asyncio.timeout(5):
        await detect.run()
    assert detect.stated == 2
    running = _detect(store, bus)
    task = asyncio.ensure_future(running.run())
    await asyncio.sleep(0)
    await asyncio.gather(running.drain(), running.drain())
    await task
    assert (running.stated, running.vital.state) == (0, "ok")
