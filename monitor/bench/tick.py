"""How long a whole tick of detect takes beside a loaded database, from the first query to the last commit."""

import asyncio
import contextlib
import multiprocessing
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime, timedelta
from multiprocessing.synchronize import Event
from typing import Any, Final, NamedTuple, cast

from monitor import app
from monitor.bench.past import SOURCES, Teller, Telling, fill
from monitor.clock import ManualClock
from monitor.domain.names import MAX_NAMES
from monitor.domain.record import utc
from monitor.domain.spikes import Spike
from monitor.domain.windows import Key
from monitor.errors import ConfigError, Mistake, Reason, StoreError
from monitor.plugins import load
from monitor.settings import Settings
from monitor.storage.database import Database
from monitor.storage.sightings import Checkpoint
from monitor.storage.store import Store
from pipelines.detect.detector import Detector
from pipelines.detect.stage import Detect
from pipelines.detect.watch import Watch

_NOW: Final = utc(2026, 3, 4, 11, 2)
_FETCHES: Final = 20  # instants at which what comes in one tick was fetched
_UNTIMED: Final = 2
_PAUSE_S: Final = 0.1


class Load(NamedTuple):
    """What every tick brings: so many articles, or as many as it takes to name every key; and how much later it is."""

    articles: int | None
    step: timedelta


LOADS: Final = {
    "usual": Load(50, timedelta(seconds=30)),
    "busy": Load(500, timedelta(hours=1)),
    # Far enough apart for three stories in two hours: evidence to judge, and not yet a spike.
    "every key": Load(None, timedelta(minutes=45)),
}


def measure(settings: Settings, *, articles: int = 200_000, keys: int = 5_000, rounds: int = 7) -> dict[str, Any]:
    """Fills the database with so many articles of the last month about so many names, and times ticks beside it.

    In the load "every key" each name gets one more negative story. Another process reads the tables meanwhile, as a
    dashboard would.
    Units: seconds, wall and CPU of this process; the parts are wall, in the tick that took the median.
    Raises: ConfigError, if the database is not empty; StoreError.
    """
    return asyncio.run(_measure(settings, articles, keys, rounds))


async def _measure(settings: Settings, articles: int, keys: int, rounds: int) -> dict[str, Any]:
    clock = ManualClock(_NOW)
    async with app.open_core(settings, clock) as core:
        if stored := (await core.store.articles.totals())["articles"]:
            mistake = f"expected an empty database; it holds {stored} articles"
            raise ConfigError("command line", [Mistake("--database", mistake)])
        teller = Teller(keys)
        plugin = load("pipelines.detect.detectors", settings.detector.kind)

        def make() -> Detector:
            made: Detector = plugin.build(settings.detector)
            return made

        began = time.perf_counter()
        await _load(settings, core.store, make(), teller, articles)
        filled_s = time.perf_counter() - began
        meter = _Meter()
        detect = Detect(
            lambda: _MeteredWatch(make(), settings, meter),
            store=cast("Store", _MeteredStore(core.store, meter)),
            bus=core.bus,
            clock=clock,
            settings=settings.detect,
        )
        began = time.perf_counter()
        await detect.tick(_NOW)
        found: dict[str, Any] = {
            "database": app.database_url(settings).partition(":")[0],
            "articles": articles,
            "keys": keys,
            "filled_s": filled_s,
            "remembered_s": time.perf_counter() - began,
            "loads": {},
        }
        now = _NOW
        async with _reading(settings):
            for name, of in LOADS.items():
                measured: list[_Tick] = []
                for _ in range(_UNTIMED + rounds):
                    now += of.step
                    told = _told(teller, of, now)
                    await core.store.articles.add([one.labelled() for one in told])
                    measured.append(await _timed(detect, now, len(told), meter))
                found["loads"][name] = _summary(measured[_UNTIMED:])
    return found


async def _load(settings: Settings, store: Store, detector: Detector, teller: Teller, articles: int) -> None:
    database = await Database.open(app.database_url(settings))
    try:
        seen = await fill(database, detector, teller.past(articles, _NOW))
        for source in SOURCES:
            await store.coverage.heard(source, _NOW - timedelta(days=30), _NOW)
        watch = Watch(detector, settings.detect)
        watch.seen = seen
        watch.advance(_NOW)
        await store.sightings.save_checkpoint(Detect.name, Checkpoint(watch.version, seen, watch.dump()))
    finally:
        await database.aclose()


def _told(teller: Teller, load: Load, now: datetime) -> list[Telling]:
    """The news of one tick, fetched in the ten seconds before it."""
    if load.articles is not None:
        groups: list[Sequence[str] | None] = [None] * load.articles
    else:
        groups = [teller.names[start : start + MAX_NAMES] for start in range(0, len(teller.names), MAX_NAMES)]
    fetches = [now - timedelta(seconds=0.5 * (_FETCHES - n)) for n in range(_FETCHES)]
    return [
        teller.tell(fetches[n % _FETCHES], names, bad=None if names is None else True) for n, names in enumerate(groups)
    ]


class _Tick(NamedTuple):
    wall_s: float
    cpu_s: float
    articles: int
    spikes: int
    parts: dict[str, float]


async def _timed(detect: Detect, now: datetime, articles: int, meter: "_Meter") -> _Tick:
    meter.wall_s.clear()
    wall, cpu = time.perf_counter(), time.process_time()
    spikes = await detect.tick(now)
    took_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    return _Tick(took_s, cpu_s, articles, len(spikes), dict(meter.wall_s))


def _summary(ticks: Sequence[_Tick]) -> dict[str, Any]:
    middle = sorted(ticks)[len(ticks) // 2]
    return {
        "articles": middle.articles,
        "median_s": middle.wall_s,
        "worst_s": max(tick.wall_s for tick in ticks),
        "median_cpu_s": statistics.median(tick.cpu_s for tick in ticks),
        "ms_per_article": 1000 * middle.wall_s / middle.articles,
        "spikes": sum(tick.spikes for tick in ticks),
        "parts": {**middle.parts, "the rest": middle.wall_s - sum(middle.parts.values())},
    }


class _Meter:
    """Adds up the time of parts; one inside another counts for itself alone."""

    def __init__(self) -> None:
        self.wall_s: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            took = time.perf_counter() - began
            self.wall_s[part] += took - self._inner.pop()
            if self._inner:
                self._inner[-1] += took


class _MeteredWatch(Watch):
    """Notes what goes into stories and into judging; the rest of looking is counting."""

    def __init__(self, detector: Detector, settings: Settings, meter: _Meter) -> None:
        super().__init__(detector, settings.detect)
        self._meter = meter
        self._stories.assign = self._noting("stories", self._stories.assign)  # type: ignore[method-assign]
        self.take = self._noting("count", self.take)  # type: ignore[method-assign]

    def _judge(self, keys: Any, at: datetime) -> list[Spike]:
        with self._meter("judge"):
            return super()._judge(keys, at)

    def advance(self, now: datetime) -> list[tuple[Key, datetime]]:
        with self._meter("time goes on"):
            return super().advance(now)

    def _noting(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            with self._meter(part):
                return call(*args)

        return noted


class _Metered:
    """Passes calls on, and notes how long those of some methods take."""

    def __init__(self, inner: object, meter: _Meter, parts: dict[str, str]) -> None:
        self._inner, self._meter, self._parts = inner, meter, parts

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in self._parts:
            return method

        async def noted(*args: Any, **kwargs: Any) -> Any:
            with self._meter(self._parts[name]):
                return await method(*args, **kwargs)

        return noted


class _MeteredStore:
    """The part of the store that detect reads from and writes to."""

    def __init__(self, store: Store, meter: _Meter) -> None:
        self.sightings = _Metered(
            store.sightings, meter, {"unseen": "read", "save": "write", "save_checkpoint": "keep"}
        )
        self.coverage = _Metered(store.coverage, meter, {"bounds": "read polls", "observed": "read polls"})
        self.spikes = store.spikes


@contextlib.asynccontextmanager
async def _reading(settings: Settings) -> AsyncIterator[None]:
    """Somebody looks at trends and headlines, in a process of their own."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    reader = context.Process(target=_read, args=(settings, stop), name="reader")
    reader.start()
    try:
        yield
        if not reader.is_alive():
            raise StoreError(Reason.STORAGE, f"the process that reads meanwhile ended, with {reader.exitcode}")
    finally:
        stop.set()
        await asyncio.to_thread(reader.join)


def _read(settings: Settings, stop: Event) -> None:
    async def look() -> None:
        async with app.open_store(settings) as store:
            while not stop.is_set():
                await store.articles.trends(resolution="1h", since=_NOW - timedelta(days=1), kinds=["all", "topic"])
                await store.articles.headlines(limit=50)
                await asyncio.sleep(_PAUSE_S)

    asyncio.run(look())
