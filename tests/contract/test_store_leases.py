"""What every database keeps to: one owner at a time, a new term for each, and no write under a term that is over."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import pytest

from monitor.domain.windows import ALL, Key
from monitor.errors import LeaseError
from monitor.leader import Lead
from monitor.members import Members
from monitor.storage.leases import Term, fence
from monitor.storage.sightings import Checkpoint, Looked
from monitor.storage.store import Store
from tests.factories import NOW, make_notification, make_spike

T = TypeVar("T")

LONG_S, SHORT_S, LIMIT_S = 3600.0, 0.3, 30.0


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
    assert await store.alerts.join(spike, "all", NOW, NOW) is not None
    (alert,) = await store.alerts.due("all", NOW)
    notification = make_notification(alert=alert)
    await store.leases.release(old)
    new = await _taken(store, owner="b:2")

    later = make_spike(key=ALL, detected_at=NOW + timedelta(hours=1))
    for write in (
        store.sightings.save(Looked([], {}, [later], [(spike.key, NOW + timedelta(hours=1))]), old),
        store.sightings.save_checkpoint("detect", Checkpoint("1", 1, b""), old),
        store.alerts.close(alert, "for 1 recipient(s)", [notification], NOW, NOW + timedelta(hours=1), old),
    ):
        with pytest.raises(LeaseError):
            await write
    assert await store.spikes.latest(limit=9) == [spike]
    assert await store.sightings.checkpoint("detect") is None
    assert await store.alerts.due("all", NOW) == [alert]

    assert await store.alerts.close(alert, "for 1 recipient(s)", [notification], NOW, NOW + timedelta(hours=1), new)
    (delivery,) = await store.alerts.to_send(NOW)
    with pytest.raises(LeaseError):
        await store.alerts.log(delivery._replace(state="failed", attempts=9), old)
    assert await store.alerts.to_send(NOW) == [delivery]


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


async def test_two_copies_that_take_in_the_same_spikes_make_one_alert(store: Store) -> None:
    spikes = [make_spike(id=f"{n:032}", key=Key("topic", str(n))) for n in range(12)]
    joined = [store.alerts.join(spike, "all", NOW, NOW) for spike in [*spikes, *reversed(spikes)]]
    results = await asyncio.gather(*joined)
    assert len({alert_id for alert_id in results if alert_id is not None}) == 1
    assert sum(alert_id is not None for alert_id in results) == len(spikes)
    (alert,) = await store.alerts.due("all", NOW)
    assert {spike.id for spike in alert.spikes} == {spike.id for spike in spikes}


async def test_a_spike_that_comes_by_while_its_alert_is_closed_opens_no_empty_one(store: Store) -> None:
    for number in range(10):
        spike = make_spike(id=f"{number:032}")
        await store.alerts.join(spike, "all", NOW, NOW)
        (alert,) = await store.alerts.due("all", NOW)
        closed, *again = await asyncio.gather(
            store.alerts.close(alert, "told", [], NOW, NOW),
            *(store.alerts.join(spike, "all", NOW, NOW) for _ in range(3)),
        )
        assert (closed, again) == (True, [None, None, None])
    assert await store.alerts.due("all", NOW) == []


async def test_an_alert_is_closed_by_one_of_two(store: Store) -> None:
    await store.alerts.join(make_spike(), "all", NOW, NOW)
    (alert,) = await store.alerts.due("all", NOW)
    told = [make_notification(alert=alert, recipient=name) for name in ("a", "b")]
    closed = await asyncio.gather(*(store.alerts.close(alert, "told", told, NOW, NOW) for _ in range(4)))
    assert sorted(closed) == [False, False, False, True]
    assert len(await store.alerts.to_send(NOW)) == 2


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
