"""Deliveries: to each recipient once, retried on schedule, given up in time; a channel that fails fails alone."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from alerts.dispatch import Dispatch
from alerts.stage import Collect
from monitor.bus.bus import Received
from monitor.bus.streams import Stream
from monitor.clock import ManualClock
from monitor.domain.alerts import Event
from monitor.domain.record import encode
from monitor.errors import DeliveryError, Reason, StoreError
from monitor.storage.alerts import LIVE, REPLAYED
from monitor.storage.deliveries import Delivery
from monitor.storage.leases import Term
from monitor.storage.store import Store
from tests.chain import BANKS, CHIPS, OIL, Chain, Inbox, make_policy, make_settings
from tests.factories import NOW, make_spike

TIMEOUT = DeliveryError(Reason.TIMEOUT, "slow")
GONE = DeliveryError(Reason.GONE, "410")


@pytest.fixture
def chain(store: Store, clock: ManualClock) -> Chain:
    return Chain(store, clock)


async def _told(chain: Chain) -> None:
    """An alert whose wait is over at this moment, and that nobody has looked at."""
    await chain.fire()
    chain.clock.set(chain.clock.now() + timedelta(seconds=30))


async def _later(chain: Chain, seconds: float) -> dict[str, Reason]:
    chain.clock.set(chain.clock.now() + timedelta(seconds=seconds))
    return await chain.dispatch.dispatch_once()


async def _states(store: Store) -> list[tuple[str, int, Reason | None]]:
    return sorted((one.state, one.attempts, one.reason) for one in await store.deliveries.latest(limit=99))


async def test_each_recipient_of_each_channel_gets_one_message(store: Store, clock: ManualClock) -> None:
    mail, hook = Inbox(recipients=("a@x.example", "b@x.example")), Inbox()
    chain = Chain(store, clock, mail=mail, hook=hook)
    await _told(chain)
    assert await chain.dispatch.dispatch_once() == {}
    assert [len(inbox.accepted) for inbox in (mail, hook)] == [2, 1]
    assert {one.recipient for one in mail.accepted} == {"a@x.example", "b@x.example"}
    assert len({one.id for one in (*mail.accepted, *hook.accepted)}) == 3
    assert await chain.dispatch.dispatch_once() == {}
    assert hook.attempts == 1


async def test_a_failed_delivery_is_tried_when_it_is_due_and_not_before(store: Store, clock: ManualClock) -> None:
    slow, fine = Inbox(TIMEOUT, TIMEOUT, TIMEOUT), Inbox()
    chain = Chain(store, clock, slow=slow, fine=fine)
    await _told(chain)
    assert await chain.dispatch.dispatch_once() == {"slow": Reason.TIMEOUT}
    assert (slow.attempts, len(fine.accepted)) == (1, 1)
    for wait_s, attempts in ((4.9, 1), (0.7, 2), (299, 2), (32, 3), (1799, 3), (200, 4)):
        await _later(chain, wait_s)
        assert slow.attempts == attempts
    assert (len(slow.accepted), fine.attempts) == (1, 1)
    assert await _states(store) == [("delivered", 1, None), ("delivered", 4, None)]


async def test_a_restart_at_any_step_tells_once(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock, hook=(hook := Inbox(TIMEOUT)))
    await _told(chain)
    for _ in range(3):
        await chain.dispatch.dispatch_once()
        chain.restart()
    assert hook.attempts == 1
    for _ in range(3):
        await _later(chain, 6)
        chain.restart()
    assert (hook.attempts, len(hook.accepted)) == (2, 1)


async def test_what_was_accepted_is_not_sent_again_though_it_could_not_be_written_down(
    chain: Chain, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _told(chain)
    log, failing = store.deliveries.log, True

    async def fails(delivery: Delivery, term: Term | None) -> None:
        if failing:
            raise StoreError(Reason.STORAGE_FULL, "full")
        await log(delivery, term)

    monkeypatch.setattr(store.deliveries, "log", fails)
    for _ in range(5):
        with pytest.raises(StoreError):
            await chain.dispatch.dispatch_once()
    failing = False
    await chain.dispatch.dispatch_once()
    assert chain.desk.attempts == 1
    assert await _states(store) == [("delivered", 1, None)]


async def test_a_channel_still_sending_is_waited_for_whatever_befalls_another(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick, slow = Inbox(), Inbox()
    slow.gate = asyncio.Event()
    chain = Chain(store, clock, quick=quick, slow=slow)
    await _told(chain)
    log, failed = store.deliveries.log, asyncio.Event()

    async def fails(delivery: Delivery, term: Term | None) -> None:
        if delivery.notification.channel == "quick" and not failed.is_set():
            failed.set()
            raise StoreError(Reason.STORAGE, "locked")
        await log(delivery, term)

    monkeypatch.setattr(store.deliveries, "log", fails)
    passing = asyncio.ensure_future(chain.dispatch.dispatch_once())
    async with asyncio.timeout(20):
        await failed.wait()
        await slow.reached.wait()
    assert not passing.done()
    slow.gate.set()
    with pytest.raises(StoreError):
        await passing
    await chain.dispatch.dispatch_once()
    assert (quick.attempts, slow.attempts) == (1, 1)
    assert {state for state, _, _ in await _states(store)} == {"delivered"}


async def test_a_surprise_in_a_channel_stays_there(store: Store, clock: ManualClock) -> None:
    odd, fine = Inbox(KeyError("hunter2")), Inbox()
    chain = Chain(store, clock, odd=odd, fine=fine)
    await _told(chain)
    assert await chain.dispatch.dispatch_once() == {"odd": Reason.PROTOCOL}
    assert len(fine.accepted) == 1
    assert "hunter2" not in str(await store.deliveries.latest(limit=9))
    await _later(chain, 6)
    assert len(odd.accepted) == 1


async def test_an_address_that_is_gone_is_left_alone_until_it_is_another(store: Store, clock: ManualClock) -> None:
    gone, fine = Inbox(GONE), Inbox()
    chain = Chain(store, clock, gone=gone, fine=fine)
    await _told(chain)
    assert await chain.dispatch.dispatch_once() == {"gone": Reason.GONE}
    for key in (OIL, CHIPS):
        await chain.fire(key)
        await _later(chain, 300)
        chain.restart()
    assert (gone.attempts, fine.attempts) == (1, 3)
    failed = await store.deliveries.latest(limit=9, state="failed")
    assert [(one.next_attempt_at, one.reason) for one in failed] == [(None, Reason.GONE)] * 3
    assert "monitor deliveries enable gone" in (failed[0].detail or "")

    chain.fingerprints = {**chain.fingerprints, "gone": "another address"}
    chain.restart()
    assert await store.deliveries.retry([failed[0].notification.id], clock.now(), clock.now() + timedelta(hours=1)) == 1
    assert await chain.dispatch.dispatch_once() == {}
    assert [told.id for told in gone.accepted] == [failed[0].notification.id]  # under its old id


async def test_an_address_that_was_gone_can_be_enabled_again(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock, hook=(hook := Inbox(GONE)))
    await _told(chain)
    await chain.dispatch.dispatch_once()
    assert await store.deliveries.enable("hook", clock.now())
    assert not await store.deliveries.enable("hook", clock.now())
    await chain.fire(OIL)
    assert await _later(chain, 300) == {}
    assert hook.about == [["Energy | Oil"]]


async def test_who_asks_for_patience_gets_it_for_all_messages(store: Store, clock: ManualClock) -> None:
    busy = DeliveryError(Reason.RATE_LIMITED, "429", retry_after_s=60)
    hook, fine = Inbox(busy, recipients=("a", "b", "c")), Inbox()
    chain = Chain(store, clock, hook=hook, fine=fine)
    await _told(chain)
    await chain.dispatch.dispatch_once()
    assert (hook.attempts, fine.attempts) == (1, 1)
    chain.restart()
    for _ in range(2):
        await _later(chain, 29.9)
        assert hook.attempts == 1
    await _later(chain, 0.3)
    assert {told.recipient for told in hook.accepted} == {"a", "b", "c"}
    assert hook.attempts == 4
    assert {attempts for _, attempts, _ in await _states(store)} == {1, 2}  # to wait is no attempt


async def test_nobody_is_left_alone_for_years(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock, hook=(hook := Inbox(DeliveryError(Reason.RATE_LIMITED, "", retry_after_s=10**9))))
    await _told(chain)
    await chain.dispatch.dispatch_once()
    await chain.fire(OIL)
    await _later(chain, 3601)
    assert hook.about == [["Energy | Oil"]]


async def test_what_expired_while_nobody_was_there_is_not_sent(chain: Chain, store: Store) -> None:
    chain.desk.script.append(TIMEOUT)
    await _told(chain)
    await chain.dispatch.dispatch_once()
    (delivery,) = await store.deliveries.latest(limit=9)
    chain.restart()
    chain.clock.set(delivery.expires_at)
    assert await chain.dispatch.dispatch_once() == {"desk": Reason.TIMEOUT}
    states = [one for one in await _states(store) if one[0] == "failed"]
    assert states == [("failed", 1, Reason.TIMEOUT)]
    assert delivery.notification.id not in {told.id for told in chain.desk.accepted}


@pytest.mark.parametrize("what", ["disabled", "gone"])
async def test_what_waits_for_a_channel_that_is_away_is_sent_once_it_is_back(
    chain: Chain, store: Store, what: str
) -> None:
    chain.desk.script.append(TIMEOUT)
    await _told(chain)
    await chain.dispatch.dispatch_once()
    settings, inboxes = chain.settings, chain.inboxes
    chain.settings = make_settings(("desk",) if what == "disabled" else ())
    chain.inboxes = {}
    chain.restart()
    await _later(chain, 6)
    (delivery,) = await store.deliveries.latest(limit=9)
    assert (delivery.state, delivery.attempts) == ("pending", 1)
    assert ("disabled" in (delivery.detail or "")) == (what == "disabled")
    chain.settings, chain.inboxes = settings, inboxes
    chain.restart()
    await _later(chain, 301)
    assert await _states(store) == [("delivered", 2, None)]


async def test_what_waits_for_a_channel_that_stays_away_expires_and_says_so(chain: Chain, store: Store) -> None:
    chain.desk.script.append(TIMEOUT)
    await _told(chain)
    await chain.dispatch.dispatch_once()
    chain.inboxes = {}
    chain.restart()
    await _later(chain, 6)
    (delivery,) = await store.deliveries.latest(limit=9)
    chain.clock.set(delivery.expires_at)
    await chain.dispatch.dispatch_once()
    (delivery,) = await store.deliveries.latest(limit=9)
    assert (delivery.state, delivery.attempts) == ("failed", 1)
    assert "the channel desk" in (delivery.detail or "")


async def test_a_reload_waits_for_the_attempt_under_way_alone_and_the_rest_goes_by_the_new_channel(
    store: Store, clock: ManualClock
) -> None:
    """A channel that hangs holds up no reload: the next one may be what repairs it."""
    old, new = (Inbox(recipients=("mia", "li")) for _ in range(2))
    old.gate, new.gate = asyncio.Event(), asyncio.Event()
    chain = Chain(store, clock, hook=old)
    running = asyncio.create_task(chain.dispatch.run())
    await _told(chain)
    async with asyncio.timeout(20):
        await old.reached.wait()
        policy = make_policy(chain.settings, {"hook": new})
        reloading = asyncio.create_task(chain.dispatch.reload({"hook": new}, policy, {"hook": "new"}))
        await asyncio.sleep(0)
        assert not reloading.done()
        old.gate.set()
        await reloading
        assert len(old.accepted) == 1
        await new.reached.wait()
        new.gate.set()
        clock.set(clock.now() + timedelta(seconds=300))
        await chain.fire(OIL)
        await chain.dispatch.drain()
        await running
    assert (old.about, new.about) == ([["Financials"]], [["Financials"]] + 2 * [["Energy | Oil"]])
    assert {told.recipient for told in old.accepted + new.accepted[:1]} == {"mia", "li"}


async def test_what_is_no_spike_is_refused(store: Store) -> None:
    message = Received(Stream.SPIKES, 0, 0, "k", b"{")
    outcome = await Collect(store, make_settings()).process([message])
    assert [(one.message, one.error.reason) for one in outcome.rejected] == [(message, Reason.MALFORMED)]


async def test_spikes_become_alerts_whose_turn_comes_by_when_they_were_detected(store: Store) -> None:
    start = NOW - timedelta(days=3650)
    spike = make_spike(detected_at=start + timedelta(hours=3))
    collect = Collect(store, make_settings())
    for _ in range(2):  # the second time it changes nothing
        outcome = await collect.process([Received(Stream.SPIKES, 0, 0, "spikes", encode(spike))])
        assert not outcome.rejected
    (row,) = await store.alerts.latest(limit=9)
    assert (row.alert.opened_at, row.changed_at, row.origin) == (spike.detected_at, spike.detected_at, LIVE)
    assert row.alert.spikes == (spike,)


async def test_a_replayed_spike_joins_no_alert_of_the_daemon(store: Store) -> None:
    replaying = Collect(store, make_settings(), deliver=False)
    spike = make_spike()  # of NOW, which is long ago by the machine's clock, or still to come
    await replaying.process([Received(Stream.SPIKES, 0, 0, str(spike.key), encode(spike))])
    (row,) = await store.alerts.latest(limit=9)
    assert row.origin == REPLAYED
    assert await store.alerts.unrouted(LIVE) == []


async def test_a_replay_that_tells_nobody_leaves_alone_what_waits_for_the_daemon(
    store: Store, clock: ManualClock
) -> None:
    chain = Chain(store, clock, hook=(down := Inbox(TIMEOUT)))
    await _told(chain)
    await chain.dispatch.dispatch_once()
    await chain.fire(OIL)
    clock.set(clock.now() + timedelta(seconds=600))
    silent = Dispatch({}, make_policy(chain.settings, {}), store=store, clock=clock, deliver=False)
    assert await silent.dispatch_once() == {}
    assert down.attempts == 1
    await chain.dispatch.dispatch_once()
    assert len(down.accepted) == 2


async def test_it_drains_before_it_runs_and_twice(chain: Chain) -> None:
    await _told(chain)
    await chain.dispatch.drain()
    async with asyncio.timeout(20):
        await chain.dispatch.run()
    await chain.dispatch.drain()
    assert (chain.desk.attempts, chain.dispatch.vital.state) == (1, "ok")


async def test_a_channel_that_hangs_holds_up_itself_alone(store: Store, clock: ManualClock) -> None:
    hanging, fine = Inbox(), Inbox()
    hanging.gate = asyncio.Event()
    chain = Chain(store, clock, hanging=hanging, fine=fine)
    running = asyncio.create_task(chain.dispatch.run())
    await _told(chain)
    async with asyncio.timeout(20):
        await hanging.reached.wait()
        await fine.reached.wait()
        fine.reached.clear()
        clock.set(clock.now() + timedelta(seconds=300))
        await chain.fire(CHIPS)
        await fine.reached.wait()  # told of the second, while the other still hangs on the first
        hanging.gate.set()
        await chain.dispatch.drain()
        await running
    assert len(fine.accepted) == 2
    assert (hanging.attempts, len(hanging.accepted)) == (2, 2)


async def test_an_alert_that_grows_while_its_message_is_made_is_updated(
    chain: Chain, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _told(chain)
    write = store.groups.write

    async def grown_meanwhile(*args: Any, **kwargs: Any) -> None:
        monkeypatch.setattr(store.groups, "write", write)
        await chain.fire(BANKS, titles=[f"More {n}" for n in range(9)])
        await write(*args, **kwargs)

    monkeypatch.setattr(store.groups, "write", grown_meanwhile)
    await chain.dispatch.dispatch_once()
    await chain.wait(minutes=6)
    assert chain.desk.events == [Event.FIRING, Event.UPDATED]
