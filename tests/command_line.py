"""Commands run in this process, on tables that a test has filled."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from pydantic_core import from_json

from monitor.cli import app
from monitor.storage.database import sqlite_url
from monitor.storage.store import Store

T = TypeVar("T")


class Printed(NamedTuple):
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return from_json(self.out)


class CommandLine:
    """A folder with a configuration, that it runs commands in. Lines are wide, so that no cell is cut."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = folder / "config.toml"
        self.config.write_text("")
        monkeypatch.setenv("MONITOR_CONFIG", str(self.config))
        monkeypatch.setattr("monitor.cli.output.console.width", 400)
        self._capsys = capsys

    def run(self, *arguments: str) -> Printed:
        """Raises: ConfigError, as the command does."""
        self._capsys.readouterr()  # what filling the tables has logged
        code = app(list(arguments), standalone_mode=False)
        printed = self._capsys.readouterr()
        return Printed(code or 0, printed.out, printed.err)

    def fill(self, do: Callable[[Store], Awaitable[T]]) -> T:
        """Does something with the tables that the commands read."""

        async def with_store() -> T:
            (self.config.parent / "data").mkdir(exist_ok=True)
            store = await Store.open(sqlite_url(self.config.parent / "data/monitor.sqlite3"))
            try:
                return await do(store)
            finally:
                await store.aclose()

        return asyncio.run(with_store())


Run = Callable[..., Printed]
Fill = Callable[[Callable[[Store], Awaitable[Any]]], Any]
