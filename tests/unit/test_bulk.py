"""Rows that are inserted in bulk are those that the toolkit would have written."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Text, column, insert, select, table, text

from monitor.domain.record import utc
from monitor.storage import tables as t
from monitor.storage.store import Store

DAY = utc(2026, 3, 4, 11)


@pytest.mark.parametrize(
    "moment",
    [DAY, DAY.replace(microsecond=7), utc(999, 1, 1), DAY.astimezone(timezone(timedelta(hours=-5)))],
)
async def test_times_are_the_same_text(store: Store, moment: datetime) -> None:
    counts = {"positive": 1, "neutral": 0, "negative": 0, "unlabelled": 0, "polarity_micro": -5}
    counts |= {"stories": 0, "negative_stories": 0, "sources": 0}
    rows: list[dict[str, Any]] = [
        {"resolution_s": 300, "bucket_start": moment, "key_kind": "all", "key": key, **counts} for key in ("a", "b")
    ]
    async with store._database.write() as connection:
        await store._database.bulk(t.trend).insert(connection, [tuple(rows[0].values())])
        await connection.execute(insert(t.trend), rows[1:])
        raw = table("trend", column("bucket_start", Text))
        assert len(set((await connection.execute(select(raw.c.bucket_start))).scalars())) == 1


async def test_what_is_there_is_left_or_added_to(store: Store) -> None:
    row = (300, DAY, "all", "all", 1, 2, 3, 4, -5, 0, 0, 0)
    adding = store._database.bulk(t.trend, add=["positive", "polarity_micro"])
    async with store._database.write() as connection:
        await adding.insert(connection, [row])
        await adding.insert(connection, [row])
        await store._database.bulk(t.trend).insert(connection, [row])
        await adding.insert(connection, [])
        counted = (await connection.execute(text("SELECT positive, neutral, polarity_micro FROM trend"))).one()
    assert tuple(counted) == (2, 2, -10)


async def test_a_column_may_count_the_rows_of_another_table(store: Store) -> None:
    trends = store._database.bulk(t.trend, add=["positive"], count=("sources", t.trend_source))
    sources = store._database.bulk(t.trend_source)
    row = (300, DAY, "all", "all", 1, 2, 3, 4, -5, 0, 0)
    found = []
    async with store._database.write() as connection:
        for names in ([], ["a", "b"], ["b", "c"]):
            await sources.insert(connection, [(*row[:4], name) for name in names])
            await sources.insert(connection, [(*row[:3], f"not {row[3]}", name) for name in names])
            await trends.insert(connection, [row])
            found.append(tuple((await connection.execute(text("SELECT positive, sources FROM trend"))).one()))
    assert found == [(1, 0), (2, 2), (3, 3)]


async def test_counting_does_not_read_the_other_table_from_end_to_end() -> None:
    store = await Store.open("sqlite+aiosqlite://")
    trends = store._database.bulk(t.trend, add=["positive"], count=("sources", t.trend_source))
    async with store._database.read() as connection:
        plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {trends._insert}", (None,) * 11)
        steps = [row[-1] for row in plan]
    await store.aclose()
    assert [step for step in steps if step.startswith("SEARCH trend_source USING COVERING INDEX")]
    assert not [step for step in steps if step.startswith("SCAN trend")]
