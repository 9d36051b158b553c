"""What every database keeps to: one owner at a time, a new term for each, and no write under a term that is over."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import pytest

from monitor.domain.alerts import Event, Verdict
from monitor.domain.windows import ALL
from monitor.errors import LeaseError
from monitor.leader import Lead
from monitor.members import Members
from monitor.storage.alerts import LIVE
from monitor.storage.deliveries import Endpoint
from monitor.storage.groups import Group, Judged, Outgoing, Told
from monitor.storage.leases import Term, fence
from monitor.storage.sightings import Checkpoint, Looked
from monitor.storage.store import Store
from tests.factories import NOW, make_notification, make_spike

T = TypeVar("T")

LONG_S, SHORT_S, LIMIT_S = 3600.0, 0.3, 30.0
KEEP = timedelta(minutes=30)


async def _until(ask: Callable[[], Awaitable[T]]) -> T:
    """The first answer that holds."""
    async with asyncio.timeout(LIMIT_S):
        while not (answer := await ask()):  # noqa: ASYNC110  # a database has no event for it
            await asyncio.sleep(0.02)
    return answer


async def _taken(store: Store, name: str = "detect", owner: str = "a:1", ttl_s: float = LONG_S) -> Term:
    term = await store.leases.acquire(name, owner, ttl_s)
    assert term is not None
    return term


async def test_one_of_many_gets_it_and_no_other_while_it_is_held(store: Store) -> None:
    asked = [store.leases.acquire("detect", f"host:{number}", LONG_S) for number in range(8)]
    (term,) = [term for term in await asyncio.gather(*asked) if term is not None]
    assert term.number == 1
    assert await store.leases.holder("detect") == term.owner
    assert await store.leases.acquire("detect", term.owner, LONG_S) is None  # not even its owner's next life
    assert (await _taken(store, "alerts", "other:1")).number == 1


async def test_a_lease_that_is_not_renewed_changes_hands_in_its_time(store: Store) -> None:
    began = time.monotonic()
    first = await _taken(store, ttl_s=SHORT_S)
    second = await _until(lambda: store.leases.acquire("detect", "b:2", SHORT_S))
    assert second is not None
    assert time.monotonic() - began >= SHORT_S
    assert (second.owner, second.number) == ("b:2", 2)
    assert not await store.leases.renew(first, LONG_S)
    await store.leases.release(first)  # no longer its to give
    assert await store.leases.renew(second, LONG_S)
    assert await store.leases.acquire("detect", "c:3", LONG_S) is None


async def test_one_that_ran_out_goes_on_if_nobody_has_taken_it(store: Store) -> None:
    term = await _taken(store, ttl_s=0.001)

    async def over() -> bool:
        return not await store.leases.held("detect")

    await _until(over)
    await store.leases.check(term)
    assert await store.leases.renew(term, LONG_S)
    assert await store.leases.acquire("detect", "b:2", LONG_S) is None


async def test_what_is_given_back_can_be_taken_at_once_under_a_new_number(store: Store) -> None:
    first = await _taken(store)
    await store.leases.release(first)
    again = await _taken(store)
    assert again == first._replace(number=2)
    with pytest.raises(LeaseError, match="another copy acts"):
        await store.leases.check(first)
    await store.leases.check(again)


async def test_a_clock_that_ran_far_ahead_locks_nobody_out(store: Store) -> None:
    await _taken(store, ttl_s=4000 * 86400)
    assert (await _taken(store, owner="b:2")).number == 2


async def test_nothing_is_written_under_a_term_that_is_over(store: Store) -> None:
    old = await _taken(store)
    spike = make_spike()
    assert await store.sightings.save(Looked([], {}, [spike], []), old) == {spike.id}
    await store.alerts.take(spike, LIVE, KEEP)
    (row,) = await store.alerts.unrouted(LIVE)
    group = Group("1" * 32, LIVE, "desk", "{}", {}, due_at=NOW)
    await store.groups.route(row, [group], NOW, old)
    members = await store.groups.members(group.id)
    notification = make_notification(alerts=(row.alert,))
    message = Outgoing("2" * 32, Event.FIRING, [row.alert.id], [], [], [notification])
    told = Told(NOW, row.alert.severity, 3, False, message.id)
    judged = [Judged(row.alert.id, Verdict.SENT, "firing", told)]
    await store.leases.release(old)
    new = await _taken(store, owner="b:2")

    later = make_spike(key=ALL, detected_at=NOW + timedelta(hours=1))
    for write in (
        store.sightings.save(Looked([], {}, [later], [(spike.key, NOW + timedelta(hours=1))]), old),
        store.sightings.save_checkpoint("detect", Checkpoint("1", 1, b""), old),
        store.alerts.adopt(KEEP, old),
        store.groups.route(row, [], NOW, old),
        store.groups.write(group._replace(due_at=None), members, judged, [message], NOW, NOW + KEEP, old),
        store.deliveries.add([notification], NOW, NOW + KEEP, old),
        store.deliveries.add_digest("desk", NOW, [notification], NOW, NOW + KEEP, old),
        store.deliveries.note(Endpoint("desk", "f"), old),
        store.deliveries.adopt(old),
    ):
        with pytest.raises(LeaseError):
            await write
    assert await store.spikes.latest(limit=9) == [spike]
    assert await store.sightings.checkpoint("detect") is None
    assert await store.alerts.unrouted(LIVE) == []
    assert await store.groups.due(LIVE, NOW) == [group]
    assert await store.groups.members(group.id) == members
    assert await store.deliveries.latest(limit=9) == []
    assert (await store.deliveries.digests_until(), await store.deliveries.endpoints()) == ({}, {})

    await store.groups.write(group._replace(due_at=None), members, judged, [message], NOW, NOW + KEEP, new)
    (delivery,) = await store.deliveries.to_send(NOW)
    with pytest.raises(LeaseError):
        await store.deliveries.log(delivery._replace(state="failed", attempts=9), old)
    assert await store.deliveries.to_send(NOW) == [delivery]


async def test_nobody_takes_over_in_the_middle_of_a_write(store: Store, database_url: str) -> None:
    """A term that ran out is good to the end of the transaction that it covers."""
    if ":memory:" in database_url:
        pytest.skip("a database in memory has one connection, so one transaction")
    term = await _taken(store, ttl_s=0.001)
    async with store._database.write() as connection:
        await fence(connection, term)
        taking = asyncio.create_task(store.leases.acquire("detect", "b:2", 0.001))
        done, _ = await asyncio.wait([taking], timeout=0.3)
        assert not done
    assert (await taking) == Term("detect", "b:2", 2)


async def test_copies_that_take_in_the_same_spikes_of_a_key_make_one_alert(store: Store) -> None:
    spikes = [make_spike(id=f"{n:032}", detected_at=NOW + n * timedelta(seconds=1)) for n in range(12)]
    taken = [store.alerts.take(spike, LIVE, KEEP) for spike in [*spikes, *reversed(spikes)]]
    results = await asyncio.gather(*taken)
    assert len({alert_id for alert_id, _ in results}) == 1
    assert sum(is_new for _, is_new in results) == len(spikes)
    (row,) = await store.alerts.unrouted(LIVE)
    assert {spike.id for spike in row.alert.spikes} == {spike.id for spike in spikes}


async def test_a_spike_that_comes_while_its_alert_is_closed_is_in_one_that_is_open(store: Store) -> None:
    over = NOW + KEEP
    for number in range(10):
        old = make_spike(id=f"{number:031}0", state="resolved", resolved_at=NOW)
        await store.alerts.take(old, LIVE, KEEP)
        (row,) = await store.alerts.unrouted(LIVE)
        group = Group(f"{number:032}", LIVE, "desk", "{}", {}, due_at=NOW)
        await store.groups.route(row, [group], NOW)
        members = await store.groups.members(group.id)
        judged = [Judged(row.alert.id, Verdict.ENDED_UNTOLD, None, None, done=True)]
        new = make_spike(id=f"{number:031}1", detected_at=over - timedelta(seconds=1))
        _, *taken = await asyncio.gather(
            store.groups.write(group._replace(due_at=None), members, judged, [], over, over),
            *(store.alerts.take(new, LIVE, KEEP) for _ in range(3)),
        )
        assert sum(is_new for _, is_new in taken) == 1
        ((alert_id, _),) = set(taken) - {(taken[0][0], True)} or {taken[0]}
        (found,) = await store.alerts.unrouted(LIVE)
        assert (found.alert.id, found.closed_at) == (alert_id, None)
        assert new in found.alert.spikes
        await store.alerts.take(new.model_copy(update={"state": "resolved", "resolved_at": NOW}), LIVE, KEEP)
        (found,) = await store.alerts.unrouted(LIVE)
        last = Group(f"a{number:031}", LIVE, "desk", "{}", {}, due_at=NOW)
        await store.groups.route(found, [last], NOW)
        done = [Judged(found.alert.id, Verdict.ENDED_UNTOLD, None, None, done=True)]
        await store.groups.write(last, await store.groups.members(last.id), done, [], over, over)
        assert await store.alerts.firing(LIVE) == []


async def test_a_message_decided_twice_is_delivered_once(store: Store) -> None:
    """As by a copy that was not told that its write had succeeded."""
    await store.alerts.take(make_spike(), LIVE, KEEP)
    (row,) = await store.alerts.unrouted(LIVE)
    group = Group("1" * 32, LIVE, "desk", "{}", {}, due_at=NOW)
    await store.groups.route(row, [group], NOW)
    members = await store.groups.members(group.id)
    told = [make_notification(alerts=(row.alert,), recipient=name) for name in ("a", "b")]
    message = Outgoing("2" * 32, Event.FIRING, [row.alert.id], [], [], told)
    judged = [Judged(row.alert.id, Verdict.SENT, None, Told(NOW, row.alert.severity, 3, False, message.id))]
    writes = (store.groups.write(group, members, judged, [message], NOW, NOW + KEEP) for _ in range(4))
    await asyncio.gather(*writes)
    assert len(await store.deliveries.to_send(NOW)) == 2
    assert await store.groups.spent("desk", LIVE, NOW - KEEP) == 1


async def test_members_share_everything_out_and_what_one_leaves_goes_to_the_others(store: Store) -> None:
    work = [f"feed {number}" for number in range(60)]
    members = [Members(store.leases, "ingest", "host:1", ttl_s=LONG_S) for _ in range(3)]
    for _ in range(2):
        for member in members:
            await member.look()
    shares = [{name for name in work if member.owns(name)} for member in members]
    assert sorted(name for share in shares for name in share) == sorted(work)
    assert all(len(share) >= 3 for share in shares)

    await members[1].leave()
    await members[1].look()  # does not bring it back
    members[2]._ttl_s = SHORT_S
    await members[2].look()

    async def gone() -> bool:
        await members[0].look()
        return members[0].count == 1  # the third does not renew its lease

    await _until(gone)
    assert all(members[0].owns(name) for name in work)
    members[2]._ttl_s = LONG_S
    await members[2].look()  # it was only slow
    await members[0].look()
    assert {name for name in work if members[0].owns(name)} >= shares[0]
    assert {name for name in work if members[2].owns(name)} >= shares[2]


async def test_a_leader_hands_over_at_once_when_it_leaves(store: Store) -> None:
    first, second = (Lead(store.leases, "detect", owner) for owner in ("a:1", "b:2"))
    await first.look()
    await second.look()
    assert (first.term, second.term) == (Term("detect", "a:1", 1), None)
    assert second.standby == "standby; a:1 acts"
    await first.release()
    await second.look()
    assert second.term == Term("detect", "b:2", 2)
    assert first.term is None
