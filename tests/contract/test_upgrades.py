"""Two versions of the program share one database while a rolling restart goes on."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from monitor.clock import ManualClock
from monitor.domain.alerts import Event, Verdict
from monitor.domain.spikes import Spike
from monitor.domain.windows import ALL, Key
from monitor.storage import migrations
from monitor.storage import tables as t
from monitor.storage.alerts import LIVE
from monitor.storage.store import Store
from tests.chain import BANKS, OIL, Chain
from tests.factories import NOW, make_labelled, make_spike, make_story_evidence
from tests.news import stated

KEEP = timedelta(minutes=30)


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
        assert (await older.alerts.take(make_spike(), LIVE, KEEP))[1]
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


def _spike(key: Key, **overrides: Any) -> Spike:
    return make_spike(key=key, stories=(make_story_evidence(title=f"News of {key.name}"),), **overrides)


def _old_notification(alert: dict[str, Any], **overrides: Any) -> dict[str, Any]:
    """A row of `notification`, as release 0003 wrote it."""
    fields = {"id": "c" * 32, "channel": "desk", "recipient": "desk", **overrides}
    body = {**fields, "alert": alert, "created_at": NOW.isoformat()}
    times = {"created_at": NOW, "expires_at": NOW + timedelta(hours=72), "next_attempt_at": NOW}
    return {**fields, **times, "alert_id": alert["id"], "body": body, "state": "pending", "attempts": 2}


async def _left_by_release_0003(connection: AsyncConnection) -> None:
    """An alert of three keys that waits, one of which is over meanwhile; one that was told; a message on its way."""
    over, firing, market = _spike(OIL), _spike(BANKS), _spike(ALL)
    told = _spike(BANKS, id="d" * 32, detected_at=NOW - timedelta(hours=1))
    for alert_id, spikes, columns in (
        ("a" * 32, (over, firing, market), {"due_at": NOW + timedelta(seconds=30)}),
        ("b" * 32, (told,), {"sent_at": NOW - timedelta(hours=1), "outcome": "for 1 recipient(s)"}),
    ):
        row = {"id": alert_id, "group_key": "all", "opened_at": NOW, **columns}
        await connection.execute(t.alert.insert().values(**row))
        for spike in spikes:
            body = spike.model_dump(mode="json", exclude={"threshold"})
            values = {"spike_id": spike.id, "alert_id": alert_id, "body": body}
            await connection.execute(t.alert_spike.insert().values(**values))
            ended = {"state": "resolved", "resolved_at": NOW} if spike is over else {}
            await connection.execute(t.spike.insert().values(**{**_spike_row(spike), **ended}))
    body = {"id": "b" * 32, "group_key": "all", "opened_at": NOW.isoformat(), "spikes": [told.model_dump(mode="json")]}
    await connection.execute(t.notification.insert().values(**_old_notification(body)))
    done = _old_notification(body, id="e" * 32, recipient="other")
    await connection.execute(t.notification.insert().values(**{**done, "state": "delivered", "next_attempt_at": None}))


def _spike_row(spike: Spike) -> dict[str, Any]:
    names = ("id", "detected_at", "observed", "total", "expected", "score", "severity", "sources", "detector", "state")
    row: dict[str, Any] = {name: getattr(spike, name) for name in names}
    row |= {"key_kind": spike.key.kind, "key": spike.key.name, "window_start": spike.start, "window_end": spike.end}
    return {**row, "severity": str(spike.severity), "stories": [], "last_high_at": spike.detected_at}


@pytest.fixture
async def upgraded(database_url: str) -> Any:
    """A store that release 0003 has used."""
    if ":memory:" in database_url:
        store = await Store.open(database_url)
        async with store._database.write() as connection:
            await _left_by_release_0003(connection)
    else:
        engine = create_async_engine(database_url)
        async with engine.begin() as connection:
            await connection.run_sync(_migrate_to, "0003")
            await _left_by_release_0003(connection)
        await engine.dispose()
        store = await Store.open(database_url)
    try:
        yield store
    finally:
        await store.aclose()


async def test_what_an_older_release_left_waiting_is_told_by_key_and_what_it_told_is_not(upgraded: Store) -> None:
    chain = Chain(upgraded, ManualClock(NOW + timedelta(minutes=1)))
    await chain.wait(minutes=5)
    old, *others = sorted(chain.desk.accepted, key=lambda told: told.id != "c" * 32)
    assert (old.id, [alert.key for alert in old.alerts], old.about, old.receiver) == ("c" * 32, [BANKS], 1, "desk")
    assert [(told.event, told.about, [alert.key for alert in told.alerts]) for told in others] == [
        (Event.FIRING, 1, [ALL])
    ]
    assert await chain.verdicts(BANKS) == [Verdict.INHIBITED]
    assert await chain.verdicts(OIL) == [Verdict.INHIBITED]
    delivered = {one.notification.id: one.attempts for one in await upgraded.deliveries.latest(limit=9)}
    assert delivered[old.id] == 3
    assert "e" * 32 not in delivered

    for row in await upgraded.alerts.firing(LIVE):
        if row.alert.key == ALL:
            await chain.end(*row.alert.spikes)
    await chain.wait(hours=2)
    # What was over when it was taken over never fires again; the other is told once the market is calm.
    assert (await chain.verdicts(OIL))[-1] is Verdict.ENDED_UNTOLD
    assert [names for names in chain.desk.about if names == ["Financials"]] == [["Financials"]] * 2
    assert len({told.id for told in chain.desk.accepted}) == len(chain.desk.accepted) == 4


async def test_what_was_taken_over_is_not_taken_over_again(upgraded: Store) -> None:
    assert (await upgraded.alerts.adopt(KEEP), await upgraded.deliveries.adopt()) == (3, 1)
    alerts, deliveries = await upgraded.alerts.firing(LIVE), await upgraded.deliveries.latest(limit=9)
    assert {row.alert.key for row in alerts} == {ALL, BANKS, OIL}
    assert (await upgraded.alerts.adopt(KEEP), await upgraded.deliveries.adopt()) == (0, 0)
    assert await upgraded.alerts.firing(LIVE) == alerts
    assert await upgraded.deliveries.latest(limit=9) == deliveries


async def test_the_end_of_what_an_older_release_told_opens_nothing(upgraded: Store) -> None:
    await upgraded.alerts.adopt(KEEP)
    before = await upgraded.alerts.unrouted(LIVE)
    over = _spike(BANKS, id="d" * 32, detected_at=NOW - timedelta(hours=1), state="resolved", resolved_at=NOW)
    assert (await upgraded.alerts.take(over, LIVE, KEEP))[0] == "b" * 32
    assert await upgraded.alerts.unrouted(LIVE) == before
    assert await upgraded.groups.next_due(LIVE) is not None
