"""What every database keeps to: feeds, spikes, alerts, dead letters and health come back as they were saved."""

import asyncio
import os
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from monitor.domain.alerts import Digest, Event, Verdict
from monitor.domain.dead_letters import DeadLetter
from monitor.domain.matchers import parse
from monitor.domain.record import fingerprint
from monitor.domain.spikes import Severity, Spike
from monitor.domain.windows import ALL
from monitor.errors import Reason, StoreError
from monitor.storage import tables
from monitor.storage.alerts import LIVE, REPLAYED
from monitor.storage.deliveries import Endpoint
from monitor.storage.feeds import FeedState
from monitor.storage.groups import Group, Judged, Outgoing, Told
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
    assert await store.spikes.latest(limit=9, key="Financials", kinds=["topic"]) == [spike]
    assert await store.spikes.latest(limit=9, key="Financials", kinds=["entity", "source"]) == []
    assert await store.spikes.latest(limit=9, since=NOW + MINUTE) == []


async def test_the_outbox_holds_spikes_until_they_are_published(store: Store) -> None:
    later, first = make_spike(detected_at=NOW + MINUTE), make_spike(key=ALL)
    await stated(store, later, first)
    assert await store.spikes.unpublished() == [first, later]
    assert await store.spikes.unpublished(limit=1) == [first]
    await store.spikes.mark_published([first], NOW)
    assert await store.spikes.unpublished() == [later]
    await store.sightings.save(Looked([], {}, [], [(later.key, NOW + 2 * MINUTE)]))
    await store.spikes.mark_published([later], NOW)  # as it was read, before it ended
    assert await store.spikes.unpublished() == [_over(later, NOW + 2 * MINUTE)]


async def test_a_key_that_is_over_has_no_spike_firing(store: Store) -> None:
    old = make_spike(id="1" * 32)
    new = make_spike(id="2" * 32, detected_at=NOW + MINUTE)
    await stated(store, old, new, make_spike(key=ALL, id="3" * 32))
    assert await store.spikes.firing() == {old.key: [old.id, new.id], ALL: ["3" * 32]}
    await store.sightings.save(Looked([], {}, [], [(old.key, NOW + MINUTE)]))
    assert await store.spikes.firing() == {old.key: [new.id], ALL: ["3" * 32]}
    assert [spike.state for spike in await store.spikes.get("1")] == ["resolved"]
    assert await store.spikes.get("4") == []


KEEP = timedelta(minutes=30)


def _over(spike: Spike, at: datetime) -> Spike:
    return spike.model_copy(update={"state": "resolved", "resolved_at": at})


async def test_spikes_of_a_key_are_one_alert_until_it_has_been_quiet(store: Store) -> None:
    spikes = [make_spike(id=f"{n:032}", detected_at=NOW + n * MINUTE, score=float(n)) for n in range(3)]
    first, is_new = await store.alerts.take(spikes[0], LIVE, KEEP)
    assert is_new
    assert await store.alerts.take(spikes[0], LIVE, KEEP) == (first, False)
    assert await store.alerts.take(_over(spikes[0], NOW + MINUTE), LIVE, KEEP) == (first, True)
    assert await store.alerts.take(spikes[0], LIVE, KEEP) == (first, False)  # an old word of it
    assert await store.alerts.take(spikes[1], LIVE, KEEP) == (first, True)
    (row,) = await store.alerts.firing(LIVE)
    assert row.alert.spikes == (spikes[1], _over(spikes[0], NOW + MINUTE))
    assert (row.alert.opened_at, row.alert.resolved_at, row.changed_at) == (NOW, None, NOW + MINUTE)
    await store.alerts.take(_over(spikes[1], NOW + 2 * MINUTE), LIVE, KEEP)
    (row,) = await store.alerts.get(first[:8])
    assert row.alert.resolved_at == NOW + 2 * MINUTE
    late = make_spike(id="9" * 32, detected_at=NOW + 2 * MINUTE + KEEP)
    assert (await store.alerts.take(late, LIVE, KEEP))[0] != first
    assert (await store.alerts.take(make_spike(key=ALL), LIVE, KEEP))[0] != first
    assert (await store.alerts.take(make_spike(id="8" * 32), REPLAYED, KEEP))[0] != first


async def test_an_alert_is_acknowledged_while_it_is_open(store: Store) -> None:
    alert_id, _ = await store.alerts.take(make_spike(), LIVE, KEEP)
    assert await store.alerts.acknowledge(alert_id, "ann", HOSTILE, NOW)
    (row,) = await store.alerts.get(alert_id)
    assert (row.acked_at, row.acked_by) == (NOW, "ann")
    assert row.ack_comment == HOSTILE.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
    assert not await store.alerts.acknowledge("0" * 32, "ann", "", NOW)


async def _routed(store: Store, *receivers: str) -> list[Group]:
    """Every alert there is, in a group of each receiver."""
    groups = [Group(fingerprint(name), LIVE, name, "{}", {"kind": "all"}, due_at=NOW) for name in receivers]
    for row in await store.alerts.firing(LIVE):
        await store.groups.route(row, groups, NOW)
    return groups


async def test_a_group_comes_back_with_its_members_and_what_they_were_told(store: Store) -> None:
    await store.alerts.take(make_spike(), LIVE, KEEP)
    await store.alerts.take(make_spike(key=ALL), LIVE, KEEP)
    assert len(await store.alerts.unrouted(LIVE)) == 2
    desk, chat = await _routed(store, "desk", "chat")
    assert await store.alerts.unrouted(LIVE) == []
    assert await store.groups.due(LIVE, NOW - MINUTE) == []
    assert {group.id: group for group in await store.groups.due(LIVE, NOW)} == {desk.id: desk, chat.id: chat}
    members = await store.groups.members(desk.id)
    assert [(one.verdict, one.told) for one in members] == [(Verdict.WAITING, None)] * 2
    ids = [one.row.alert.id for one in members]
    told = Told(NOW, Severity.SEVERE, 3, False, "1" * 32)
    judged = [Judged(ids[0], Verdict.SENT, "firing", told), Judged(ids[1], Verdict.SILENCED, HOSTILE, None)]
    notification = make_notification(alerts=(members[0].row.alert,))
    message = Outgoing("1" * 32, Event.FIRING, ids[:1], ids[1:], ["s"], [notification])
    after = desk._replace(due_at=None, flushed_at=NOW)
    await store.groups.write(after, members, judged, [message], NOW, NOW + KEEP)
    assert (await store.groups.get([desk.id]))[desk.id] == after
    again = {one.row.alert.id: one for one in await store.groups.members(desk.id)}
    assert (again[ids[0]].verdict, again[ids[0]].told) == (Verdict.SENT, told)
    assert (again[ids[1]].verdict, again[ids[1]].told) == (Verdict.SILENCED, None)
    assert [one.verdict for one in await store.groups.members(chat.id)] == [Verdict.WAITING] * 2
    (past,) = await store.groups.told_since("desk", LIVE, NOW)
    assert [set(past.about), set(past.stories)] == [{ids[0]}, {"s"}]
    assert await store.groups.told_since("desk", LIVE, NOW + MINUTE) == []
    assert await store.groups.told_since("chat", LIVE, NOW) == []
    assert (await store.groups.spent("desk", LIVE, NOW - MINUTE), await store.groups.spent("desk", LIVE, NOW)) == (1, 0)
    assert [row.alert_id for row in await store.groups.messages(LIVE)] == ids[:1]
    assert await store.groups.messages(LIVE, ids[1]) == []
    assert [one.notification for one in await store.deliveries.of_alert(ids[1])] == [notification]
    verdicts = [(row.receiver, row.verdict) for row in await store.groups.decisions(ids[:1])]
    assert sorted(verdicts) == [("chat", "waiting"), ("desk", "sent")]


async def test_an_alert_is_closed_once_no_group_has_anything_left_to_tell(store: Store) -> None:
    await store.alerts.take(_over(make_spike(), NOW), LIVE, KEEP)
    groups = await _routed(store, "desk", "chat")
    for number, group in enumerate(groups, 1):
        members = await store.groups.members(group.id)
        judged = [Judged(members[0].row.alert.id, Verdict.ENDED_UNTOLD, None, None, done=True)]
        await store.groups.write(group._replace(due_at=None), members, judged, [], NOW, NOW + KEEP)
        assert await store.groups.members(group.id) == []
        assert len(await store.alerts.firing(LIVE)) == 2 - number
    assert await store.groups.next_due(LIVE) is None
    (row,) = await store.alerts.latest(limit=9)
    assert row.closed_at == NOW
    assert await store.alerts.opened(NOW, NOW + MINUTE) == [row]
    assert await store.alerts.opened(NOW + MINUTE, NOW + KEEP) == []


async def test_an_alert_that_changed_since_it_was_looked_at_is_not_closed(store: Store) -> None:
    await store.alerts.take(_over(make_spike(), NOW), LIVE, KEEP)
    (group,) = await _routed(store, "desk")
    members = await store.groups.members(group.id)
    await store.alerts.take(make_spike(id="9" * 32, detected_at=NOW + MINUTE), LIVE, KEEP)
    judged = [Judged(members[0].row.alert.id, Verdict.ENDED_UNTOLD, None, None, done=True)]
    await store.groups.write(group._replace(due_at=None), members, judged, [], NOW, NOW + KEEP)
    (row,) = await store.alerts.firing(LIVE)
    assert (row.alert.resolved_at, await store.alerts.unrouted(LIVE)) == (None, [row])


async def test_an_alert_on_another_route_keeps_what_its_receiver_was_told(store: Store) -> None:
    await store.alerts.take(make_spike(), LIVE, KEEP)
    (old,) = await _routed(store, "desk")
    (member,) = await store.groups.members(old.id)
    told = Told(NOW, Severity.SEVERE, 3, False, "1" * 32)
    sent = [Judged(member.row.alert.id, Verdict.SENT, None, told)]
    await store.groups.write(old, [member], sent, [], NOW, NOW + KEEP)
    new = old._replace(id="2" * 32, route="{}/{}")
    other = old._replace(id="3" * 32, receiver="chat")
    await store.groups.route(member.row, [new, other], NOW + MINUTE)
    assert await store.groups.members(old.id) == []
    assert [one.told for one in await store.groups.members(new.id)] == [told]
    assert [(one.told, one.verdict) for one in await store.groups.members(other.id)] == [(None, Verdict.WAITING)]
    standings = {one.group.id: (one.verdict, one.done_at) for one in await store.groups.standings(member.row.alert.id)}
    assert standings[old.id] == (Verdict.NO_RECEIVER, NOW + MINUTE)


async def test_a_delivery_is_logged_as_it_goes(store: Store) -> None:
    told = make_notification()
    await store.deliveries.add([told], NOW, NOW + KEEP)
    await store.deliveries.add([told], NOW + MINUTE, NOW + KEEP)
    assert await store.deliveries.next_attempt() == NOW
    (delivery,) = await store.deliveries.to_send(NOW)
    assert (delivery.notification, delivery.state, delivery.attempts) == (told, "pending", 0)
    assert await store.deliveries.to_send(NOW, busy=["desk"]) == []
    failed = delivery._replace(attempts=1, next_attempt_at=NOW + MINUTE, reason=Reason.TIMEOUT)
    await store.deliveries.log(failed)
    assert await store.deliveries.to_send(NOW) == []
    assert await store.deliveries.to_send(NOW + MINUTE) == [failed]
    await store.deliveries.log(failed._replace(state="failed", next_attempt_at=None, detail=HOSTILE))
    assert await store.deliveries.latest(limit=9, state="delivered") == []
    assert await store.deliveries.retry([told.id], NOW + MINUTE, NOW + 2 * KEEP) == 1
    (again,) = await store.deliveries.to_send(NOW + MINUTE)
    assert (again.attempts, again.expires_at) == (1, NOW + 2 * KEEP)
    await store.deliveries.log(again._replace(state="delivered", next_attempt_at=None, delivered_at=NOW))
    assert await store.deliveries.retry([told.id], NOW, NOW + KEEP) == 0
    assert await store.deliveries.next_attempt() is None
    assert [one.state for one in await store.deliveries.get(told.id[:8])] == ["delivered"]
    assert await store.deliveries.latest(limit=9, channel="mail") == []


async def test_what_the_other_side_asked_for_is_remembered(store: Store) -> None:
    for endpoint in (
        Endpoint("desk", "1" * 64, not_before=NOW, detail=HOSTILE),
        Endpoint("desk", "2" * 64, disabled_at=NOW, detail="410"),
    ):
        await store.deliveries.note(endpoint)
    assert await store.deliveries.endpoints() == {"desk": endpoint}
    assert await store.deliveries.enable("desk", NOW)
    assert await store.deliveries.endpoints() == {}


async def test_a_digest_moves_on_with_its_messages_or_not_at_all(store: Store) -> None:
    digest = Digest(start=NOW - KEEP, end=NOW, keys=(), entries=())
    told = make_notification(event=Event.DIGEST, alerts=(), digest=digest)
    await store.deliveries.add_digest("desk", NOW, [], NOW, NOW)
    for _ in range(2):
        await store.deliveries.add_digest("desk", NOW + KEEP, [told], NOW + KEEP, NOW + 2 * KEEP)
    assert await store.deliveries.digests_until() == {"desk": NOW + KEEP}
    assert [one.notification for one in await store.deliveries.to_send(NOW + KEEP)] == [told]


async def test_a_silence_holds_from_its_start_to_its_end(store: Store) -> None:
    matchers = (parse('key=~"a|ż"'), parse('desk!="x"'))
    for _ in range(2):
        silence = await store.silences.add(matchers, NOW, NOW + KEEP, author="ann", comment=HOSTILE, now=NOW)
    (found,) = await store.silences.all()
    assert (found.id, found.matchers, found.ends_at) == (silence.id, matchers, NOW + KEEP)
    held = [await store.silences.active(NOW + wait) for wait in (-MINUTE, MINUTE - MINUTE, KEEP - MINUTE, KEEP)]
    assert [len(silences) for silences in held] == [0, 1, 1, 0]
    assert await store.silences.expire(silence.id, NOW + MINUTE)
    assert not await store.silences.expire(silence.id, NOW + MINUTE)
    assert not await store.silences.expire("0" * 32, NOW)
    assert await store.silences.active(NOW + MINUTE) == []
    assert [one.ends_at for one in await store.silences.get(silence.id[:8])] == [NOW + MINUTE]
    assert await store.silences.all(since=NOW + MINUTE) == []


async def test_a_silence_that_was_ended_and_is_said_again_holds_again(store: Store) -> None:
    matchers, since = (parse("kind=all"),), NOW + MINUTE
    said = [
        (await store.silences.add(matchers, since, NOW + KEEP, author="ann", comment="", now=NOW)).id for _ in range(2)
    ]
    assert await store.silences.expire(said[0], NOW)
    again = await store.silences.add(matchers, since, NOW + KEEP, author="ann", comment="", now=NOW)
    assert [one.id for one in await store.silences.active(since)] == [again.id] == list(set(said))


async def test_a_silence_is_replaced_whole_and_only_as_it_was(store: Store) -> None:
    matchers, later = (parse("key=x"), parse("kind!=all")), NOW + MINUTE
    old = await store.silences.add(matchers, NOW, NOW + KEEP, author="ann", comment="a", now=NOW)
    new = await store.silences.replace(old, later, NOW + 2 * KEEP, author="bob", comment="b", now=later)
    assert new is not None
    assert (new.matchers, new.author, new.comment, new.created_at) == (matchers, "bob", "b", later)
    for moment, held in ((NOW, old), (later - MINUTE / 2, old), (later, new), (NOW + KEEP, new)):
        assert [one.id for one in await store.silences.active(moment)] == [held.id]
    # Whoever has seen it before that changes nothing any more.
    assert await store.silences.replace(old, later, NOW + 3 * KEEP, author="eve", comment="c", now=later) is None
    assert len(await store.silences.all()) == 2

    over = (await store.silences.get(old.id))[0]
    renewed = await store.silences.replace(over, NOW + KEEP, NOW + 4 * KEEP, author="ann", comment="d", now=NOW + KEEP)
    assert renewed is not None
    assert [one.ends_at for one in await store.silences.get(old.id)] == [later]
    assert {one.id for one in await store.silences.active(NOW + KEEP)} == {new.id, renewed.id}


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
    await store.alerts.take(make_spike(), LIVE, KEEP)
    async with store._database.read() as connection:
        for view in ("trend_5m", "trend_1h", "trend_1d", "spikes", "headlines", "alerts"):
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
