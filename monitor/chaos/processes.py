"""Processes that end with this one, however it ends."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from monitor.errors import ChaosError

_PR_SET_PDEATHSIG = 1
_COMMAND = (sys.executable, "-c", "from monitor.cli import main; main()")
_STOP_S = 60.0
_LAST_LINES = 5


def spawn(
    line: Sequence[str],
    log: Path,
    *,
    user: str | None = None,
    when_orphaned: signal.Signals = signal.SIGKILL,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a process that gets `when_orphaned` once this one is gone. To be called in the main thread."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def bind() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, when_orphaned)

    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603  # our own commands, no shell
            line, stdin=subprocess.DEVNULL, stdout=out, stderr=out, user=user, env=environment, preexec_fn=bind
        )


class Process:
    """A `monitor` command that can be started again; its log grows with every start."""

    def __init__(self, name: str, config: Path, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._line = [*_COMMAND, "--config", str(config), *arguments]
        self._running: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self.starts = 0

    @property
    def age_s(self) -> float:
        """Seconds since its last start."""
        return time.monotonic() - self._started_at

    def start(self) -> None:
        self._started_at = time.monotonic()
        self.starts += 1
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MONITOR_")}
        self._running = spawn(self._line, self.log, environment=environment)

    def ended(self) -> int | None:
        """The exit code; None while it runs, or before it has."""
        return None if self._running is None else self._running.poll()

    def kill(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.wait()

    def stop(self) -> float:
        """Asks it to stop; returns how many seconds that took.

        Raises: ChaosError, if it does not, or not well.
        """
        if self._running is None:
            return 0.0
        began = time.monotonic()
        self._running.terminate()
        try:
            code = self._running.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            raise ChaosError(f"{self.name} did not stop within {_STOP_S:g} s; {self.last_words()}") from None
        if code not in (0, -signal.SIGTERM):  # the latter before it has got as far as listening to signals
            raise ChaosError(f"{self.name} was asked to stop, and ended with {code}; {self.last_words()}")
        return time.monotonic() - began

    def freeze(self) -> None:
        if self._running is not None:
            self._running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._running is not None:
            self._running.send_signal(signal.SIGCONT)

    def logged(self, event: str) -> bool:
        return event in self.log.read_text(encoding="utf-8", errors="replace")

    def last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        return "its last words: " + " | ".join(lines)
