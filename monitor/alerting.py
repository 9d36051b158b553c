"""Joins alerts to the settings: channels, routes and links, built whole, and swapped whole when the settings change."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

import structlog

from alerts.channel import Channel, Deps, fingerprint
from alerts.dispatch import Dispatch
from alerts.evaluate import Policy
from alerts.links import Links
from alerts.render import Renderer
from alerts.stage import Collect
from monitor import plugins
from monitor.clock import SystemClock
from monitor.domain.alerts import Notification
from monitor.errors import MonitorError
from monitor.http import client
from monitor.notify import Manager
from monitor.settings import Settings
from monitor.stage import Vital
from monitor.storage.store import Store

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def build_channels(settings: Settings, store: Store | None = None) -> AsyncIterator[dict[str, Channel]]:
    """The enabled channels by name, with the HTTP client they share. `store` gives replies what they answer."""

    async def find(notification_id: str) -> Notification | None:
        found = [] if store is None else await store.deliveries.get(notification_id)
        return found[0].notification if found else None

    async with client(
        allow_private_addresses=settings.alerts.allow_private_addresses,
        user_agent=settings.http.user_agent,
        proxy=settings.http.proxy_url,
    ) as http:
        # Signatures carry the machine's time, in a replay too: receivers refuse others.
        deps = Deps(http=http, clock=SystemClock(), render=Renderer(links(settings)), find=find)
        yield {
            name: plugins.load("alerts.channels", config.kind).build(config, deps)
            for name, config in settings.alerts.channels.items()
            if config.enabled
        }


def links(settings: Settings) -> Links | None:
    """What signs the links in messages; None: they have none."""
    alerts = settings.alerts
    if alerts.base_url is None or alerts.link_secret is None:
        return None
    return Links(alerts.base_url, alerts.link_secret.get_secret_value(), alerts.link_days)


class Outlets(NamedTuple):
    """How alerts get out: the channels, who hears of what by them, and what tells a channel from another."""

    channels: Mapping[str, Channel]
    policy: Policy
    fingerprints: Mapping[str, str]


def outlets(settings: Settings, channels: Mapping[str, Channel]) -> Outlets:
    addresses = {name: channel.recipients for name, channel in channels.items()}
    prints = {name: fingerprint(settings.alerts.channels[name]) for name in channels}
    return Outlets(channels, Policy(settings.alerts, addresses), prints)


class Following(NamedTuple):
    """How the daemon learns that its settings have changed. `read` gives them; `asked` is set when they are to be read.

    Raises: ConfigError, from `read`.
    """

    read: Callable[[], Settings]
    asked: asyncio.Event
    manager: Manager


class Alerting(NamedTuple):
    """The parts that follow the settings while the daemon runs."""

    collect: Collect
    dispatch: Dispatch


class Reload:
    """A component that reads the settings again whenever `asked` is set, and swaps in what they say of alerts.

    A file that is wrong changes nothing. What else it changes needs a restart, and is named.
    `prepare_pages` makes ready what the pages follow, and answers with what swaps it in.
    """

    name = "reload"

    def __init__(
        self,
        settings: Settings,
        alerting: Alerting | None,
        following: Following,
        *,
        store: Store,
        prepare_pages: Callable[[Settings], Callable[[], None]] | None = None,
    ) -> None:
        self.vital = Vital(SystemClock())
        self._settings = settings
        self._prepare_pages = prepare_pages
        self._alerting = alerting
        self._read, self._asked, self._manager = following
        self._store = store
        self._open = contextlib.AsyncExitStack()
        self._drained = asyncio.Event()

    async def run(self) -> None:
        drained = asyncio.create_task(self._drained.wait())
        try:
            while not self._drained.is_set():
                asked = asyncio.create_task(self._asked.wait())
                await asyncio.wait([asked, drained], return_when=asyncio.FIRST_COMPLETED)
                asked.cancel()
                if self._asked.is_set():
                    self._asked.clear()
                    await self._reload()
        finally:
            drained.cancel()
            await self._open.aclose()  # those of the last reload

    async def drain(self) -> None:
        self._drained.set()

    async def _reload(self) -> None:
        # The service manager waits for READY=1: man sd_notify, RELOADING.
        self._manager.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            settings = await asyncio.to_thread(self._read)
            await self._swap(settings)
        except MonitorError as error:
            log.error("reload_refused", error=str(error))  # noqa: TRY400  # somebody's mistake: its trace says nothing
        except Exception:
            # Top of a task: whatever a file does to what reads it, the daemon goes on with what it has.
            log.exception("reload_refused", error="the settings could not be taken over; this is a bug")
        finally:
            self._manager.tell("READY=1")

    async def _swap(self, settings: Settings) -> None:
        others = sorted(
            name
            for name in Settings.model_fields
            if name != "alerts" and getattr(settings, name) != getattr(self._settings, name)
        )
        if others:
            log.warning("restart_needed", sections=others, why="only [alerts] is taken from the file while running")
        swap_pages = None if self._prepare_pages is None else self._prepare_pages(settings)
        if self._alerting is not None:
            stack = contextlib.AsyncExitStack()
            try:
                channels = await stack.enter_async_context(build_channels(settings, self._store))
                out = await asyncio.to_thread(outlets, settings, channels)
            except BaseException:
                await stack.aclose()
                raise
            self._alerting.collect.reload(settings.alerts)
            await self._alerting.dispatch.reload(out.channels, out.policy, out.fingerprints)
            before, self._open = self._open, stack
            await before.aclose()
        if swap_pages is not None:
            swap_pages()
        self._settings = self._settings.model_copy(update={"alerts": settings.alerts})
        log.info(
            "reloaded", channels=sorted(settings.alerts.channels), receivers=len(settings.alerts.receivers_resolved())
        )
