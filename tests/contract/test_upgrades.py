"""Two versions of the program share one database while a rolling restart goes on."""

import asyncio
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from monitor.storage import migrations
from monitor.storage.store import Store
from tests.factories import NOW, make_labelled, make_spike
from tests.news import stated


async def test_an_older_program_works_on_what_a_newer_one_has_migrated(store: Store, database_url: str) -> None:
    """As after a migration that this program does not know: one more table, one more column."""
    if ":memory:" in database_url:
        pytest.skip("a database in memory ends with its connection")
    async with store._database.write() as connection:
        await connection.execute(text("CREATE TABLE of_a_newer_program (id INTEGER PRIMARY KEY)"))
        await connection.execute(text("ALTER TABLE spike ADD COLUMN of_a_newer_program INTEGER"))
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    older = await Store.open(database_url)
    try:
        assert await older.articles.add([make_labelled()]) == [make_labelled()]
        await stated(older, make_spike())
        assert await older.spikes.latest(limit=9) == [make_spike()]
        assert await older.leases.acquire("detect", "a:1", 10) is not None
        assert await older.alerts.join(make_spike(), "all", NOW, NOW) is not None
        async with older._database.read() as connection:
            assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    finally:
        await older.aclose()


async def test_a_database_of_an_older_version_is_brought_up_to_date(database_url: str) -> None:
    if ":memory:" in database_url:
        pytest.skip("a database in memory ends with its connection")
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.run_sync(_migrate_to, "0002")
        await connection.execute(text(f"INSERT INTO article {_ARTICLE}"))
        await connection.execute(text(f"INSERT INTO trend {_TREND}"))
    await engine.dispose()
    newer = await Store.open(database_url)
    try:
        assert (await newer.articles.totals())["articles"] == 1
        [row] = await newer.articles.trends()
        assert (row.negative, row.stories, row.sources) == (1, 0, 0)
    finally:
        await newer.aclose()


_ARTICLE = """(id, story_id, source, title, summary, language, published_at, time_basis, fetched_at)
    VALUES ('a', 's', 'wire', 'Bank fails', '', 'en', '2025-03-10 09:00:00', 'publisher', '2025-03-10 09:00:00')"""
_TREND = """(resolution_s, bucket_start, key_kind, key, positive, neutral, negative, unlabelled, polarity_micro)
    VALUES (300, '2025-03-10 09:00:00', 'all', 'all', 0, 0, 1, 0, -1)"""


def _migrate_to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


async def test_processes_that_start_at_once_on_an_empty_database_migrate_it_once(database_url: str) -> None:
    if ":memory:" in database_url:
        pytest.skip("a database in memory ends with its connection")
    stores = await asyncio.gather(*(Store.open(database_url) for _ in range(6)))
    try:
        assert [(await store.articles.totals())["articles"] for store in stores] == [0] * 6
        async with stores[0]._database.read() as connection:
            versions = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalars().all()
        assert len(versions) == 1
    finally:
        for store in stores:
            await store.aclose()
