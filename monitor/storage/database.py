"""The database: SQLite or PostgreSQL behind one SQLAlchemy engine, migrated on opening."""

import asyncio
import contextlib
import functools
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Table, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util import await_only

from monitor.errors import ConfigError, Mistake
from monitor.storage.bulk import Bulk
from monitor.storage.failures import ConflictError, failure

log = structlog.get_logger(__name__)

MEMORY = "sqlite+aiosqlite:///:memory:"

P = ParamSpec("P")
T = TypeVar("T")

_CACHE_KIB = 65_536
_CONNECT_S = 10.0
# Longer than any statement of ours takes, deletions go day by day: what takes longer speaks to a network that is gone.
_STATEMENT_S = 60.0
# The server lets go of what a client held that is gone without a word.
_KEEPALIVE = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
_ATTEMPTS = 6
_MODE_ATTEMPTS = 100
_BEGIN = "monitor_begin"  # how a transaction of SQLite starts
_MIGRATION_LOCK = 0x6D6F6E69746F72  # any number that nothing else locks

_MIGRATIONS = Path(__file__).parent / "migrations"


def sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


class Database:
    """Hands out transactions, and turns what the driver raises into StoreError.

    Raises: StoreError, if the database cannot be reached, read or written.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._dialect = engine.dialect.name

    @classmethod
    async def open(cls, url: str) -> "Database":
        """Connects and brings the schema up to date.

        Raises: ConfigError, if the URL cannot be used.
        """
        database = cls(_engine(url))
        try:
            async with database.read() as connection:
                current = await connection.run_sync(_is_current)
            if not current:  # else reading need not wait for a writer
                await database._migrate(url)
        except BaseException:
            await database.aclose()
            raise
        return database

    async def _migrate(self, url: str) -> None:
        if self._dialect == "sqlite":
            async with self.write() as connection:
                await connection.run_sync(_migrate)
            return
        patient = Database(_engine(url, limit_s=None))  # an index on a large table takes as long as it takes
        try:
            async with patient.write() as connection:
                # Of several processes that start at once one migrates; the others find it done.
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
                await connection.run_sync(_migrate)
        finally:
            await patient.aclose()

    async def aclose(self) -> None:
        await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read from; each statement sees one state of the tables."""
        async with self._begin() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read from; all statements see the same state of the tables, whoever writes meanwhile."""
        options = {_BEGIN: "BEGIN"} if self._dialect == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        async with self._begin(**options) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits at the end of the block, or leaves no trace."""
        async with self._begin(**{_BEGIN: "BEGIN IMMEDIATE"}) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _begin(self, **options: str) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(**options)
                async with connection.begin():
                    yield connection
        except (SQLAlchemyError, OSError) as error:
            raise failure(error, self._engine.url) from error

    def insert(self, table: Table) -> Any:
        """An INSERT that knows ON CONFLICT; both dialects spell it alike."""
        return postgresql.insert(table) if self._dialect == "postgresql" else sqlite.insert(table)

    def bulk(self, table: Table, *, add: Sequence[str] = (), count: tuple[str, Table] | None = None) -> Bulk:
        """An INSERT of many rows at once; what is there already is left, or added to."""
        return Bulk(table, self._engine.dialect, add=add, count=count)


def to_the_end(write: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Tries again where another transaction stood in the way; cancelled, waits for the transaction to end.

    A transaction left in the middle would keep the database locked for as long as anybody holds on to the cancellation.
    """

    async def persistent(*args: P.args, **kwargs: P.kwargs) -> T:
        for attempt in range(_ATTEMPTS - 1):
            with contextlib.suppress(ConflictError):
                return await write(*args, **kwargs)
            await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))
        return await write(*args, **kwargs)

    @functools.wraps(write)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        task = asyncio.create_task(persistent(*args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            while not task.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # looked at: what is cancelled has nobody left to tell
            raise

    return wrapped


def _engine(url: str, *, limit_s: float | None = _STATEMENT_S) -> AsyncEngine:
    try:
        parsed = make_url(url)
        options: dict[str, Any] = {}
        if parsed.get_backend_name() == "postgresql":
            options = {
                # A server that was restarted is noticed before a transaction begins, not in the middle of it.
                "pool_pre_ping": True,
                "connect_args": {
                    "timeout": _CONNECT_S,
                    "command_timeout": limit_s,
                    "server_settings": {"application_name": "monitor", **_KEEPALIVE},
                },
            }
        elif parsed.database in (None, "", ":memory:"):
            # An in-memory database lives in its one connection: the pool lends it to one transaction at a time.
            options = {"poolclass": AsyncAdaptedQueuePool, "pool_size": 1, "max_overflow": 0}
        elif parsed.get_backend_name() == "sqlite":
            options = {"pool_use_lifo": True}  # the connection used last knows most pages
        engine = create_async_engine(url, **options)
    except (SQLAlchemyError, ImportError, TypeError) as error:
        raise ConfigError("database", [Mistake("database.url", f"expected an async SQLAlchemy URL: {error}")]) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _sqlite_connect)
        event.listen(engine.sync_engine, "begin", _sqlite_begin)
    elif engine.dialect.name != "postgresql":
        raise ConfigError("database", [Mistake("database.url", "expected sqlite+aiosqlite or postgresql+asyncpg")])
    return engine


def _sqlite_connect(connection: Any, _: object) -> None:
    # The driver must not begin transactions by itself: _sqlite_begin does, knowing whether they will write.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("busy_timeout = 10000", "synchronous = NORMAL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    _write_ahead(cursor)
    # Ids are hashes: each article changes a page anywhere in its indexes. These pages are kept at hand, in KiB, and are
    # put in their places once for many transactions (64 MiB of them) instead of once for each.
    cursor.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    cursor.execute("PRAGMA wal_autocheckpoint = 16384")
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    # Of several processes that make the file at once one changes its mode, and the others are refused without the wait
    # that busy_timeout promises: https://sqlite.org/c3ref/busy_handler.html, on deadlocks.
    for _ in range(_MODE_ATTEMPTS):
        with contextlib.suppress(sqlite3.OperationalError):
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        await_only(asyncio.sleep(random.uniform(0.01, 0.05)))
    cursor.execute("PRAGMA journal_mode = WAL")


def _sqlite_begin(connection: Connection) -> None:
    # A reader that turns writer halfway fails at once if another wrote meanwhile; taking the lock first waits.
    # A lone SELECT sees one state of the tables without a transaction.
    if begin := connection.get_execution_options().get(_BEGIN):
        connection.exec_driver_sql(begin)


def _is_current(connection: Connection) -> bool:
    """Whether there is nothing to migrate. What a newer program has migrated is left so: migrations only add."""
    scripts = ScriptDirectory(str(_MIGRATIONS))
    applied = MigrationContext.configure(connection).get_current_heads()
    unknown = set(applied).difference(script.revision for script in scripts.walk_revisions())
    if unknown:
        log.info("schema_is_newer", revision=", ".join(sorted(unknown)), newest_known=scripts.get_current_head())
    return bool(unknown) or applied == tuple(scripts.get_heads())


def _migrate(connection: Connection) -> None:
    if _is_current(connection):
        return
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
