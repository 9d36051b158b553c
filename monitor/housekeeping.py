"""What has to be done now and then: reports of health, and the deletion of what has outlived its retention."""

import asyncio
import os
import shutil
import socket
from collections.abc import Sequence
from datetime import UTC, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from monitor.bus.bus import Bus
from monitor.clock import SystemClock
from monitor.errors import BusError, StoreError
from monitor.settings import Settings
from monitor.stage import Component, Vital
from monitor.storage.ops import ComponentHealth
from monitor.storage.store import Store

log = structlog.get_logger(__name__)

LOW_DISK_BYTES = 500_000_000
_FORGET_PROCESS_AFTER = timedelta(days=1)
_TRIM_EVERY_S = 3600


class Housekeeping:
    """Runs on the machine's own clock, whatever clock the stages run on.

    `keep`: also delete what is past its retention; one process does, the one that aggregates.
    """

    name = "housekeeping"

    def __init__(
        self, components: Sequence[Component], *, store: Store, bus: Bus, settings: Settings, keep: bool
    ) -> None:
        self._clock = SystemClock()
        self.vital = Vital(self._clock)
        self._components = [*components, self]
        self._store = store
        self._bus = bus
        self._settings = settings
        self._keep = keep
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        scheduler = AsyncIOScheduler(timezone=UTC)
        now = self._clock.now()
        await self._forget_the_dead()
        beat_s = self._settings.daemon.heartbeat_s
        scheduler.add_job(
            self._beat, "interval", seconds=beat_s, next_run_time=now, coalesce=True, misfire_grace_time=None
        )
        if self._keep:
            scheduler.add_job(self._trim, "interval", seconds=_TRIM_EVERY_S, next_run_time=now, coalesce=True)
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
            await self._store.health.report(states, now - _FORGET_PROCESS_AFTER)
        except StoreError as error:
            log.warning("heartbeat_not_saved", error=str(error))

    async def _trim(self) -> None:
        try:
            messages = await self._bus.trim()
            articles = 0
            if days := self._settings.database.retention_days:
                articles = await self._store.articles.delete_before(self._clock.now() - timedelta(days=days))
        except (BusError, StoreError) as error:
            log.warning("retention_skipped", error=str(error))
        else:
            log.info("retention_done", messages=messages, articles=articles)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return int(pid) != os.getpid()  # a process before this one may have had its number
