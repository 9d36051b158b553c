"""Feeds shared out among copies: each is polled by one, and none for long by nobody."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest

from monitor.bus.bus import Bus
from monitor.clock import ManualClock, SystemClock
from monitor.errors import Reason, StoreError
from monitor.members import Members
from monitor.settings import IngestSettings
from monitor.storage.feeds import FeedState
from monitor.storage.leases import Leases
from monitor.storage.store import Store
from pipelines.ingest.intake import Intake
from pipelines.ingest.normalise import Plausibility
from pipelines.ingest.source import Cursor, Poll
from pipelines.ingest.sources.feed import Config
from pipelines.ingest.stage import Ingest
from tests.factories import NOW

SETTINGS = IngestSettings(interval_s=100, min_interval_s=0.1, jitter=0)
TTL_S = 10.0
FEEDS = [f"feed {number}" for number in range(12)]


class Quiet:
    """Has nothing new; keeps the cursors that it was asked with, and waits where a test says so."""

    def __init__(self) -> None:
        self.cursors: list[Cursor] = []
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def poll(self, cursor: Cursor) -> Poll:
        self.cursors.append(cursor)
        self.asked.set()
        await self.go_on.wait()
        return Poll((), {"etag": str(len(self.cursors))})


class Copy:
    """One ingest process."""

    def __init__(self, store: Store, bus: Bus, clock: ManualClock | SystemClock, leases: Leases) -> None:
        self.sources = {name: Quiet() for name in FEEDS}
        self.members = Members(leases, "ingest", "host:1", ttl_s=TTL_S)
        self.ingest = Ingest(
            {name: (Config(url=f"https://x.example/{name}"), source) for name, source in self.sources.items()},
            intake=Intake(bus, store, Plausibility(timedelta(days=30), timedelta(minutes=5))),
            store=store,
            clock=clock,
            settings=SETTINGS,
            members=self.members,
        )

    @contextmanager
    def scheduling(self) -> Iterator[None]:
        self.ingest._scheduler.start(paused=True)
        try:
            yield
        finally:
            self.ingest._scheduler.shutdown(wait=False)

    async def share(self) -> None:
        await self.ingest._share(self.members)

    @property
    def due(self) -> dict[str, float]:
        """When each of its feeds is polled next, in seconds from now."""
        return {job.id: (job.trigger.run_date - NOW).total_seconds() for job in self.ingest._scheduler.get_jobs()}


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # a scheduler has no event for it
        await asyncio.sleep(0.01)


@pytest.fixture
def machine() -> ManualClock:
    """The clock of the leases."""
    return ManualClock(NOW)


@pytest.fixture
async def pair(store: Store, bus: Bus, clock: ManualClock, machine: ManualClock) -> list[Copy]:
    leases = Leases(store._database, machine)
    copies = [Copy(store, bus, clock, leases) for _ in range(2)]
    for one in copies:
        await one.ingest._load_states()
    return copies


async def test_each_feed_is_one_copys_and_goes_on_with_the_other_where_it_was(
    pair: list[Copy], store: Store, machine: ManualClock
) -> None:
    polled_lately = FeedState("feed 3", "https://x.example/feed 3", {"etag": "7"}, NOW + timedelta(seconds=70))
    first, second = pair
    with ExitStack() as stack:
        for one in pair:
            stack.enter_context(one.scheduling())
        await first.share()
        assert set(first.due) == set(FEEDS)
        await second.share()
        await first.share()
        assert sorted([*first.due, *second.due]) == sorted(FEEDS)
        assert min(len(first.due), len(second.due)) >= 2

        await store.feeds.save(polled_lately)
        dead, left = (first, second) if "feed 3" in first.due else (second, first)
        machine.set(NOW + timedelta(seconds=TTL_S - 1))
        await left.share()
        assert "feed 3" not in left.due
        machine.set(NOW + timedelta(seconds=TTL_S + 0.1))  # the dead has not renewed; the other did a second ago
        await left.share()
        assert set(left.due) == set(FEEDS)
        assert left.due["feed 3"] == 70
        assert all(0 <= left.due[name] <= 3 for name in dead.due if name != "feed 3")
        await left.ingest.poll_once("feed 3")
        assert left.sources["feed 3"].cursors == [{"etag": "7"}]


async def test_a_feed_that_was_handed_over_is_not_polled_again_by_who_had_it(pair: list[Copy]) -> None:
    first, second = pair
    with first.scheduling(), second.scheduling():
        await first.share()
        await second.share()
        name = next(iter(second.due))  # the other's, which this one is still polling
        source = first.sources[name]
        source.go_on.clear()
        polling = asyncio.create_task(first.ingest._poll(name))
        await source.asked.wait()
        await first.share()
        source.go_on.set()
        await polling
        assert name not in first.due
        assert first.ingest.vital.detail == f"{len(first.due)} of 12 feeds are this copy's"


async def test_while_the_table_is_out_of_reach_everybody_keeps_what_is_theirs(
    pair: list[Copy], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair

    async def away(*_: object) -> bool:
        raise StoreError(Reason.STORAGE, "no server")

    with first.scheduling(), second.scheduling():
        for one in (first, second, first):
            await one.share()
        before = first.due
        with monkeypatch.context() as cut_off:
            cut_off.setattr(Leases, "renew", away)
            with pytest.raises(StoreError):
                await first.share()
        assert first.due == before
        await first.share()
        assert first.due == before


async def test_a_copy_that_drains_leaves_its_feeds_to_the_others_at_once(
    store: Store, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.ingest.stage._FIRST_POLLS_WITHIN_S", 0.0)
    monkeypatch.setattr("pipelines.ingest.stage._SHARE_S", 0.02)
    leases = Leases(store._database)
    first, second = (Copy(store, bus, SystemClock(), leases) for _ in range(2))
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(first.ingest.run())
        await _until(lambda: set(first.due) == set(FEEDS) and all(source.cursors for source in first.sources.values()))
        group.create_task(second.ingest.run())
        await _until(lambda: bool(second.due) and sorted([*first.due, *second.due]) == sorted(FEEDS))
        await first.ingest.drain()
        await running
        await _until(lambda: set(second.due) == set(FEEDS))
        # Carried over, not polled at once: each was polled a moment ago, and is due in 100 s.
        assert not any(source.cursors for source in second.sources.values())
        await second.ingest.drain()
    assert await leases.held("ingest/") == []


async def test_drained_before_it_runs_it_takes_no_feed(store: Store, bus: Bus) -> None:
    one = Copy(store, bus, SystemClock(), store.leases)
    await one.ingest.drain()
    async with asyncio.timeout(30):
        await one.ingest.run()
    assert not any(source.cursors for source in one.sources.values())
    assert await store.leases.held("") == []
