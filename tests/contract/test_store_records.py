"""What every database keeps to: feeds, spikes, alerts, dead letters and health come back as they were saved."""

import asyncio
import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from monitor.domain.alerts import Alert
from monitor.domain.dead_letters import DeadLetter
from monitor.domain.record import fingerprint
from monitor.domain.windows import ALL, Key
from monitor.errors import DeliveryError, Reason, StoreError
from monitor.storage import tables
from monitor.storage.feeds import FeedState
from monitor.storage.ops import ComponentHealth
from monitor.storage.sightings import Looked
from monitor.storage.store import Store
from tests.factories import NOW, make_labelled, make_notification, make_spike
from tests.news import stated

HOSTILE = "line\0 \ud800 \x1b[2J żółć ‮ " + "x" * 300
MINUTE = timedelta(minutes=1)


def _letter(number: int = 0, **overrides: Any) -> DeadLetter:
    fields: dict[str, Any] = {
        "id": fingerprint(str(number)),
        "stage": "classify",
        "stream": "articles",
        "key": "key",
        "value": bytes(range(256)),
        "reason": Reason.INVALID,
        "detail": "broken",
        "failed_at": NOW + number * MINUTE,
    }
    return DeadLetter(**{**fields, **overrides})


async def test_a_feed_comes_back_as_it_was_saved(store: Store) -> None:
    bare = FeedState(name="bare", url="https://example.com", cursor={})
    full = FeedState(
        name="full", url="https://example.com/x", cursor={"etag": 'W/"é\ud800"', "n": [1, None]}, next_poll_at=NOW,
        last_polled_at=NOW, last_success_at=NOW, last_new_at=NOW, failures=3, reason=Reason.NOT_A_FEED, detail="told",
        moved_to="https://example.org", parked=True, articles=12,
    )  # fmt: skip
    for state in (full, bare, full._replace(failures=0, reason=None), full):
        await store.feeds.save(state)
    assert await store.feeds.all() == {"bare": bare, "full": full}


async def test_what_the_other_side_said_can_always_be_saved(store: Store) -> None:
    """Neither database takes every string that a Python program can hold."""
    await store.feeds.save(FeedState(name="f", url="u", cursor={}, reason=Reason.PROTOCOL, detail=HOSTILE))
    await store.dead_letters.add([_letter(detail=HOSTILE)])
    await store.health.report([ComponentHealth("p", "n", "retrying", HOSTILE, NOW, NOW)], NOW)
    said = [
        (await store.feeds.all())["f"].detail,
        (await store.dead_letters.list(limit=1))[0].detail,
        (await store.health.all())[0].detail,
    ]
    assert said == [HOSTILE.replace("\0", "\ufffd").replace("\ud800", "\ufffd")] * 3


async def test_dead_letters_keep_every_byte(store: Store) -> None:
    letters = [_letter(0), _letter(1, value=b"", stream=None), _letter(2, value=b"\0\xff" * 100_000)]
    await store.dead_letters.add([*letters, letters[0]])
    await store.dead_letters.add(letters)
    assert await store.dead_letters.list(limit=9) == letters[::-1]
    assert await store.dead_letters.list(limit=1) == letters[2:]


async def test_a_dead_letter_that_fails_again_waits_again(store: Store) -> None:
    letter = _letter()
    await store.dead_letters.add([letter])
    await store.dead_letters.mark_replayed(letter.id, NOW)
    assert await store.dead_letters.count() == 0
    again = letter.model_copy(update={"failed_at": letter.failed_at + timedelta(hours=1), "detail": "still"})
    await store.dead_letters.add([again])
    assert await store.dead_letters.list(limit=9, replayed=False) == [again]


async def test_a_dead_letter_is_found_by_the_start_of_its_id_however_old_it_is(store: Store) -> None:
    letters = [_letter(number) for number in range(5)]
    await store.dead_letters.add(letters)
    assert await store.dead_letters.list(limit=2, ids=[letters[0].id[:8]]) == letters[:1]
    assert await store.dead_letters.list(limit=2, ids=["%", "_", "no such"]) == []


async def test_replayed_dead_letters_are_counted_out(store: Store) -> None:
    letters = [_letter(number) for number in range(3)]
    await store.dead_letters.add(letters)
    await store.dead_letters.mark_replayed(letters[1].id, NOW)
    assert await store.dead_letters.count() == 2
    (replayed,) = await store.dead_letters.list(limit=9, replayed=True)
    assert (replayed.id, replayed.replayed_at) == (letters[1].id, NOW)
    assert await store.dead_letters.list(limit=9, replayed=False) == [letters[2], letters[0]]


async def test_a_spike_comes_back_as_it_was_stated(store: Store) -> None:
    spike = make_spike(expected=1e-300, score=1e300, stories=())
    other = make_spike(key=ALL)
    await stated(store, spike, other)
    await stated(store, spike)
    assert await store.spikes.latest(limit=9) == sorted([spike, other], key=lambda found: found.id)
    assert await store.spikes.latest(limit=9, key="Financials", since=NOW) == [spike]
    assert await store.spikes.latest(limit=9, since=NOW + MINUTE) == []


async def test_the_outbox_holds_spikes_until_they_are_published(store: Store) -> None:
    later, first = make_spike(detected_at=NOW + MINUTE), make_spike(key=ALL)
    await stated(store, later, first)
    assert await store.spikes.unpublished() == [first, later]
    assert await store.spikes.unpublished(limit=1) == [first]
    await store.spikes.mark_published([first.id], NOW)
    assert await store.spikes.unpublished() == [later]


async def test_a_key_that_is_over_has_no_spike_firing(store: Store) -> None:
    old = make_spike(id="1" * 32)
    new = make_spike(id="2" * 32, detected_at=NOW + MINUTE)
    await stated(store, old, new, make_spike(key=ALL, id="3" * 32))
    assert await store.spikes.firing() == {old.key: [old.id, new.id], ALL: ["3" * 32]}
    await store.sightings.save(Looked([], {}, [], [(old.key, NOW + MINUTE)]))
    assert await store.spikes.firing() == {old.key: [new.id], ALL: ["3" * 32]}
    assert [spike.state for spike in await store.spikes.get("1")] == ["resolved"]
    assert await store.spikes.get("4") == []


async def _joined(store: Store, *keys: Key, due_at: Any = NOW) -> Alert:
    for key in keys:
        await store.alerts.join(make_spike(key=key), "all", NOW, due_at)
    (alert,) = await store.alerts.due("all", due_at)
    return alert


async def test_spikes_join_the_waiting_alert_once(store: Store) -> None:
    alert = await _joined(store, ALL, Key("topic", "Energy"))
    assert [spike.key for spike in alert.spikes] == sorted(
        [ALL, Key("topic", "Energy")], key=lambda key: make_spike(key=key).id
    )
    assert await store.alerts.join(make_spike(key=ALL), "all", NOW, NOW) is None
    assert await store.alerts.due("all", NOW - MINUTE) == []
    assert await store.alerts.join(make_spike(id="9" * 32), "other", NOW, NOW + MINUTE) != alert.id


async def test_a_closed_alert_takes_nobody_in(store: Store) -> None:
    alert = await _joined(store, ALL)
    told = make_notification(alert=alert)
    assert await store.alerts.close(alert, "for 1 recipient(s)", [told], NOW, NOW + MINUTE)
    assert not await store.alerts.close(alert, "for 1 recipient(s)", [told], NOW, NOW + MINUTE)
    assert await store.alerts.due("all", NOW) == []
    assert await store.alerts.last_sent_at("all") == NOW
    assert await store.alerts.last_sent_at("other") is None
    assert await store.alerts.join(make_spike(id="9" * 32), "all", NOW, NOW) != alert.id


async def test_an_alert_that_a_spike_joined_meanwhile_is_not_closed_without_it(store: Store) -> None:
    alert = await _joined(store, ALL)
    await store.alerts.join(make_spike(), "all", NOW, NOW)
    assert not await store.alerts.close(
        alert, "for 1 recipient(s)", [make_notification(alert=alert)], NOW, NOW + MINUTE
    )
    assert await store.alerts.to_send(NOW) == []
    (again,) = await store.alerts.due("all", NOW)
    assert len(again.spikes) == 2


async def test_sent_stories_are_those_of_sent_alerts(store: Store) -> None:
    alert = await _joined(store, ALL)
    assert await store.alerts.sent_stories("all", NOW - MINUTE) == set()
    await store.alerts.close(alert, "for 1 recipient(s)", [make_notification(alert=alert)], NOW, NOW + MINUTE)
    assert len(await store.alerts.sent_stories("all", NOW)) == 3
    assert await store.alerts.sent_stories("all", NOW + MINUTE) == set()
    unsent = await _joined(store, Key("topic", "Energy"))
    await store.alerts.close(unsent, "same stories", [], NOW, NOW)
    assert await store.alerts.last_sent_at("all") == NOW


async def test_a_delivery_is_logged_as_it_goes(store: Store) -> None:
    alert = await _joined(store, ALL)
    told = make_notification(alert=alert)
    await store.alerts.close(alert, "for 1 recipient(s)", [told], NOW, NOW + MINUTE)
    (delivery,) = await store.alerts.to_send(NOW)
    assert (delivery.notification, delivery.state, delivery.attempts) == (told, "pending", 0)
    error = DeliveryError(Reason.TIMEOUT, HOSTILE)
    await store.alerts.log(delivery._replace(attempts=1, next_attempt_at=NOW + MINUTE, reason=error.reason))
    assert await store.alerts.to_send(NOW) == []
    (again,) = await store.alerts.to_send(NOW + MINUTE)
    assert (again.attempts, again.reason) == (1, Reason.TIMEOUT)
    await store.alerts.log(again._replace(state="delivered", next_attempt_at=None, detail=error.detail))
    assert await store.alerts.to_send(NOW + MINUTE) == []
    ((row, deliveries),) = await store.alerts.latest(limit=3)
    assert (row.alert, row.due_at, row.outcome) == (alert, None, "for 1 recipient(s)")
    assert [found.state for found in deliveries] == ["delivered"]


async def test_health_is_the_last_word_of_each_component(store: Store) -> None:
    now = [ComponentHealth("host:1", name, "ok", None, NOW, NOW) for name in ("classify", "ingest")]
    await store.health.report(now, NOW - MINUTE)
    after = [item._replace(state="stopped", heartbeat_at=NOW + MINUTE) for item in now[:1]]
    await store.health.report(after, NOW)
    assert await store.health.all() == [*after, now[1]]
    await store.health.report(after, NOW + MINUTE)
    assert await store.health.all() == after


async def test_migrations_make_what_the_models_say(store: Store) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, tables.metadata))

    async with store._database.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_every_view_can_be_selected(store: Store) -> None:
    await store.articles.add([make_labelled()])
    await stated(store, make_spike())
    async with store._database.read() as connection:
        for view in ("trend_5m", "trend_1h", "trend_1d", "spikes", "headlines"):
            assert (await connection.execute(text(f"SELECT * FROM {view}"))).mappings().all(), view
        share = await connection.scalar(text("SELECT negative_share FROM trend_1d WHERE key_kind = 'all'"))
        assert share == pytest.approx(1.0)


async def test_a_database_is_opened_again_as_it_was_left(database_url: str) -> None:
    if ":memory:" in database_url:
        pytest.skip("a database in memory ends with its connection")
    for left in (0, 1):
        store = await Store.open(database_url)
        assert (await store.articles.totals())["articles"] == left
        await store.articles.add([make_labelled()])
        await store.aclose()
        await store.aclose()


async def _drivers_threads_to_end() -> None:
    """aiosqlite does not wait for the thread of a connection that failed; a loop closed before it ends is a warning."""
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 5)


async def _written(url: str) -> None:
    store = await Store.open(url)
    try:
        await store.health.report([ComponentHealth("p", "n", "ok", None, NOW, NOW)], NOW)
    finally:
        await store.aclose()


@pytest.mark.parametrize("kind", ["not a database", "a folder", "no folder", "read-only"])
async def test_an_unusable_file_is_named_in_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    url = f"sqlite+aiosqlite:///{path}"
    if kind == "not a database":
        path.write_bytes(b"This is a letter to my aunt. " * 200)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "no folder":
        url = f"sqlite+aiosqlite:///{tmp_path / 'missing' / 'store.sqlite3'}"
    else:
        await (await Store.open(url)).aclose()
        url = f"sqlite+aiosqlite:///file:{path}?mode=ro&uri=true"
    with pytest.raises(StoreError) as caught:
        await _written(url)
    await _drivers_threads_to_end()
    assert caught.value.reason is Reason.STORAGE
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


async def test_a_server_that_is_not_there_is_named_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("asyncpg", reason="PostgreSQL's driver is not installed")
    with pytest.raises(StoreError) as caught:
        await Store.open(f"postgresql+asyncpg://{os.environ.get('USER', 'x')}@/x?host={tmp_path}")
    assert "\n" not in str(caught.value)
