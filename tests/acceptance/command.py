"""The `monitor` command on a folder of its own: in this process where that is enough, else as a process."""

import contextlib
import io
import json
import logging
import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest import mock

import pytest

from monitor.cli import main

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("MONITOR_TEST_SHARED", ROOT / "../shared")).resolve()
ARCHIVE = SHARED / "replay/rss2023_business.jsonl.gz"
MONITOR = Path(sys.executable).with_name("monitor")

LIMIT_S = 120.0
_LOOK_S = 0.02

FACTS = ("article", "label", "trend")
"""Tables that must not depend on how often, or how roughly, an archive was played."""


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self
        return json.loads(self.out)


def until(ask: Callable[[], T], what: str, holds: Callable[[T], object] = bool, limit_s: float = LIMIT_S) -> T:
    """The first answer that holds."""
    deadline = time.monotonic() + limit_s
    while not holds(answer := ask()):
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(_LOOK_S)
    return answer


class Workplace:
    """A folder with a config.toml, and the commands that are given there."""

    def __init__(self, folder: Path, config: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / "config.toml"
        self.config.write_text(config, encoding="utf-8")

    def call(self, *arguments: str, config: bool = True) -> Done:
        """The command in this process."""
        line = ["monitor", *(["--config", str(self.config)] if config else []), *arguments]
        out, err = io.StringIO(), io.StringIO()
        with (
            _process_put_back(),
            mock.patch.object(sys, "argv", line),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as left,
        ):
            main()
        return Done(_exit_code(left.value.code), out.getvalue(), err.getvalue())

    def ask(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        return self.call(*arguments, "--json").json()

    def line(self, *arguments: str) -> list[str]:
        return [str(MONITOR), "--config", str(self.config), *arguments]

    def run(self, *arguments: str, limit_s: float = LIMIT_S) -> Done:
        """The command as a process."""
        ended = subprocess.run(
            self.line(*arguments), capture_output=True, text=True, timeout=limit_s, check=False, cwd=self.folder
        )
        return Done(ended.returncode, ended.stdout, ended.stderr)

    def dump(self, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
        """Whole tables, in an order of their own."""
        with contextlib.closing(self.database()) as database:
            return {table: sorted(database.execute(f"SELECT * FROM {table}"), key=repr) for table in tables or FACTS}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(self.database()) as database:
            return database.execute(query).fetchall()

    def database(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.folder}/data/monitor.sqlite3?mode=ro", uri=True, timeout=10)


class Daemon:
    """`monitor run` as a process; its log goes to a file."""

    def __init__(self, place: Workplace, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._log = place.folder / f"run-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                place.line("run", *arguments),
                stdout=log,
                stderr=log,
                cwd=place.folder,
                env={**os.environ, **(environment or {})},
            )

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def logged(self, text: str, limit_s: float = LIMIT_S) -> None:
        """Waits until the log holds this."""
        until(lambda: text in self.log or self.process.poll() is not None, f"{text} in the log", limit_s=limit_s)
        assert text in self.log, self.log

    def stop(self) -> int:
        """Sends SIGTERM once the daemon listens to signals, and waits for the end; returns the exit code."""
        self.logged('"event": "started"')
        self.process.terminate()
        return self.process.wait(LIMIT_S)


@contextlib.contextmanager
def _process_put_back() -> Iterator[None]:
    """What a command sets for its own process: the root logger, and how much memory parsing may take."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    memory = resource.getrlimit(resource.RLIMIT_AS)
    try:
        yield
    finally:
        root.handlers, root.level = handlers, level
        resource.setrlimit(resource.RLIMIT_AS, memory)


def _exit_code(code: object) -> int:
    return code if isinstance(code, int) else int(code is not None)
