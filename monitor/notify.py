"""Between the daemon and whoever runs it: when to stop; that it is ready, and that its work gets on."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from monitor.clock import SystemClock
from monitor.stage import Component, Vital

log = structlog.get_logger(__name__)

STALL_S = 300.0
"""After so many seconds a step has hung, unless the service manager names a time of its own."""

_LOOK_S = 10.0
_SEND_S = 1.0


class Manager:
    """The service manager that started this process: told over its socket; without an address nobody is told.

    Units:  `watchdog_s`: it restarts a process that has said nothing for so many seconds; None: it never does.
    Source: sd_notify(3), sd_watchdog_enabled(3).
    """

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self._address = address
        self._failed = False
        self.watchdog_s = watchdog_s

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Manager":
        """The one these variables speak of. What is meant for another process, or is no number, is left."""
        told = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = is_ours and told.isdecimal() and int(told) > 0
        return cls(environment.get("NOTIFY_SOCKET") or None, int(told) / 1e6 if watched else None)

    def tell(self, *lines: str) -> None:
        """Sends assignments such as READY=1. That nobody hears them is logged once, and stops nothing."""
        if self._address is None:
            return
        # A name that starts with @ lies in the abstract name space, where a zero byte comes first.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(_SEND_S)
                channel.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            if not self._failed:
                log.warning("service_manager_not_told", socket=self._address, error=error.strerror or str(error))
            self._failed = True
        else:
            self._failed = False


def on_signals(stop: asyncio.Event, reload: asyncio.Event, manager: Manager) -> None:
    """Sets `stop` at SIGTERM or SIGINT, and says so; the second signal ends the process at once.

    Sets `reload` at SIGHUP, which is no end here as it is none to Prometheus, not even that of a terminal.
    """

    def end(name: str) -> None:
        if stop.is_set():
            log.warning("stopping_now", signal=name)
            # Nothing is lost by it: what was not committed comes again.
            os._exit(130)
        log.info("draining", signal=name)
        stop.set()
        manager.tell("STOPPING=1")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number.name)
    loop.add_signal_handler(signal.SIGHUP, reload.set)


class Watchdog:
    """A component that speaks for the others: while one of them hangs in a step, it says nothing.

    A component that retries because the database or the broker is away gets on: another process would fare no better.
    `alive`: files touched whenever there is something good to say, and removed at the end, for the health checks of
    containers.
    Units: `limit_s` is the longest a step may take. Half of the manager's time by default: so a process is restarted
    one to one and a half of that time after the step began.
    """

    name = "watchdog"

    def __init__(
        self,
        components: Sequence[Component],
        manager: Manager,
        *,
        alive: Sequence[Path] = (),
        limit_s: float | None = None,
        look_s: float | None = None,
    ) -> None:
        self.vital = Vital(SystemClock())
        self._components = components
        self._manager = manager
        self._alive = alive
        self._limit_s = limit_s or (manager.watchdog_s / 2 if manager.watchdog_s else STALL_S)
        self._look_s = look_s or min(_LOOK_S, self._limit_s / 4)
        self._hung: frozenset[str] = frozenset()
        self._status = ""
        self._untouched = False
        self._drained = asyncio.Event()

    async def run(self) -> None:
        self._manager.tell("READY=1")
        try:
            while not self._drained.is_set():
                self.look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_s):
                        await self._drained.wait()
        finally:
            for file in self._alive:
                with contextlib.suppress(OSError):
                    file.unlink(missing_ok=True)

    async def drain(self) -> None:
        self._drained.set()

    def look(self) -> None:
        """Says that all is well, unless a component has hung."""
        busy = {part.name: part.vital.busy_s() for part in self._components}
        hung = frozenset(name for name, busy_s in busy.items() if busy_s > self._limit_s)
        for name in sorted(hung - self._hung):
            log.error("component_hung", component=name, busy_s=round(busy[name]), limit_s=round(self._limit_s))
        for name in sorted(self._hung - hung):
            log.info("component_gets_on", component=name)
        self._hung = hung
        self._tell_status()
        if not hung:
            self._manager.tell("WATCHDOG=1")
            self._touch()

    def _tell_status(self) -> None:
        troubles = [
            f"{part.name} retries: {part.vital.detail}" for part in self._components if part.vital.state == "retrying"
        ]
        troubles += [f"{name} has hung" for name in sorted(self._hung)]
        names = ", ".join(part.name for part in self._components)
        # A line break would end the assignment, and begin another.
        status = " ".join("; ".join(troubles).split()) or f"working: {names}"
        if status != self._status:
            self._manager.tell(f"STATUS={status}")
        self._status = status

    def _touch(self) -> None:
        try:
            for file in self._alive:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
        except OSError as error:
            if not self._untouched:
                log.warning("health_file_not_touched", error=str(error))
            self._untouched = True
        else:
            self._untouched = False
