"""Joins the parts: the one module that knows every package."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import structlog
from anyio import CapacityLimiter

from alerts.channel import Channel
from alerts.dispatch import Dispatch
from alerts.stage import Collect
from monitor import plugins
from monitor.alerting import Alerting, Following, Reload, build_channels, outlets
from monitor.bus.bus import Bus
from monitor.bus.embedded import EmbeddedBus
from monitor.bus.streams import Group, Stream
from monitor.claims import claim, make_data_dir
from monitor.clock import Clock, SystemClock
from monitor.errors import ConfigError, FetchError, InvariantError, Mistake, Reason
from monitor.housekeeping import Housekeeping
from monitor.http import client
from monitor.leader import Lead, this_process
from monitor.members import Members
from monitor.notify import Manager, Watchdog, on_signals
from monitor.settings import Settings
from monitor.stage import Component, Processor, Stage
from monitor.storage.database import sqlite_url
from monitor.storage.store import Store
from monitor.web.build import WebPages, build_web, require_links
from pipelines.aggregate.stage import Aggregate, KeepDeadLetters
from pipelines.classify.classifier import Classifier, ClassifierDeps
from pipelines.classify.stage import Classify
from pipelines.detect.stage import Detect
from pipelines.detect.watch import Watch
from pipelines.ingest.fetch import Fetcher, bounded
from pipelines.ingest.intake import Intake
from pipelines.ingest.normalise import Plausibility
from pipelines.ingest.parse import Unreadable, parse
from pipelines.ingest.source import Poll, Source, SourceConfig, SourceDeps
from pipelines.ingest.stage import Ingest

log = structlog.get_logger(__name__)

STAGES = ("ingest", "classify", "aggregate", "detect", "alerts")
"""The stages of the daemon, upstream first."""

RUNNABLE = ("web", *STAGES)
"""What a daemon can run: the stages, and the pages that links in messages lead to."""


class Core(NamedTuple):
    """What every stage shares."""

    settings: Settings
    store: Store
    bus: Bus
    clock: Clock


def database_url(settings: Settings) -> str:
    return settings.database.url or sqlite_url(settings.data_dir / "monitor.sqlite3")


@contextlib.asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """The tables alone, for commands that only read or mark.

    Raises: ConfigError, StoreError.
    """
    make_data_dir(settings.data_dir)
    store = await Store.open(database_url(settings))
    try:
        yield store
    finally:
        await store.aclose()


async def open_bus(settings: Settings) -> Bus:
    """Raises: ConfigError, BusError."""
    if settings.bus.kind == "kafka":
        try:
            from monitor.bus.kafka import KafkaBus
        except ModuleNotFoundError as error:
            told = f"kafka needs the package {error.name}; pip install 'news-monitor[kafka]'"
            raise ConfigError("this installation", [Mistake("bus.kind", told)]) from error
        return await KafkaBus.open(settings.bus)
    return await EmbeddedBus.open(
        settings.data_dir / "bus.sqlite3",
        partitions=settings.bus.partitions,
        retention=timedelta(hours=settings.bus.retention_h),
        clock=SystemClock(),
    )


@contextlib.asynccontextmanager
async def open_core(settings: Settings, clock: Clock) -> AsyncIterator[Core]:
    """Tables and log. Raises: ConfigError, StoreError, BusError."""
    async with open_store(settings) as store:
        bus = await open_bus(settings)
        try:
            yield Core(settings, store, bus, clock)
        finally:
            await bus.aclose()


def require_shared_database(settings: Settings) -> None:
    """Refuses a broker with tables that only this machine sees.

    Even one process is refused: how far it has read is known to the broker, what it has stored to this folder alone,
    and a copy started elsewhere would take half of the records into a folder of its own.
    Raises: ConfigError.
    """
    if settings.bus.kind != "embedded" and database_url(settings).startswith("sqlite"):
        expected = f'expected postgresql+asyncpg://... with bus.kind = "{settings.bus.kind}": copies share the tables'
        raise ConfigError("config.toml", [Mistake("database.url", expected)])


def build_classifier(settings: Settings) -> Classifier:
    """Raises: ModelError, if it is one with weights and these cannot be used."""
    plugin = plugins.load("pipelines.classify.models", settings.classifier.kind)
    classifier: Classifier = plugin.build(settings.classifier, ClassifierDeps(settings.models.folder, SystemClock()))
    return classifier


def build_watch(settings: Settings) -> Watch:
    """What looks at articles, and has learned nothing yet."""
    plugin = plugins.load("pipelines.detect.detectors", settings.detector.kind)
    return Watch(plugin.build(settings.detector), settings.detect)


def build_detect(core: Core, lead: Lead | None = None) -> Detect:
    settings = core.settings
    return Detect(
        lambda: build_watch(settings),
        store=core.store,
        bus=core.bus,
        clock=core.clock,
        settings=settings.detect,
        lead=lead,
    )


def plausibility(settings: Settings) -> Plausibility:
    ingest = settings.ingest
    return Plausibility(timedelta(days=ingest.max_age_days), timedelta(seconds=ingest.future_tolerance_s))


def build_intake(core: Core) -> Intake:
    days = core.settings.database.retention_days
    return Intake(core.bus, core.store, plausibility(core.settings), retention=timedelta(days=days) if days else None)


async def build_stage(core: Core, group: Group, outbox: Stream | None, processor: Processor, max_batch: int) -> Stage:
    return Stage(
        str(group),
        inbox=await core.bus.subscribe(group),
        bus=core.bus,
        outbox=outbox,
        processor=processor,
        clock=core.clock,
        max_batch=max_batch,
        # Others may be filling a broker's log, and reading it: to wait until it is empty could take for ever.
        leaves_rest=core.settings.bus.kind != "embedded",
    )


class Counts(NamedTuple):
    """The stages that store what was labelled and what was refused, and what they counted."""

    aggregate: Stage
    dead_letters: Stage
    counted: Aggregate


@contextlib.asynccontextmanager
async def build_classify(core: Core) -> AsyncIterator[Stage]:
    """Raises: ModelError"""
    classifier = await asyncio.to_thread(build_classifier, core.settings)
    try:
        processor, most = Classify(classifier, core.settings.classify), core.settings.classify.max_batch
        yield await build_stage(core, Group.CLASSIFY, Stream.LABELLED, processor, most)
    finally:
        await asyncio.to_thread(classifier.close)


async def build_counts(core: Core) -> Counts:
    counted = Aggregate(core.store, core.settings.aggregate)
    batch = core.settings.aggregate.max_batch
    return Counts(
        aggregate=await build_stage(core, Group.AGGREGATE, None, counted, batch),
        dead_letters=await build_stage(core, Group.DEAD_LETTERS, None, KeepDeadLetters(core.store), batch),
        counted=counted,
    )


async def build_alerts(
    core: Core,
    channels: Mapping[str, Channel],
    *,
    deliver: bool = True,
    silent: bool = False,
    lead: Lead | None = None,
) -> tuple[Stage, Alerting]:
    """`silent`: as if everybody were told, and nobody is."""
    collect = Collect(core.store, core.settings.alerts, deliver=deliver)
    stage = await build_stage(core, Group.ALERTS, None, collect, max_batch=100)
    out = await asyncio.to_thread(outlets, core.settings, channels)
    dispatch = Dispatch(
        out.channels,
        out.policy,
        store=core.store,
        clock=core.clock,
        fingerprints=out.fingerprints,
        deliver=deliver,
        silent=silent,
        lead=lead,
    )
    return stage, Alerting(collect, dispatch)


@contextlib.asynccontextmanager
async def source_deps(settings: Settings, clock: Clock) -> AsyncIterator[SourceDeps]:
    """What sources share: the HTTP client and its limits, and the processes that parse."""
    async with client(
        allow_private_addresses=settings.http.allow_private_addresses,
        user_agent=settings.http.user_agent,
        proxy=settings.http.proxy_url,
    ) as http:
        yield SourceDeps(
            fetcher=Fetcher(http, settings.http, clock),
            clock=clock,
            settings=settings.ingest,
            parsers=CapacityLimiter(settings.ingest.parsers),
        )


@contextlib.asynccontextmanager
async def build_ingest(core: Core, members: Members | None = None) -> AsyncIterator[Ingest]:
    """The feeds."""
    settings = core.settings
    async with source_deps(settings, core.clock) as deps:
        feeds: dict[str, tuple[SourceConfig, Source]] = {
            name: (config, build_source(config, deps)) for name, config in settings.feeds.items() if config.enabled
        }
        yield Ingest(
            feeds,
            intake=build_intake(core),
            store=core.store,
            clock=core.clock,
            settings=settings.ingest,
            members=members,
        )


async def probe(settings: Settings, address: str) -> Poll:
    """Reads a feed once, from its URL or from a file, as the daemon would; stores nothing.

    Raises: FetchError.
    """
    if address.lower().startswith(("http://", "https://")):
        config = plugins.load("pipelines.ingest.sources", "feed").Config(url=address)
        async with source_deps(settings, SystemClock()) as deps:
            return await build_source(config, deps).poll({})
    path = Path(address)
    if path.suffixes[-1:] == [".jsonl"] or path.suffixes[-2:] == [".jsonl", ".gz"]:
        config = plugins.load("pipelines.ingest.sources", "replay").Config(path=path)
        async with source_deps(settings, SystemClock()) as deps:
            return await build_source(config, deps).poll({})
    try:
        body = await asyncio.to_thread(path.read_bytes)
    except OSError as error:
        raise FetchError(
            Reason.CLIENT_ERROR, f"{path}: {error.strerror}; expected a URL, a file or a feed's name"
        ) from error
    parsed = parse(
        bounded(body, settings.http.max_body_bytes),
        "",
        path.as_uri() if path.is_absolute() else "",
        settings.ingest.max_entries,
    )
    if isinstance(parsed, Unreadable):
        raise FetchError(parsed.reason, parsed.detail)
    return Poll(entries=parsed.entries, cursor={}, note=parsed.note)


def build_source(config: SourceConfig, deps: SourceDeps) -> Source:
    source: Source = plugins.load("pipelines.ingest.sources", config.kind).build(config, deps)
    return source


@contextlib.asynccontextmanager
async def build(
    core: Core, stages: Collection[str] = STAGES, following: Following | None = None
) -> AsyncIterator[list[Component]]:
    """The components of these stages, upstream first. What opens halfway is closed if the rest does not open.

    On a database that others may be at work on, they agree with their copies there on who does what.
    """
    alerting: Alerting | None = None
    web: WebPages | None = None
    is_shared = not database_url(core.settings).startswith("sqlite")
    leases, me = core.store.leases, this_process()
    async with contextlib.AsyncExitStack() as stack:
        components: list[Component] = []
        if "web" in stages:  # first: a port that is taken is told before a model is loaded
            web = stack.enter_context(build_web(core.settings, core.store, core.clock))
            components.append(web)
        if "ingest" in stages:
            members = Members(leases, "ingest", me) if is_shared else None
            components.append(await stack.enter_async_context(build_ingest(core, members)))
        if "classify" in stages:
            components.append(await stack.enter_async_context(build_classify(core)))
        if "aggregate" in stages:
            counts = await build_counts(core)
            components += [counts.aggregate, counts.dead_letters]
        if "detect" in stages:
            components.append(build_detect(core, Lead(leases, "detect", me) if is_shared else None))
        if "alerts" in stages:
            channels = await stack.enter_async_context(build_channels(core.settings, core.store))
            lead = Lead(leases, "alerts", me) if is_shared else None
            stage, alerting = await build_alerts(core, channels, lead=lead)
            components += [stage, alerting.dispatch]
        if following is not None:
            prepare_pages = None if web is None else web.prepare
            components.append(Reload(core.settings, alerting, following, store=core.store, prepare_pages=prepare_pages))
        components.append(
            Housekeeping(
                list(components),
                store=core.store,
                bus=core.bus,
                settings=core.settings,
                keep="aggregate" in stages,
                is_shared=is_shared,
            )
        )
        yield components


async def serve(components: Sequence[Component], stop: asyncio.Event, *, drain_s: float) -> None:
    """Runs all components until `stop`; one that fails brings the daemon down, loudly.

    Order is upstream first, so draining in order empties the queues between them. What has not drained when all of
    `drain_s` seconds have passed is cancelled: it is still on the bus or in the tables, and comes again at next start.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run(component, stop), name=component.name) for component in components]
        await stop.wait()
        deadline = asyncio.get_running_loop().time() + drain_s
        for component, task in zip(components, tasks, strict=True):
            try:
                async with asyncio.timeout_at(deadline):
                    await component.drain()
            except TimeoutError:
                log.warning("drain_timed_out", component=component.name, drain_s=drain_s)
            task.cancel()


async def _run(component: Component, stop: asyncio.Event) -> None:
    await component.run()
    if not stop.is_set():
        raise InvariantError(f"{component.name} returned before it was asked to stop")


async def run_daemon(settings: Settings, stages: Sequence[str], read: Callable[[], Settings]) -> None:
    """Serves until SIGTERM or SIGINT, then drains; the second signal ends the process at once.

    At SIGHUP it takes over what `read` then says of alerts.
    Raises: ConfigError, ModelError, BusyError, StoreError, BusError before anything starts.
    """
    require_shared_database(settings)
    if "web" in stages:
        require_links(settings)
    stop, asked, manager = asyncio.Event(), asyncio.Event(), Manager.of(os.environ)
    on_signals(stop, asked, manager)
    following = Following(read, asked, manager)
    # A log in data_dir has one reader per stage. A broker shares them out among any number.
    with claim(settings.data_dir, stages if settings.bus.kind == "embedded" else ()):
        async with open_core(settings, SystemClock()) as core, build(core, stages, following) as components:
            log.info("started", stages=list(stages), feeds=len(settings.feeds), data_dir=str(settings.data_dir))
            # Last, so that it also watches over the draining of the others.
            watchdog = Watchdog(components, manager, alive=[settings.data_dir / "alive" / stage for stage in stages])
            await serve([*components, watchdog], stop, drain_s=settings.daemon.drain_s)
    log.info("stopped")
