"""Plays an archive through the same stages as the daemon's, on the archive's own clock."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from alerts.dispatch import Dispatch
from monitor import app
from monitor.clock import ManualClock, ScaledClock, SystemClock
from monitor.domain.record import utc
from monitor.domain.windows import BUCKET_S, bucket_start
from monitor.settings import Settings
from monitor.stage import Stage, Vital
from monitor.storage.articles import Articles
from pipelines.detect.stage import Detect
from pipelines.ingest.intake import Arrival, Intake, Taken
from pipelines.ingest.normalise import parse_time
from pipelines.ingest.source import Entry, Refused
from pipelines.ingest.sources.replay import read

_CHUNK = 500
_EARLIEST = utc(1990, 1, 1)

Chunk = tuple[list[Arrival], list[Refused]]


class Report(NamedTuple):
    """What became of an archive. `read` = `labelled` + `other_language` + `duplicates` + `dead_letters` + `expired`.

    `recovered`: articles that an earlier process had left on the bus, worked off before the first item was read.
    Units: `took_s` real seconds.
    """

    read: int
    labelled: int
    other_language: int
    duplicates: int
    dead_letters: int
    expired: int
    spikes: int
    recovered: int
    took_s: float

    @property
    def accounted(self) -> bool:
        kept = self.labelled + self.other_language + self.duplicates
        return self.read == kept + self.dead_letters + self.expired


class _Way:
    """The way in, counting."""

    def __init__(self, intake: Intake, progress: Callable[[int], None]) -> None:
        self._intake = intake
        self._progress = progress
        self.total = Taken(0, 0, 0)

    @property
    def read(self) -> int:
        return self.total.published + self.total.duplicates + self.total.refused + self.total.expired

    async def take(self, chunk: Chunk, now: datetime) -> None:
        self.total = self.total.plus(await self._intake.take(*chunk, now))
        self._progress(len(chunk[0]) + len(chunk[1]))


class _Line(NamedTuple):
    """The stages of a replay."""

    classify: Stage
    counts: app.Counts
    detect: Detect
    alerts: Stage
    dispatch: Dispatch

    @property
    def stages(self) -> list[Stage]:
        return [self.classify, self.counts.aggregate, self.counts.dead_letters]

    async def catch_up(self) -> None:
        for stage in self.stages:
            await stage.catch_up()


async def replay(
    settings: Settings,
    files: Sequence[Path],
    *,
    speed: float | None,
    deliver: bool,
    stop: asyncio.Event,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Plays the files in the order given, until their end or until `stop` is set.

    `speed` None: as fast as it goes; else so many times real time. `deliver` False: alerts are stored, not sent.
    Raises: BusyError, ConfigError, ModelError, FetchError, StoreError, BusError.
    """
    chunks = _chunks(files)
    first = next(chunks, ([], []))
    start = first[0][0].fetched_at if first[0] else _EARLIEST
    clock = ManualClock(start) if speed is None else ScaledClock(start, speed)
    async with AsyncExitStack() as stack:
        stack.enter_context(app.claim(settings.data_dir, app.STAGES))
        core = await stack.enter_async_context(app.open_core(settings, clock))
        channels = await stack.enter_async_context(app.build_channels(settings)) if deliver else {}
        alerts, dispatch = await app.build_alerts(core, channels, deliver=deliver)
        classify = await stack.enter_async_context(app.build_classify(core))
        line = _Line(classify, await app.build_counts(core), app.build_detect(core), alerts, dispatch)
        await line.catch_up()
        counts = line.counts.counted
        left_over = counts.snapshot()
        way = _Way(app.build_intake(core), progress)
        began = asyncio.get_running_loop().time()
        if isinstance(clock, ManualClock):
            wait = timedelta(seconds=settings.alerts.group_wait_s + settings.alerts.group_interval_s)
            await _at_full_speed(clock, first, chunks, way, line, core.store.articles, wait, stop)
            clock.set(clock.now() + wait)
            await dispatch.dispatch_once()
        else:
            pump = _Pump(clock, first, chunks, way, stop)
            await app.serve([pump, *line.stages, line.detect, alerts, dispatch], stop, drain_s=settings.daemon.drain_s)
        done = counts.snapshot()
        return Report(
            read=way.read,
            labelled=(done.stored - done.unlabelled) - (left_over.stored - left_over.unlabelled),
            other_language=done.unlabelled - left_over.unlabelled,
            duplicates=way.total.duplicates + done.duplicates - left_over.duplicates,
            dead_letters=way.total.refused + sum(stage.rejected for stage in line.stages),
            expired=way.total.expired,
            spikes=line.detect.stated,
            recovered=left_over.stored + left_over.duplicates,
            took_s=asyncio.get_running_loop().time() - began,
        )


async def _at_full_speed(
    clock: ManualClock,
    first: Chunk,
    rest: Iterator[Chunk],
    way: _Way,
    line: _Line,
    articles: Articles,
    wait: timedelta,
    stop: asyncio.Event,
) -> None:
    """Takes each chunk all the way, then looks at the trends as they stood at the end of its buckets with bad news.

    That is what a daemon would have seen then: it never looks at buckets that start later. `wait`: how long an alert
    may wait to be sent.
    """
    chunk: Chunk | None = first
    dispatch_until = clock.now()
    while chunk is not None and not stop.is_set():
        await way.take(chunk, chunk[0][-1].fetched_at if chunk[0] else clock.now())
        await line.catch_up()
        for start in await _worth_a_look(chunk[0], articles):
            clock.set(start + timedelta(seconds=BUCKET_S - 1))
            if await line.detect.tick(clock.now()):
                await line.alerts.catch_up()
                dispatch_until = clock.now() + wait
            if clock.now() <= dispatch_until:
                await line.dispatch.dispatch_once()
        chunk = next(rest, None)


async def _worth_a_look(arrivals: Sequence[Arrival], articles: Articles) -> list[datetime]:
    """Starts of the chunk's buckets that hold anything negative: without it no score rises."""
    starts = {bucket_start(arrival.fetched_at) for arrival in arrivals}
    if not starts:
        return []
    end = max(starts) + timedelta(seconds=BUCKET_S)
    return [start for start in await articles.buckets_with_negatives(min(starts), end) if start in starts]


class _Pump:
    """Hands items in when the clock reaches them."""

    name = "replay"

    def __init__(self, clock: ScaledClock, first: Chunk, rest: Iterator[Chunk], way: _Way, stop: asyncio.Event) -> None:
        self.vital = Vital(clock)
        self._clock = clock
        self._first = first
        self._rest = rest
        self._way = way
        self._stop = stop

    async def run(self) -> None:
        chunk: Chunk | None = self._first
        while chunk is not None:
            arrivals, refused = chunk
            await self._way.take(([], refused), self._clock.now())
            for arrival in arrivals:
                if await self._stopped_before(arrival.fetched_at):
                    return
                await self._way.take(([arrival], []), self._clock.now())
            chunk = next(self._rest, None)
        self._stop.set()

    async def _stopped_before(self, moment: datetime) -> bool:
        wait_s = (moment - self._clock.now()).total_seconds()
        if wait_s > 0 and not self._stop.is_set():
            waits = [asyncio.ensure_future(self._clock.sleep(wait_s)), asyncio.ensure_future(self._stop.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        return self._stop.is_set()

    async def drain(self) -> None:
        self._stop.set()


def _chunks(files: Sequence[Path]) -> Iterator[Chunk]:
    """The archive in pieces. An item counts as fetched when it was published.

    An item without a believable date (none, before 1990, or still to come) counts as fetched with its predecessor.
    """
    latest = SystemClock().now()
    last = _EARLIEST
    arrivals: list[Arrival] = []
    refused: list[Refused] = []
    for file in files:
        for item in read(file):
            if isinstance(item, Entry):
                published = parse_time(item.published)
                if published is not None and _EARLIEST <= published <= latest:
                    last = published
                arrivals.append(Arrival(item, item.source or file.name, last.astimezone(UTC)))
            else:
                refused.append(item)
            if len(arrivals) + len(refused) >= _CHUNK:
                yield arrivals, refused
                arrivals, refused = [], []
    if arrivals or refused:
        yield arrivals, refused
