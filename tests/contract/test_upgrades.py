"""Two versions of the program share one database while a rolling restart goes on."""

import asyncio

import pytest
from sqlalchemy import text

from monitor.storage.store import Store
from tests.factories import NOW, make_labelled, make_spike


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
        await older.spikes.save([make_spike()], [], [])
        assert await older.spikes.latest(limit=9) == [make_spike()]
        assert await older.leases.acquire("detect", "a:1", 10) is not None
        assert await older.alerts.join(make_spike(), "all", NOW, NOW) is not None
        async with older._database.read() as connection:
            assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    finally:
        await older.aclose()


async def test_a_database_of_the_version_before_is_brought_up_to_date(store: Store, database_url: str) -> None:
    if ":memory:" in database_url:
        pytest.skip("a database in memory ends with its connection")
    await store.articles.add([make_labelled()])
    async with store._database.write() as connection:
        await connection.execute(text("DROP TABLE lease"))
        await connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    newer = await Store.open(database_url)
    try:
        assert await newer.leases.acquire("detect", "a:1", 10) is not None
        assert (await newer.articles.totals())["articles"] == 1
    finally:
        await newer.aclose()


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
