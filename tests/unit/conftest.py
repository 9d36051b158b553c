"""What unit tests share: a clock that stands still, a database and a bus in memory."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.bus.embedded import EmbeddedBus
from monitor.clock import ManualClock
from monitor.storage.database import MEMORY
from monitor.storage.store import Store
from tests.command_line import CommandLine, Fill, Run
from tests.factories import NOW


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = await Store.open(MEMORY)
    yield store
    await store.aclose()


@pytest.fixture
async def bus(clock: ManualClock) -> AsyncIterator[EmbeddedBus]:
    bus = await EmbeddedBus.open(None, partitions=2, retention=timedelta(hours=1), clock=clock)
    yield bus
    await bus.aclose()


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capsys)


@pytest.fixture
def config(line: CommandLine) -> Path:
    return line.config


@pytest.fixture
def run(line: CommandLine) -> Run:
    return line.run


@pytest.fixture
def fill(line: CommandLine) -> Fill:
    return line.fill
