"""The database: SQLite or PostgreSQL behind one SQLAlchemy engine, migrated on opening."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Table, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from monitor.errors import ConfigError, Mistake, Reason, StoreError

MEMORY = "sqlite+aiosqlite:///:memory:"

P = ParamSpec("P")
T = TypeVar("T")

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
                async with database.write() as connection:
                    await connection.run_sync(_migrate)
        except BaseException:
            await database.aclose()
            raise
        return database

    async def aclose(self) -> None:
        await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read from; each statement sees one state of the tables."""
        async with self._begin(write=False) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits at the end of the block, or leaves no trace."""
        async with self._begin(write=True) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _begin(self, *, write: bool) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(monitor_write=write)
                async with connection.begin():
                    yield connection
        except DBAPIError as error:
            text = str(error.orig)
            full = "disk is full" in text or "No space left" in text
            raise StoreError(
                Reason.STORAGE_FULL if full else Reason.STORAGE,
                f"database: {text}" + ("; free some space on its disk" if full else ""),
            ) from error
        except (SQLAlchemyError, OSError) as error:
            raise StoreError(Reason.STORAGE, f"database: {error}") from error

    def insert(self, table: Table) -> Any:
        """An INSERT that knows ON CONFLICT; both dialects spell it alike."""
        return postgresql.insert(table) if self._dialect == "postgresql" else sqlite.insert(table)


def to_the_end(write: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Cancelled, this waits for the transaction to end before it says so.

    A transaction left in the middle would keep the database locked for as long as anybody holds on to the cancellation.
    """

    @functools.wraps(write)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        task = asyncio.create_task(write(*args, **kwargs))
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


def _engine(url: str) -> AsyncEngine:
    try:
        parsed = make_url(url)
        memory = parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")
        # An in-memory database lives in its one connection: the pool lends it to one transaction at a time.
        pool = {"poolclass": AsyncAdaptedQueuePool, "pool_size": 1, "max_overflow": 0} if memory else {}
        engine = create_async_engine(url, **pool)
    except (SQLAlchemyError, ImportError) as error:
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
    for pragma in ("busy_timeout = 10000", "journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    # A reader that turns writer halfway fails at once if another wrote meanwhile; taking the lock first waits.
    # A lone SELECT sees one state of the tables without a transaction.
    if connection.get_execution_options().get("monitor_write", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _is_current(connection: Connection) -> bool:
    heads = ScriptDirectory(str(_MIGRATIONS)).get_heads()
    return MigrationContext.configure(connection).get_current_heads() == tuple(heads)


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
