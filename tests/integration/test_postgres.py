"""What only PostgreSQL does: many writers at once, restarts, passwords, roles that only read."""

import asyncio
import contextlib
import random
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from monitor import stage as stage_module
from monitor.bus.bus import Message
from monitor.bus.embedded import EmbeddedBus
from monitor.bus.streams import Group, Stream
from monitor.clock import ManualClock
from monitor.domain.labels import LabelledArticle
from monitor.domain.record import encode
from monitor.domain.windows import RESOLUTIONS_S
from monitor.errors import ConfigError, MonitorError, Reason, RecordError, StoreError
from monitor.settings import AggregateSettings
from monitor.stage import Stage
from monitor.storage import tables
from monitor.storage.analysts import VIEWS
from monitor.storage.database import Database
from monitor.storage.store import Store
from pipelines.aggregate.stage import Aggregate
from tests import postgres
from tests.acceptance.command import Workplace
from tests.factories import NOW, make_article, make_labelled

SECRET = "hunter2"


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.server() as running:
        yield running


@pytest.fixture
async def url(server: postgres.Server, request: pytest.FixtureRequest) -> AsyncIterator[URL]:
    """An empty database."""
    name = f"db_{abs(hash(request.node.name))}"
    server.sql(f"CREATE DATABASE {name};")
    yield server.url.set(database=name)
    server.sql(f"DROP DATABASE {name} WITH (FORCE);")


def plain(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def news(count: int) -> list[LabelledArticle]:
    """Articles that meet in few buckets."""
    return [
        make_labelled(
            article=make_article(title=f"Story {n}", source="ab"[n % 2], published_at=NOW - timedelta(minutes=n % 7))
        )
        for n in range(count)
    ]


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    while True:
        if await holds():
            return
        await asyncio.sleep(0.01)


async def some_are_stored(bus: EmbeddedBus) -> bool:
    return await bus.lag(Group.AGGREGATE) <= 1800


async def is_retrying(stage: Stage) -> bool:
    return stage.vital.state == "retrying"


async def assert_adds_up(store: Store, articles: int) -> None:
    assert (await store.articles.totals())["articles"] == articles
    for resolution in RESOLUTIONS_S:
        recount = await store.recount(resolution, negative_from=0.25)
        assert (len(recount.stored), recount.differing) == (len(recount.counted), set())
        whole = await store.articles.trends(resolution=resolution, kinds=["all"])
        assert sum(stats.articles for stats in whole) == articles


@pytest.mark.parametrize("seed", range(3))
async def test_many_writers_on_the_same_buckets_never_lock_each_other_out(url: URL, seed: int) -> None:
    """Batches overlap and come in any order, from several processes' worth of connections."""
    chance = random.Random(seed)
    articles = news(300)
    stores = [await Store.open(plain(url)) for _ in range(4)]
    try:
        batches = [chance.sample(articles, chance.randint(1, 120)) for _ in range(60)]
        batches.append(articles)
        added = await asyncio.gather(*(stores[n % 4].articles.add(batch) for n, batch in enumerate(batches)))
        ids = [item.article.id for new in added for item in new]
        assert sorted(ids) == sorted(item.article.id for item in articles)
        await assert_adds_up(stores[0], 300)
    finally:
        for store in stores:
            await store.aclose()


async def test_a_transaction_that_loses_a_deadlock_is_done_again(url: URL) -> None:
    """Somebody else locks two buckets in the order that our writers never take."""
    store = await Store.open(plain(url))
    other = create_async_engine(url, connect_args={"server_settings": {"deadlock_timeout": "10s"}})
    try:
        await store.articles.add(news(1))
        rows = "SELECT 1 FROM trend WHERE resolution_s = {} FOR UPDATE"
        async with other.begin() as connection:
            await connection.execute(text(rows.format(86400)))
            adding = asyncio.create_task(store.articles.add(news(2)))
            async with asyncio.timeout(20):
                waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                await until(lambda: connection.scalar(text(waiting)))
                await connection.execute(text(rows.format(300)))  # now each waits for the other
        assert len(await adding) == 1
        await assert_adds_up(store, 2)
    finally:
        await other.dispose()
        await store.aclose()


async def test_processes_that_start_at_once_migrate_once(url: URL) -> None:
    databases = await asyncio.gather(*(Database.open(plain(url)) for _ in range(5)))
    for database in databases:
        await database.aclose()
    store = await Store.open(plain(url))
    await assert_adds_up(store, 0)
    await store.aclose()


async def test_a_server_that_is_restarted_costs_nothing(
    url: URL, server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "_FIRST_RETRY_S", 0.05)
    monkeypatch.setattr(stage_module, "_LAST_RETRY_S", 0.2)
    clock = ManualClock(NOW)
    bus = await EmbeddedBus.open(None, partitions=2, retention=timedelta(hours=1), clock=clock)
    store = await Store.open(plain(url))
    aggregate = Stage(
        "aggregate", inbox=await bus.subscribe(Group.AGGREGATE), bus=bus, outbox=None,
        processor=Aggregate(store, AggregateSettings()), clock=clock, max_batch=10,
    )  # fmt: skip
    running = asyncio.create_task(aggregate.run())
    try:
        articles = news(2000)
        messages = [Message(item.article.id, encode(item)) for item in articles]
        await bus.publish(Stream.LABELLED, messages)
        async with asyncio.timeout(60):
            await until(lambda: some_are_stored(bus))
            await asyncio.to_thread(server.stop)
            await until(lambda: is_retrying(aggregate))
            assert await bus.lag(Group.AGGREGATE) > 0
            told = aggregate.vital.detail or ""
            assert "database.url" in told
            assert "tried again" in told
            await asyncio.to_thread(server.start)
            await aggregate.drain()
            await running
        assert aggregate.rejected == 0
        await assert_adds_up(store, 2000)
    finally:
        running.cancel()
        await store.aclose()
        await bus.aclose()


async def test_a_server_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.storage.database._CONNECT_S", 0.2)

    left = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    async with asyncio.timeout(30), await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(StoreError) as caught:
            await Database.open(f"postgresql+asyncpg://u:{SECRET}@127.0.0.1:{port}/x?ssl=disable")
        await left.wait()
    assert caught.value.reason is Reason.TIMEOUT
    assert "database.url" in str(caught.value)


async def test_a_statement_without_an_answer_is_given_up(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.storage.database._engine.__kwdefaults__", {"limit_s": 3.0}, raising=False)
    database = await Database.open(plain(url))
    async with asyncio.timeout(30):
        with pytest.raises(StoreError) as caught:
            async with database.write() as connection:
                await connection.execute(text("SELECT pg_sleep(60)"))
    assert caught.value.reason is Reason.TIMEOUT
    async with database.read() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    await database.aclose()


async def test_a_network_that_goes_dead_is_noticed_and_its_return_too(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections stay open and carry nothing: no error tells of it."""
    monkeypatch.setattr("monitor.storage.database._engine.__kwdefaults__", {"limit_s": 3.0}, raising=False)
    monkeypatch.setattr("monitor.storage.database._CONNECT_S", 3.0)
    async with _Wire(f"{url.query['host']}/.s.PGSQL.5432") as wire, asyncio.timeout(60):
        through = url.set(host="127.0.0.1", port=wire.port, query={"ssl": "disable"})
        store = await Store.open(plain(through))
        await store.articles.add(news(1))
        wire.dead = True
        with pytest.raises(StoreError, match=r"timeout: database\.url"):
            await store.articles.add(news(2))
        wire.dead = False
        await store.articles.add(news(2))
        await assert_adds_up(store, 2)
        await store.aclose()


class _Wire:
    """Joins a port of loopback to a socket of the file system; while `dead` it swallows what comes."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.dead = False

    async def __aenter__(self) -> "_Wire":
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._target)
        self._writers += [writer, back]
        for source, target in ((reader, back), (there, writer)):
            self._tasks.add(asyncio.create_task(self._carry(source, target)))

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await source.read(65_536):
                if not self.dead:
                    target.write(piece)
                    await target.drain()
        target.close()


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"username": "locked", "password": SECRET}, Reason.AUTH, "user and password in database.url"),
        ({"username": "nobody", "password": SECRET}, Reason.AUTH, "user and password in database.url"),
        ({"database": "missing", "password": SECRET}, Reason.CLIENT_ERROR, "CREATE DATABASE"),
        ({"query": {"host": "/nowhere"}, "password": SECRET}, Reason.UNREACHABLE, "check that the server runs"),
        ({"query": {}, "host": "127.0.0.1", "port": 1, "password": SECRET}, Reason.UNREACHABLE, "127.0.0.1:1"),
    ],
)
async def test_what_cannot_be_opened_names_the_setting_and_the_remedy(
    server: postgres.Server, change: dict[str, object], reason: Reason, says: str
) -> None:
    if change.get("username") == "locked":
        server.sql("DROP ROLE IF EXISTS locked; CREATE ROLE locked LOGIN PASSWORD 'other';")
        server.ask_for_passwords_of("locked")
    with pytest.raises(StoreError) as caught:
        await Database.open(plain(server.url.set(**change)))  # type: ignore[arg-type]
    assert caught.value.reason is reason
    assert "database.url" in str(caught.value)
    assert says in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_a_database_that_takes_no_writes_says_so(url: URL, server: postgres.Server) -> None:
    await (await Store.open(plain(url))).aclose()
    server.sql(f"ALTER DATABASE {url.database} SET default_transaction_read_only = on;")
    store = await Store.open(plain(url))
    try:
        with pytest.raises(StoreError, match=r"database\.url .*read-only.*name the primary in database\.url"):
            await store.articles.add(news(1))
    finally:
        await store.aclose()


@pytest.mark.parametrize(
    ("sqlstate", "kind", "says"),
    [
        ("53100", StoreError, "free some space on the disk of the server"),
        ("53300", StoreError, "max_connections"),
        ("42501", StoreError, "grant it to the role in database.url"),
        ("22021", RecordError, "as told"),
    ],
)
async def test_what_the_server_refuses_names_the_remedy(
    url: URL, sqlstate: str, kind: type[MonitorError], says: str
) -> None:
    database = await Database.open(plain(url))
    try:
        with pytest.raises(kind, match=r"database\.url") as caught:
            async with database.write() as connection:
                await connection.exec_driver_sql(
                    f"DO $$ BEGIN RAISE EXCEPTION 'as told' USING ERRCODE = '{sqlstate}'; END $$"
                )
        assert says in str(caught.value)
    finally:
        await database.aclose()


async def test_an_analyst_reads_the_views_and_nothing_else(
    url: URL, server: postgres.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(plain(url))
    await store.articles.add(news(3))
    await store.aclose()
    server.sql('DROP ROLE IF EXISTS "An Analyst";')
    server.ask_for_passwords_of('"An Analyst"')
    monkeypatch.setenv("MONITOR_ANALYST_PASSWORD", SECRET)
    place = Workplace(tmp_path, f'[database]\nurl = "{plain(url)}"\n')
    # In a thread: the command runs an event loop of its own.
    first = await asyncio.to_thread(place.run, "database", "grant-analyst", "An Analyst")
    again = await asyncio.to_thread(place.run, "database", "grant-analyst", "An Analyst")
    assert (first.code, again.code) == (0, 0), (first, again)
    assert ("made" in first.out, "found" in again.out) == (True, True)
    analyst = create_async_engine(url.set(username="An Analyst", password=SECRET))
    try:
        for view in VIEWS:
            async with analyst.connect() as connection:
                await connection.execute(text(f"SELECT * FROM {view}"))
        async with analyst.connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM headlines")) == 3
        for table in tables.metadata.tables:
            with pytest.raises(DBAPIError, match="permission denied"):
                async with analyst.connect() as connection:
                    await connection.execute(text(f"SELECT * FROM {table}"))
        with pytest.raises(DBAPIError, match=r"read-only|permission denied"):
            async with analyst.connect() as connection:
                await connection.execute(text("CREATE TABLE mine (a int)"))
        with pytest.raises(DBAPIError, match="password"):
            async with create_async_engine(url.set(username="An Analyst", password="no")).connect():
                pass
    finally:
        await analyst.dispose()


async def test_the_views_are_those_that_the_migrations_make(url: URL) -> None:
    database = await Database.open(plain(url))
    async with database.read() as connection:
        query = text("SELECT viewname FROM pg_views WHERE schemaname = current_schema() ORDER BY viewname")
        assert tuple((await connection.execute(query)).scalars()) == VIEWS
    await database.aclose()


async def test_a_role_that_reads_tables_anyway_is_refused(url: URL) -> None:
    store = await Store.open(plain(url))
    try:
        with pytest.raises(ConfigError, match=r"ROLE: .*postgres can read the tables"):
            await store.analysts.grant("postgres", None)
    finally:
        await store.aclose()


def test_sqlite_has_no_analysts(tmp_path: Path) -> None:
    done = Workplace(tmp_path).call("database", "grant-analyst", "reader")
    assert done.code == 2
    assert "expected PostgreSQL" in done.err
