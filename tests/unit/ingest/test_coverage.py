"""What a poll tells of the time before it: heard, or missed."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.bus.bus import Bus
from monitor.clock import ManualClock
from monitor.errors import BusError, FetchError, Reason, StoreError
from monitor.settings import IngestSettings
from monitor.storage.store import Store
from pipelines.ingest.intake import Intake
from pipelines.ingest.normalise import Plausibility
from pipelines.ingest.source import Cursor, Entry, Poll, Source, SourceConfig
from pipelines.ingest.sources import feed, replay
from pipelines.ingest.stage import Ingest
from tests.factories import NOW

BUCKET = timedelta(minutes=5)
SETTINGS = IngestSettings(jitter=0)
CONFIG = feed.Config(url="https://news.example.com/feed")
DOWN = FetchError(Reason.SERVER_ERROR, "HTTP 500")
UNCHANGED = Poll((), {"etag": "1"}, modified=False)


class Feed:
    """Answers with what a test has put there."""

    def __init__(self) -> None:
        self.answer: Poll | Exception = UNCHANGED

    async def poll(self, cursor: Cursor) -> Poll:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Scene:
    """An ingest stage on a clock that each poll moves."""

    def __init__(self, store: Store, bus: Bus, clock: ManualClock) -> None:
        self.store, self.bus, self.clock = store, bus, clock
        self.feed = Feed()

    async def start(self, config: SourceConfig = CONFIG, *, name: str = "wire") -> None:
        """A process that starts: it remembers what the table does."""
        intake = Intake(self.bus, self.store, Plausibility(timedelta(days=30), timedelta(minutes=5)))
        feeds: dict[str, tuple[SourceConfig, Source]] = {name: (config, self.feed)}
        self.ingest = Ingest(feeds, intake=intake, store=self.store, clock=self.clock, settings=SETTINGS)
        await self.ingest._load_states()

    async def poll(self, at: datetime, answer: Poll | Exception = UNCHANGED) -> None:
        self.clock.set(at)
        self.feed.answer = answer
        await self.ingest.poll_once("wire")

    async def poll_every(self, step: timedelta, start: datetime, end: datetime, answer: Poll | Exception) -> None:
        while start <= end:
            await self.poll(start, answer)
            start += step

    async def missed(self, start: datetime, end: datetime) -> list[datetime]:
        exposure = await self.store.coverage.observed(start, end)
        assert all(bucket.expected == {"wire"} for bucket in exposure.values())
        return [start for start, bucket in exposure.items() if not bucket.heard]


@pytest.fixture
async def scene(store: Store, bus: Bus, clock: ManualClock) -> Scene:
    scene = Scene(store, bus, clock)
    await scene.start()
    return scene


def _poll(*published: datetime, **overrides: Any) -> Poll:
    entries = tuple(
        Entry(f"Story {moment}", "", None, None, moment.isoformat(), None, None, {}) for moment in published
    )
    return Poll(entries, {}, **overrides)


@pytest.mark.parametrize("failure", [DOWN, FetchError(Reason.UNREACHABLE, "no route"), None])
@pytest.mark.parametrize("restarted", [False, True])
async def test_an_outage_leaves_its_own_buckets_not_observed_and_the_backlog_changes_nothing(
    failure: Exception | None, restarted: bool, scene: Scene
) -> None:
    """Six hours in which the feed fails, or nobody asks; then the feed still holds what it missed."""
    began, ended = NOW + timedelta(hours=1), NOW + timedelta(hours=7)
    await scene.poll_every(BUCKET, NOW, began, UNCHANGED)
    if failure is not None:
        await scene.poll_every(timedelta(minutes=20), began + BUCKET, ended - BUCKET, failure)
    if restarted:
        await scene.start()
    backlog = _poll(*(began + n * timedelta(minutes=10) for n in range(36)))
    await scene.poll(ended, backlog)
    await scene.poll_every(BUCKET, ended + BUCKET, ended + timedelta(hours=1), backlog)
    missed = await scene.missed(NOW, ended + timedelta(hours=1))
    # The poll that ends it speaks for one interval.
    assert missed == [began + n * BUCKET for n in range(71)]


async def test_not_modified_is_heard(scene: Scene) -> None:
    await scene.poll_every(BUCKET, NOW, NOW + timedelta(hours=1), UNCHANGED)
    exposure = await scene.store.coverage.observed(NOW - 2 * BUCKET, NOW + timedelta(hours=1))
    assert [bucket.share for bucket in exposure.values()] == [None, *[1.0] * 13]


async def test_a_feed_that_only_ever_failed_is_not_known_to_exist(scene: Scene) -> None:
    await scene.poll_every(BUCKET, NOW, NOW + timedelta(hours=1), DOWN)
    assert await scene.store.coverage.bounds() is None


@pytest.mark.parametrize(("gap_min", "missed"), [(6, 0), (14, 0), (15, 0), (16, 1), (20, 2), (31, 4)])
async def test_a_poll_speaks_for_the_time_since_the_last_if_that_was_short(
    gap_min: int, missed: int, scene: Scene
) -> None:
    """Buckets of which some part was heard count as heard."""
    await scene.poll(NOW + timedelta(minutes=1))
    later = NOW + timedelta(minutes=1 + gap_min)
    if gap_min > 10:
        await scene.poll(later - BUCKET, DOWN)
    await scene.poll(later)
    assert len(await scene.missed(NOW, later)) == missed


async def test_a_slow_feed_is_heard_throughout(scene: Scene) -> None:
    """Whether it is slow by its own word, or by ours."""
    await scene.start(feed.Config(url=CONFIG.url, interval_s=3600))
    await scene.poll_every(timedelta(hours=1), NOW, NOW + timedelta(hours=3), UNCHANGED)
    asks_for_patience = _poll(next_at=NOW + timedelta(hours=9))
    await scene.poll(NOW + timedelta(hours=5), asks_for_patience)  # one that was left out does not matter
    await scene.start()
    await scene.poll(NOW + timedelta(hours=9))  # no longer, as it says now; but it was told to wait
    assert await scene.missed(NOW, NOW + timedelta(hours=9)) == []


async def test_a_clock_set_back_or_far_ahead_covers_one_interval(scene: Scene) -> None:
    await scene.poll(NOW)
    for leap in (timedelta(days=2), timedelta(days=-1)):
        await scene.poll(NOW + leap)
    assert len(await scene.missed(NOW - timedelta(days=1), NOW + timedelta(days=2))) == 3 * 288 - 1 - 1


async def test_an_archive_that_is_read_again_shows_no_exposure(scene: Scene) -> None:
    await scene.start(replay.Config(path=Path("archive.jsonl")))
    await scene.poll(NOW, _poll(NOW - timedelta(days=3)))
    assert await scene.store.coverage.bounds() is None


async def test_who_is_no_longer_polled_is_no_longer_expected(scene: Scene) -> None:
    await scene.poll_every(BUCKET, NOW, NOW + 2 * BUCKET, UNCHANGED)
    await scene.poll(NOW + 3 * BUCKET, FetchError(Reason.GONE, "HTTP 410"))
    parked = await scene.store.coverage.observed(NOW, NOW + 6 * BUCKET)
    assert [bucket.share for bucket in parked.values()] == [1, 1, None, None, None, None]

    await scene.start(feed.Config(url="https://news.example.com/other"))
    await scene.poll(NOW + 5 * BUCKET)
    await scene.start(name="another")
    removed = await scene.store.coverage.observed(NOW, NOW + 6 * BUCKET)
    assert [bucket.share for bucket in removed.values()] == [1, 1, None, None, 1, None]


async def test_what_could_not_be_handed_on_was_not_heard(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise BusError(Reason.STORAGE_FULL, "full")

    with monkeypatch.context() as patched:
        patched.setattr(scene.bus, "publish", full)
        with pytest.raises(BusError):
            await scene.poll(NOW, _poll(NOW))
    assert await scene.store.coverage.bounds() is None


async def test_a_poll_is_not_over_before_its_coverage_is_kept(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def locked(*_: object) -> None:
        raise StoreError(Reason.STORAGE, "locked")

    await scene.poll(NOW)
    with monkeypatch.context() as patched:
        patched.setattr(scene.store.coverage, "heard", locked)
        with pytest.raises(StoreError):
            await scene.poll(NOW + BUCKET)
    assert (await scene.store.feeds.all())["wire"].last_success_at == NOW
    await scene.poll(NOW + 2 * BUCKET)
    assert await scene.missed(NOW, NOW + 2 * BUCKET) == []
