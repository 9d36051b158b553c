"""The stores and buses that the contracts are run on."""

import gc
import os
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from monitor.bus.bus import Bus
from monitor.bus.embedded import EmbeddedBus
from monitor.bus.kafka import KafkaBus
from monitor.clock import ManualClock
from monitor.storage.database import MEMORY, sqlite_url
from monitor.storage.store import Store
from tests.brokers import broker, bus_settings
from tests.factories import NOW
from tests.messages import PARTITIONS, RETENTION, Reopen
from tests.postgres import server


@pytest.fixture(autouse=True)
def _cut_off(request: pytest.FixtureRequest) -> Iterator[None]:
    """aiokafka forgets connections that were cut while they were made: collected here, they disturb no later test."""
    yield
    if "kafka" in request.node.nodeid:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server: the one named in MONITOR_TEST_POSTGRES, else one started for these tests."""
    if named := os.environ.get("MONITOR_TEST_POSTGRES"):
        yield named
        return
    with server() as running:
        yield running.url.render_as_string(hide_password=False)


@pytest.fixture(params=["memory", "file", "postgres"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """An empty database of each kind."""
    if request.param == "memory":
        yield MEMORY
        return
    if request.param == "file":
        yield sqlite_url(tmp_path / "store.sqlite3")
        return
    server = make_url(request.getfixturevalue("postgres"))
    name = f"test_{uuid.uuid4().hex}"
    admin = create_async_engine(server, isolation_level="AUTOCOMMIT")
    try:
        async with admin.connect() as connection:
            await connection.execute(text(f"CREATE DATABASE {name}"))
        yield server.set(database=name).render_as_string(hide_password=False)
        if "MONITOR_TEST_POSTGRES" in os.environ:  # the other one goes as a whole
            async with admin.connect() as connection:
                await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        await admin.dispose()


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = await Store.open(database_url)
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The host:port of a broker, the same for all tests: each takes topics of its own."""
    with broker() as url:
        yield url


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture(params=["memory", "file", "kafka"])
def bus_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["file", "kafka"])
def durable_bus_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def bus(bus_kind: str, request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    """An empty bus of each kind."""
    bus: Bus
    if bus_kind == "kafka":
        bus = await KafkaBus.open(bus_settings(request.getfixturevalue("kafka"), partitions=PARTITIONS))
    else:
        path = None if bus_kind == "memory" else tmp_path / "bus.sqlite3"
        bus = await EmbeddedBus.open(path, partitions=PARTITIONS, retention=RETENTION, clock=clock)
    try:
        yield bus
    finally:
        await bus.aclose()


@pytest.fixture
async def reopen(
    durable_bus_kind: str, request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Reopen]:
    """Opens one and the same durable bus, as often as it is called."""
    opened: list[Bus] = []
    settings = None
    if durable_bus_kind == "kafka":
        settings = bus_settings(request.getfixturevalue("kafka"), partitions=PARTITIONS)

    async def open_again() -> Bus:
        path = tmp_path / "log" / "bus.sqlite3"
        bus: Bus = (
            await EmbeddedBus.open(path, partitions=PARTITIONS, retention=RETENTION, clock=clock)
            if settings is None
            else await KafkaBus.open(settings)
        )
        opened.append(bus)
        return bus

    yield open_again
    for bus in opened:
        await bus.aclose()
