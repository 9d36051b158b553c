"""Plays an archive through the same stages as the daemon's, on the archive's own clock."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from monitor import app
from monitor.alerting import build_channels
from monitor.bus.bus import Bus
from monitor.bus.streams import Group
from monitor.claims import claim
from monitor.clock import ManualClock, ScaledClock, SystemClock
from monitor.domain.record import utc
from monitor.domain.windows import BUCKET_S, bucket_start
from monitor.leader import Lead, this_process
from monitor.line import Line
from monitor.settings import Settings
from monitor.stage import Component, Stage, Vital
from monitor.storage.store import Store
from pipelines.aggregate.stage import Counted
from pipelines.ingest.intake import Arrival, Intake, Taken
from pipelines.ingest.normalise import parse_time
from pipelines.ingest.source import Entry, Refused
from pipelines.ingest.sources.replay import read

log = structlog.get_logger(__name__)

_CHUNK = 500
_EARLIEST = utc(1990, 1, 1)
_LATEST = utc(9999, 1, 1)
_LOOK_S = 0.05
_SILENT_S = 10.0

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


class _Middle(Protocol):
    """Who labels and counts what was taken in; `stages`: those of them that run in this process."""

    @property
    def stages(self) -> Sequence[Stage]: ...

    async def settle(self) -> None:
        """Returns when everything on the bus has been labelled, counted and stored, or the replay was stopped."""
        ...

    async def counted(self) -> Counted:
        """What was stored since this process began."""
        ...


class _Here:
    """Classify and aggregate in this process."""

    def __init__(self, classify: Stage, counts: app.Counts) -> None:
        self.stages = [classify, counts.aggregate, counts.dead_letters]
        self._counts = counts

    async def settle(self) -> None:
        for stage in self.stages:
            await stage.catch_up()

    async def counted(self) -> Counted:
        return self._counts.counted.snapshot()


class _Elsewhere:
    """Classify and aggregate in processes of their own, which publish and store before they commit: once a group has
    nothing more to commit, all that came of it is in front of the next.
    """

    stages: Sequence[Stage] = ()

    def __init__(self, bus: Bus, store: Store, way: _Way, before: dict[str, int], stop: asyncio.Event) -> None:
        self._stop = stop
        self._bus = bus
        self._store = store
        self._way = way
        self._before = before
        self._recovered: int | None = None

    async def settle(self) -> None:
        for group in (Group.CLASSIFY, Group.AGGREGATE, Group.DEAD_LETTERS):
            await self._none_waits(group)

    async def _none_waits(self, group: Group) -> None:
        now = asyncio.get_running_loop().time
        least, moved_at = -1, now()
        while (waiting := await self._bus.lag(group)) and not self._stop.is_set():
            if waiting < least or least < 0:
                least, moved_at = waiting, now()
            elif now() - moved_at > _SILENT_S:
                stage = Group.AGGREGATE if group is Group.DEAD_LETTERS else group
                log.warning("replay_waits", group=group, messages=waiting, remedy=f"start: monitor run {stage}")
                moved_at = now()
            await asyncio.sleep(_LOOK_S)

    async def counted(self) -> Counted:
        """What came of a record that another process could not read is not seen from here: it counts as a duplicate."""
        totals = await self._store.articles.totals()
        stored = totals["articles"] - self._before["articles"]
        unlabelled = totals["unlabelled"] - self._before["unlabelled"]
        if self._recovered is None:
            self._recovered = stored
        return Counted(stored, unlabelled, self._way.total.published - (stored - self._recovered))


async def replay(
    settings: Settings,
    files: Sequence[Path],
    *,
    speed: float | None,
    deliver: bool,
    silent: bool = False,
    stop: asyncio.Event,
    ahead: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Plays the files in the order given, until their end or until `stop` is set.

    `speed` None: as fast as it goes; else so many times real time. `deliver` False: alerts are stored, not sent.
    `silent`: they are decided on as the daemon does, and sent to nobody.
    `ahead`: classify and aggregate run elsewhere, and get at least so many items, or all, before they are waited for;
    None: they run in this process. Other copies of detect and alerts stand by meanwhile.
    Raises: BusyError, ConfigError, ModelError, FetchError, StoreError, BusError.
    """
    async with AsyncExitStack() as stack:
        files = stack.enter_context(_rereadable(files))
        chunks = _chunks(files)
        first = next(chunks, ([], []))
        start = first[0][0].fetched_at if first[0] else _EARLIEST
        clock = ManualClock(start) if speed is None else ScaledClock(start, speed)
        mine = [stage for stage in app.STAGES if ahead is None or stage not in ("classify", "aggregate")]
        stack.enter_context(claim(settings.data_dir, mine if settings.bus.kind == "embedded" else ()))
        core = await stack.enter_async_context(app.open_core(settings, clock))
        is_heard = deliver and not silent
        channels = await stack.enter_async_context(build_channels(settings, core.store)) if is_heard else {}
        leads: dict[str, Lead] = {}
        if not app.database_url(settings).startswith("sqlite"):
            leads = {name: Lead(core.store.leases, name, this_process()) for name in ("detect", "alerts")}
            await stack.enter_async_context(_leading(list(leads.values()), stop))
        alerts, (_, dispatch) = await app.build_alerts(
            core, channels, deliver=deliver, silent=silent, lead=leads.get("alerts")
        )
        way = _Way(app.build_intake(core), progress)
        middle: _Middle
        if ahead is None:
            middle = _Here(await stack.enter_async_context(app.build_classify(core)), await app.build_counts(core))
        else:
            middle = _Elsewhere(core.bus, core.store, way, await core.store.articles.totals(), stop)
        detect = app.build_detect(core, leads.get("detect"))
        await middle.settle()
        left_over = await middle.counted()
        began = asyncio.get_running_loop().time()
        if isinstance(clock, ManualClock):
            line = Line(detect, alerts, dispatch, store=core.store, clock=clock, settings=settings, deliver=deliver)
            await _at_full_speed(clock, files, way, middle, line, stop, ahead or 0)
        else:
            pump = _Pump(clock, first, chunks, way, stop)
            components: list[Component] = [pump, *middle.stages, detect, alerts, dispatch]
            await app.serve(components, stop, drain_s=settings.daemon.drain_s)
        done = await middle.counted()
        return Report(
            read=way.read,
            labelled=(done.stored - done.unlabelled) - (left_over.stored - left_over.unlabelled),
            other_language=done.unlabelled - left_over.unlabelled,
            duplicates=way.total.duplicates + done.duplicates - left_over.duplicates,
            dead_letters=way.total.refused + sum(stage.rejected for stage in middle.stages),
            expired=way.total.expired,
            spikes=detect.stated,
            recovered=left_over.stored + left_over.duplicates,
            took_s=asyncio.get_running_loop().time() - began,
        )


@asynccontextmanager
async def _leading(leads: Sequence[Lead], stop: asyncio.Event) -> AsyncIterator[None]:
    """Holds these leases, once whoever holds them lets go or has died; or not, if the replay was stopped first."""
    keeping = [asyncio.create_task(lead.keep(), name=f"lease {lead.name}") for lead in leads]
    try:
        asked_at = asyncio.get_running_loop().time()
        while (waiting := [lead for lead in leads if lead.term is None]) and not stop.is_set():
            await asyncio.sleep(_LOOK_S)
            if asyncio.get_running_loop().time() - asked_at > _SILENT_S:
                log.warning("replay_waits", lease=waiting[0].name, holder=waiting[0].standby)
                asked_at = asyncio.get_running_loop().time()
        yield
    finally:
        for lead in leads:
            await lead.release()
        await asyncio.gather(*keeping)


async def _at_full_speed(
    clock: ManualClock,
    files: Sequence[Path],
    way: _Way,
    middle: _Middle,
    line: Line,
    stop: asyncio.Event,
    ahead: int,
) -> None:
    """Takes the archive all the way, and looks at what came at the end of each bucket with bad news in it, and last.

    A bucket is looked at once nothing more is to come of the archive up to its end: so what is found does not depend on
    where a chunk ended, nor on what an earlier process had stored before it was killed. `ahead`: items taken before the
    first look.
    """
    to_come = await asyncio.to_thread(_earliest_to_come, files)
    unseen: set[datetime] = set()
    taken = 0
    for number, chunk in enumerate(_chunks(files), start=1):
        if stop.is_set():
            return
        await way.take(chunk, chunk[0][-1].fetched_at if chunk[0] else clock.now())
        unseen |= {bucket_start(arrival.fetched_at) for arrival in chunk[0]}
        taken += len(chunk[0]) + len(chunk[1])
        if taken < ahead and number < len(to_come):
            continue
        taken = 0
        await middle.settle()
        if stop.is_set():  # perhaps before all was counted
            return
        complete = {start for start in unseen if start + timedelta(seconds=BUCKET_S) <= to_come[number - 1]}
        unseen -= complete
        await line.look(complete, last=number == len(to_come))
    await line.finish()


def _earliest_to_come(files: Sequence[Path]) -> list[datetime]:
    """For each chunk the earliest time in all that follow it."""
    earliest = [min((item.fetched_at for item in chunk), default=_LATEST) for chunk, _ in _chunks(files)]
    for number in range(len(earliest) - 1, 0, -1):
        earliest[number - 1] = min(earliest[number - 1], earliest[number])
    return [*earliest[1:], _LATEST]


@contextmanager
def _rereadable(files: Sequence[Path]) -> Iterator[list[Path]]:
    """The same files; of what can be read only once, a pipe say, a copy. Raises: FetchError."""
    with tempfile.TemporaryDirectory(prefix="monitor-replay-") as folder:
        readable = []
        for number, file in enumerate(files):
            if file.is_file() or file.is_dir() or not file.exists():
                readable.append(file)
                continue
            copy = Path(folder) / str(number) / file.name
            copy.parent.mkdir()
            with file.open("rb") as pipe, copy.open("wb") as into:
                shutil.copyfileobj(pipe, into)
            readable.append(copy)
        yield readable


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
