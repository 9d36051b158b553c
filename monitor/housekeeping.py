"""What has to be done now and then: reports of health, and the deletion of what has outlived its retention."""

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, timedelta
from functools import partial

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from monitor.bus.bus import Bus
from monitor.clock import SystemClock
from monitor.errors import BusError, StoreError
from monitor.leader import this_process
from monitor.settings import Settings
from monitor.stage import Component, Vital
from monitor.storage.alert_retention import Forgotten
from monitor.storage.ops import ComponentHealth
from monitor.storage.store import Store

log = structlog.get_logger(__name__)

LOW_DISK_BYTES = 500_000_000
_FORGET_PROCESS_AFTER = timedelta(days=1)
_TRIM_EVERY_S = 3600


class Housekeeping:
    """Runs on the machine's own clock, whatever clock the stages run on.

    `keep`: also delete what is past its retention; the process that aggregates does. `is_shared`: there may be several
    of these; one of them does it at a time.
    """

    name = "housekeeping"

    def __init__(
        self,
        components: Sequence[Component],
        *,
        store: Store,
        bus: Bus,
        settings: Settings,
        keep: bool,
        is_shared: bool = False,
    ) -> None:
        self._clock = SystemClock()
        self.vital = Vital(self._clock)
        self._components = [*components, self]
        self._store = store
        self._bus = bus
        self._settings = settings
        self._keep = keep
        self._is_shared = is_shared
        self._process = this_process()
        self._stopped = asyncio.Event()
        self._beating = asyncio.Lock()

    async def run(self) -> None:
        scheduler = AsyncIOScheduler(timezone=UTC)
        now = self._clock.now()
        await self._forget_the_dead()
        beat_s = self._settings.daemon.heartbeat_s
        every = {"next_run_time": now, "coalesce": True}
        beat = partial(_until_shut_down, self._beat)
        scheduler.add_job(beat, "interval", seconds=beat_s, misfire_grace_time=None, **every)
        if self._keep:
            scheduler.add_job(partial(_until_shut_down, self._trim), "interval", seconds=_TRIM_EVERY_S, **every)
        scheduler.start()
        try:
            await self._stopped.wait()
        finally:
            scheduler.shutdown(wait=False)
            await self._beat(stopped=True)

    async def drain(self) -> None:
        self._stopped.set()

    async def _forget_the_dead(self) -> None:
        """Drops what processes of this machine last said before they died."""
        host = f"{socket.gethostname()}:"
        try:
            known = {part.process for part in await self._store.health.all() if part.process.startswith(host)}
            await self._store.health.forget([process for process in known if not _alive(process.removeprefix(host))])
        except StoreError as error:
            log.warning("dead_processes_not_forgotten", error=str(error))

    async def _beat(self, *, stopped: bool = False) -> None:
        async with self._beating:  # the last one is written last
            await self._report(stopped=stopped)

    async def _report(self, *, stopped: bool) -> None:
        now = self._clock.now()
        try:
            free_bytes = shutil.disk_usage(self._settings.data_dir).free
        except OSError:
            free_bytes = 0
        if free_bytes < LOW_DISK_BYTES:
            self.vital.set("retrying", f"only {free_bytes / 1e6:.0f} MB are free on the disk of data_dir")
            log.warning("disk_nearly_full", free_mb=free_bytes // 1_000_000, data_dir=str(self._settings.data_dir))
        else:
            self.vital.set("ok")
        states = [
            ComponentHealth(
                self._process,
                part.name,
                "stopped" if stopped else part.vital.state,
                part.vital.detail,
                part.vital.since,
                now,
            )
            for part in self._components
        ]
        try:
            with self.vital.step():
                await self._store.health.report(states, now - _FORGET_PROCESS_AFTER)
        except StoreError as error:
            log.warning("heartbeat_not_saved", error=str(error))

    async def _trim(self) -> None:
        try:
            if self._is_shared and not await self._store.leases.acquire("retention", self._process, _TRIM_EVERY_S / 2):
                return  # another copy has just done it
            messages = await self._bus.trim()
            articles = 0
            if days := self._settings.database.retention_days:
                cutoff = self._clock.now() - timedelta(days=days)
                articles = await self._store.articles.delete_before(cutoff)
                await self._store.coverage.delete_before(cutoff)
            forgotten = Forgotten(alerts=0, messages=0)
            if days := self._settings.database.alert_retention_days:
                forgotten = await self._store.alert_retention.delete_before(self._clock.now() - timedelta(days=days))
        except (BusError, StoreError) as error:
            log.warning("retention_skipped", error=str(error))
        else:
            log.info(
                "retention_done", messages=messages, articles=articles,
                alerts=forgotten.alerts, alert_messages=forgotten.messages,
            )  # fmt: skip


async def _until_shut_down(job: Callable[[], Awaitable[None]]) -> None:
    """A scheduler that is shut down cancels what it still runs: no error of the job."""
    with contextlib.suppress(asyncio.CancelledError):
        await job()


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return int(pid) != os.getpid()  # a process before this one may have had its number
