"""How many articles a second come from the bus into the trend tables here, how that changes as the tables grow, and
where the time goes."""

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import resource
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from monitor import app, logs
from monitor.bus.bus import Bus, Consumer, Message
from monitor.bus.streams import Group, Stream
from monitor.clock import SystemClock
from monitor.domain.article import Article
from monitor.domain.labels import Label
from monitor.domain.record import encode, fingerprint
from monitor.errors import BusError, ConfigError, InvariantError, Mistake, Reason, RecordError
from monitor.settings import Settings
from monitor.stage import Component, Stage
from monitor.storage.store import Store
from pipelines.aggregate.stage import Aggregate
from pipelines.classify.classifier import Classifier
from pipelines.classify.stage import Classify
from pipelines.ingest.normalise import article
from pipelines.ingest.source import Entry
from pipelines.ingest.sources.replay import read

STAGES: Final = ("classify", "aggregate")

_DEMO = Path(app.__file__).parent / "demo" / "newsday.jsonl"
_STEP = timedelta(minutes=1)
_TEMPLATES = 16_000
_CHUNK = 500
_LOOK_S = 0.02
# What is published ahead of the stages: enough for full batches, and not so much that the run measures a backlog.
_AHEAD = 5_000
_STUCK_S = 120.0


class Mark(NamedTuple):
    """Articles that had come all the way, and when. Units: seconds since the first was published."""

    done: int
    at_s: float


def measure(
    settings: Settings, files: Sequence[Path], articles: int, *, processes: bool, probe: int = 3_000
) -> dict[str, Any]:
    """Sends so many articles through classify and aggregate, and tells of it.

    The items of `files` (none: those of the demo) are repeated under new ids, each time later by the time they span,
    so that articles, buckets and keys grow as they would over months. `processes`: each stage is a process of its own.
    `probe` articles go through the stages one after the other, before and after: what each part costs then.

    Units: `*_us` microseconds per article, CPU of this process (all threads) and wall; rates in articles per second,
        0 in a tenth that was over between two looks.
    Raises: ConfigError, if database or bus are not empty; FetchError, StoreError, BusError.
    """
    began = time.process_time()
    templates = _templates(settings, files, min(articles, _TEMPLATES))
    normalise_us = 1e6 * (time.process_time() - began) / len(templates)
    found = asyncio.run(_measure(settings, _Articles(templates), articles, probe, processes=processes))
    return {**found, "normalise_cpu_us": normalise_us}


def _templates(settings: Settings, files: Sequence[Path], count: int) -> list[Article]:
    plausibility, now = app.plausibility(settings), SystemClock().now()
    found: list[Article] = []
    for item in itertools.chain.from_iterable(read(file) for file in files or [_DEMO]):
        if len(found) == count:
            break
        if isinstance(item, Entry):
            fetched_at = now + len(found) * _STEP  # counts where an item has no date of its own
            with contextlib.suppress(RecordError):
                source = item.source or "bench"
                found.append(article(item, source=source, fetched_at=fetched_at, plausibility=plausibility))
    if not found:
        raise ConfigError("command line", [Mistake("FILE", "expected an archive with at least one article")])
    return found


class _Articles:
    """As many different articles as wanted, made of some; each is handed out once."""

    def __init__(self, templates: Sequence[Article]) -> None:
        self._templates = templates
        times = [template.published_at for template in templates]
        self._span = max(times) - min(times) + timedelta(minutes=5)
        self._handed_out = 0

    def take(self, count: int) -> list[Message]:
        numbers = range(self._handed_out, self._handed_out + count)
        self._handed_out += count
        return [Message(made.id, encode(made)) for made in map(self._article, numbers)]

    def _article(self, number: int) -> Article:
        times, place = divmod(number, len(self._templates))
        template = self._templates[place]
        return template.model_copy(
            update={
                "id": fingerprint("bench", str(number)),
                "story_id": fingerprint("bench", template.story_id, str(times)),
                "published_at": template.published_at + times * self._span,
                "fetched_at": template.fetched_at + times * self._span,
            }
        )


async def _measure(
    settings: Settings, source: _Articles, articles: int, probe: int, *, processes: bool
) -> dict[str, Any]:
    async with app.open_store(settings) as store:
        async with _core(settings, store) as core:
            await _expect_empty(core)
            before = await _probe(core, source, probe)
        cpu = _cpu_s()
        async with _core(settings, store) as core, _serving(core, processes=processes) as check:
            await _run(core.bus, source, _CHUNK, check)  # processes have to start, and groups to form, before the clock
            marks = await _run(core.bus, source, articles, check)
        cpu_s = _cpu_s() - cpu
        async with _core(settings, store) as core:
            after = await _probe(core, source, probe)
        await _expect_counted(store, articles + _CHUNK + 2 * probe)
    took_s = marks[-1].at_s
    rates = _tenths(marks, articles)
    return {
        "bus": settings.bus.kind,
        "database": app.database_url(settings).partition(":")[0],
        "processes": 1 + len(STAGES) if processes else 1,
        "cores": os.cpu_count(),
        "articles": articles,
        "took_s": took_s,
        "articles_per_s": articles / took_s,
        # Servers are not in it: what Kafka and PostgreSQL use besides is theirs. The start of processes is.
        "cpu_us": 1e6 * cpu_s / articles,
        "tenths_per_s": rates,
        "last_tenth_to_first": rates[-1] / rates[0] if rates[0] else None,
        "parts": _parts(before, after),
    }


@contextlib.asynccontextmanager
async def _core(settings: Settings, store: Store) -> AsyncIterator[app.Core]:
    """A bus of its own for each part of a measurement: what reads from it leaves its group with it."""
    bus = await app.open_bus(settings)
    try:
        yield app.Core(settings, store, bus, SystemClock())
    finally:
        await bus.aclose()


def _serving(core: app.Core, *, processes: bool) -> AbstractAsyncContextManager[Callable[[], None]]:
    return _as_processes(core.settings) if processes else _in_this_process(core)


async def _expect_empty(core: app.Core) -> None:
    stored = (await core.store.articles.totals())["articles"]
    waiting = sum([await core.bus.lag(group) for group in Group])
    mistakes = [Mistake("database.url", f"expected an empty database; it holds {stored} articles")] if stored else []
    if waiting:
        mistakes.append(Mistake("bus", f"expected empty streams; {waiting} messages wait on them"))
    if mistakes:
        raise ConfigError("bench pipeline writes what it makes up", mistakes)


async def _expect_counted(store: Store, articles: int) -> None:
    stored = (await store.articles.totals())["articles"]
    counted = sum(stats.articles for stats in await store.articles.trends(resolution="1d", kinds=["all"]))
    if not stored == counted == articles:
        raise InvariantError(f"of {articles} articles {stored} were stored and {counted} counted")


@contextlib.asynccontextmanager
async def _in_this_process(core: app.Core) -> AsyncIterator[Callable[[], None]]:
    """The stages as `monitor run` has them: all on one event loop."""
    stop = asyncio.Event()
    async with app.build_classify(core) as classify, asyncio.TaskGroup() as group:
        counts = await app.build_counts(core)
        components: list[Component] = [classify, counts.aggregate, counts.dead_letters]
        group.create_task(app.serve(components, stop, drain_s=core.settings.daemon.drain_s))
        yield lambda: None  # a stage that fails cancels whoever waits here
        stop.set()


@contextlib.asynccontextmanager
async def _as_processes(settings: Settings) -> AsyncIterator[Callable[[], None]]:
    """The stages as `monitor run classify` and `monitor run aggregate` have them."""
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=_serve, args=(settings, stage), name=stage) for stage in STAGES]

    def check() -> None:
        for process in running:
            if not process.is_alive():
                raise BusError(Reason.STORAGE, f"the process of {process.name} ended, with {process.exitcode}")

    try:
        for process in running:
            process.start()
        yield check
    finally:
        for process in running:
            process.terminate()
        for process in running:
            await asyncio.to_thread(process.join)


def _serve(settings: Settings, stage: str) -> None:
    logs.configure("WARNING")
    asyncio.run(app.run_daemon(settings, [stage], lambda: settings))


async def _run(bus: Bus, source: _Articles, articles: int, check: Callable[[], None]) -> list[Mark]:
    """Publishes as fast as the stages follow, until all have come through."""
    began = time.monotonic()
    published = 0
    marks: list[Mark] = []
    moved_at = began
    while not marks or marks[-1].done < articles:
        check()
        waiting = await bus.lag(Group.CLASSIFY) + await bus.lag(Group.AGGREGATE)
        now = time.monotonic()
        if not marks or published - waiting > marks[-1].done:
            marks.append(Mark(published - waiting, now - began))
            moved_at = now
        elif now - moved_at > _STUCK_S:
            raise BusError(Reason.TIMEOUT, f"no article came through for {_STUCK_S:g} s; {waiting} wait")
        if published < articles and waiting <= _AHEAD - _CHUNK:
            batch = source.take(min(_CHUNK, articles - published))
            await bus.publish(Stream.ARTICLES, batch)
            published += len(batch)
        else:
            await asyncio.sleep(_LOOK_S)
    return marks


def _tenths(marks: Sequence[Mark], articles: int) -> list[float]:
    """Articles per second in each tenth of the run, between the marks that are nearest to its ends."""

    def nearest(done: float) -> Mark:
        return min(marks, key=lambda mark: abs(mark.done - done))

    edges = [nearest(articles * tenth / 10) for tenth in range(11)]
    return [
        (later.done - earlier.done) / (later.at_s - earlier.at_s) if later.at_s > earlier.at_s else 0.0
        for earlier, later in itertools.pairwise(edges)
    ]


class _Meter:
    """Adds up the time of calls that do not overlap."""

    def __init__(self) -> None:
        self.wall_s: dict[str, float] = defaultdict(float)
        self.cpu_s: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall_s[part] += time.perf_counter() - wall
            self.cpu_s[part] += time.process_time() - cpu

    def per_article(self, articles: int) -> dict[str, tuple[float, float]]:
        """CPU and wall, in microseconds."""
        return {part: (1e6 * self.cpu_s[part] / articles, 1e6 * self.wall_s[part] / articles) for part in self.wall_s}


class _Metered:
    """Passes calls on, and notes the time of the methods named, each under its part."""

    def __init__(self, inner: object, meter: _Meter, parts: Mapping[str, str]) -> None:
        self._inner, self._meter, self._parts = inner, meter, parts

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in self._parts:
            return method

        async def timed(*args: Any, **kwargs: Any) -> Any:
            with self._meter(self._parts[name]):
                return await cast("Awaitable[Any]", method(*args, **kwargs))

        return timed


class _MeteredClassifier:
    def __init__(self, inner: Classifier, meter: _Meter) -> None:
        self._inner, self._meter = inner, meter
        self.version = inner.version

    def label(self, texts: Sequence[str]) -> list[Label]:
        with self._meter("classify: label"):
            return self._inner.label(texts)

    def close(self) -> None:
        self._inner.close()


async def _probe(core: app.Core, source: _Articles, articles: int) -> dict[str, tuple[float, float]]:
    """What each part costs, the stages working one after the other on an idle bus."""
    meter = _Meter()
    for start in range(0, articles, _CHUNK):
        messages = source.take(min(_CHUNK, articles - start))
        with meter("publish: bus"):
            await core.bus.publish(Stream.ARTICLES, messages)

    async def stage(group: Group, outbox: Stream | None, processor: Any, max_batch: int) -> Stage:
        inbox = cast("Consumer", _Metered(await core.bus.subscribe(group), meter, _all(f"{group}: bus")))
        bus = cast("Bus", _Metered(core.bus, meter, _all(f"{group}: bus")))
        return Stage(
            str(group), inbox=inbox, bus=bus, outbox=outbox, processor=processor, clock=core.clock, max_batch=max_batch
        )

    settings = core.settings
    classifier = app.build_classifier(settings)
    labelling = Classify(_MeteredClassifier(classifier, meter), settings.classify)
    store = cast("Store", _MeteredStore(core.store, meter))
    for working in (
        await stage(Group.CLASSIFY, Stream.LABELLED, labelling, settings.classify.max_batch),
        await stage(Group.AGGREGATE, None, Aggregate(store, settings.aggregate), settings.aggregate.max_batch),
    ):
        with meter(f"{working.name}: records"):
            await working.catch_up()
    classifier.close()
    for times in (meter.wall_s, meter.cpu_s):
        # What a stage spends besides its parts goes into reading and writing JSON.
        for name in STAGES:
            inner = [part for part in times if part.startswith(f"{name}: ") and part != f"{name}: records"]
            times[f"{name}: records"] -= sum(times[part] for part in inner)
    return meter.per_article(articles)


def _all(part: str) -> dict[str, str]:
    return dict.fromkeys(("poll", "commit", "publish"), part)


class _MeteredStore:
    """The part of the store that aggregate writes to."""

    def __init__(self, store: Store, meter: _Meter) -> None:
        self.articles = _Metered(store.articles, meter, {"add": "aggregate: tables"})


def _parts(
    before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]]
) -> dict[str, dict[str, float]]:
    whole = sum(cpu for cpu, _ in after.values())
    return {
        part: {
            "cpu_us_empty": before[part][0],
            "cpu_us": cpu,
            "share": cpu / whole,
            "wall_us_empty": before[part][1],
            "wall_us": wall,
        }
        for part, (cpu, wall) in after.items()
    }


def _cpu_s() -> float:
    """CPU time of this process and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
