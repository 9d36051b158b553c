"""From spikes to deliveries: grouped, told once, retried on schedule, given up in time."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from alerts.dispatch import Dispatch
from alerts.rules import LIVE, REPLAYED
from alerts.stage import Group
from monitor.bus.bus import Received
from monitor.bus.streams import Stream
from monitor.clock import ManualClock
from monitor.domain.alerts import Notification
from monitor.domain.record import encode
from monitor.domain.spikes import Severity, Spike
from monitor.domain.windows import ALL, Key
from monitor.errors import DeliveryError, Reason, StoreError
from monitor.settings import AlertSettings
from monitor.storage.alerts import Delivery
from monitor.storage.leases import Term
from monitor.storage.store import Store
from tests.factories import NOW, make_spike, make_story_evidence

SETTINGS = AlertSettings()
TIMEOUT = DeliveryError(Reason.TIMEOUT, "slow")


class Scripted:
    """Fails as its script says, then accepts; keeps what it accepted."""

    def __init__(self, *script: Exception | None, recipients: tuple[str, ...] = ("desk",)) -> None:
        self.recipients = recipients
        self.script = list(script)
        self.attempts = 0
        self.accepted: list[Notification] = []
        self.gate: asyncio.Event | None = None
        self.reached = asyncio.Event()

    async def send(self, notification: Notification) -> None:
        self.attempts += 1
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        error = self.script.pop(0) if self.script else None
        if error is not None:
            raise error
        self.accepted.append(notification)


def _dispatch(store: Store, clock: ManualClock, **channels: Scripted) -> Dispatch:
    return Dispatch(channels, store=store, clock=clock, settings=SETTINGS)


def _spike(number: int, **overrides: Any) -> Spike:
    stories = tuple(make_story_evidence(title=f"Story {number} {n}") for n in range(4))
    return make_spike(**{"id": f"{number:032}", "key": Key("topic", str(number)), "stories": stories, **overrides})


async def _told(store: Store, clock: ManualClock, *spikes: Spike) -> None:
    """The spikes are taken in, and their wait passes."""
    group = Group(store, SETTINGS)
    batch = [Received(Stream.SPIKES, 0, n, str(spike.key), encode(spike)) for n, spike in enumerate(spikes)]
    for _ in range(2):  # the second time it changes nothing
        outcome = await group.process(batch)
        assert not outcome.rejected
    clock.set(clock.now() + timedelta(seconds=SETTINGS.group_wait_s))


async def _deliveries(store: Store) -> list[Delivery]:
    return [delivery for _, deliveries in await store.alerts.latest(limit=9) for delivery in deliveries]


async def _later(clock: ManualClock, dispatch: Dispatch, seconds: float) -> dict[str, Reason]:
    clock.set(clock.now() + timedelta(seconds=seconds))
    return await dispatch.dispatch_once()


async def test_spikes_of_one_group_are_one_message_to_each_recipient(store: Store, clock: ManualClock) -> None:
    mail, hook = Scripted(recipients=("a@x.example", "b@x.example")), Scripted()
    dispatch = _dispatch(store, clock, mail=mail, hook=hook)
    await _told(store, clock, _spike(1), _spike(2, score=9.0), _spike(3, severity=Severity.WARNING))
    assert await dispatch.dispatch_once() == {}
    assert [len(channel.accepted) for channel in (mail, hook)] == [2, 1]
    (told,) = hook.accepted
    assert [spike.key.name for spike in told.alert.spikes] == ["2", "1", "3"]
    assert {one.recipient for one in mail.accepted} == {"a@x.example", "b@x.example"}
    assert len({one.id for one in (*mail.accepted, told)}) == 3
    assert await dispatch.dispatch_once() == {}
    assert hook.attempts == 1


async def test_nobody_is_told_before_the_wait_is_over(store: Store, clock: ManualClock) -> None:
    hook = Scripted()
    dispatch = _dispatch(store, clock, hook=hook)
    await _told(store, clock, _spike(1))
    clock.set(NOW + timedelta(seconds=29))
    await dispatch.dispatch_once()
    assert hook.accepted == []
    await _later(clock, dispatch, 1)
    assert len(hook.accepted) == 1
    await _told(store, clock, _spike(2))
    await dispatch.dispatch_once()
    assert len(hook.accepted) == 1  # group_interval_s has not passed
    await _later(clock, dispatch, 300)
    assert len(hook.accepted) == 2


async def test_a_failed_delivery_is_tried_when_it_is_due_and_not_before(store: Store, clock: ManualClock) -> None:
    slow, fine = Scripted(TIMEOUT, TIMEOUT, TIMEOUT), Scripted()
    dispatch = _dispatch(store, clock, slow=slow, fine=fine)
    await _told(store, clock, _spike(1))
    assert await dispatch.dispatch_once() == {"slow": Reason.TIMEOUT}
    assert (slow.attempts, len(fine.accepted)) == (1, 1)
    for wait_s, attempts in ((4.9, 1), (0.7, 2), (299, 2), (32, 3), (1799, 3), (200, 4)):
        await _later(clock, dispatch, wait_s)
        assert slow.attempts == attempts
    assert (len(slow.accepted), fine.attempts) == (1, 1)
    assert sorted((d.state, d.attempts, d.reason) for d in await _deliveries(store)) == [
        ("delivered", 1, None), ("delivered", 4, None),
    ]  # fmt: skip


async def test_a_restart_at_any_step_tells_once(store: Store, clock: ManualClock) -> None:
    hook = Scripted(TIMEOUT)
    await _told(store, clock, _spike(1))
    for _ in range(3):
        await _dispatch(store, clock, hook=hook).dispatch_once()
    assert hook.attempts == 1
    for _ in range(3):
        await _later(clock, _dispatch(store, clock, hook=hook), 6)
    assert (hook.attempts, len(hook.accepted)) == (2, 1)


async def test_what_was_accepted_is_not_sent_again_though_it_could_not_be_written_down(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = Scripted()
    dispatch = _dispatch(store, clock, hook=hook)
    await _told(store, clock, _spike(1))
    log, failing = store.alerts.log, True

    async def fails(delivery: Delivery, term: Term | None) -> None:
        if failing:
            raise StoreError(Reason.STORAGE_FULL, "full")
        await log(delivery, term)

    monkeypatch.setattr(store.alerts, "log", fails)
    for _ in range(5):
        with pytest.raises(StoreError):
            await dispatch.dispatch_once()
    failing = False
    await dispatch.dispatch_once()
    assert (hook.attempts, [d.state for d in await _deliveries(store)]) == (1, ["delivered"])


async def test_a_channel_still_sending_is_waited_for_whatever_befalls_another(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick, slow = Scripted(), Scripted()
    slow.gate = asyncio.Event()
    dispatch = _dispatch(store, clock, quick=quick, slow=slow)
    await _told(store, clock, _spike(1))
    log, failed = store.alerts.log, asyncio.Event()

    async def fails(delivery: Delivery, term: Term | None) -> None:
        if delivery.notification.channel == "quick" and not failed.is_set():
            failed.set()
            raise StoreError(Reason.STORAGE, "locked")
        await log(delivery, term)

    monkeypatch.setattr(store.alerts, "log", fails)
    passing = asyncio.ensure_future(dispatch.dispatch_once())
    async with asyncio.timeout(5):
        await failed.wait()
        await slow.reached.wait()
    assert not passing.done()
    slow.gate.set()
    with pytest.raises(StoreError):
        await passing
    await dispatch.dispatch_once()
    assert (quick.attempts, slow.attempts) == (1, 1)
    assert {d.state for d in await _deliveries(store)} == {"delivered"}


async def test_a_surprise_in_a_channel_stays_there(store: Store, clock: ManualClock) -> None:
    odd, fine = Scripted(KeyError("hunter2")), Scripted()
    dispatch = _dispatch(store, clock, odd=odd, fine=fine)
    await _told(store, clock, _spike(1))
    assert await dispatch.dispatch_once() == {"odd": Reason.PROTOCOL}
    assert len(fine.accepted) == 1
    assert "hunter2" not in str(await _deliveries(store))
    await _later(clock, dispatch, 6)
    assert len(odd.accepted) == 1


async def test_what_cannot_be_delivered_is_given_up(store: Store, clock: ManualClock) -> None:
    gone = Scripted(DeliveryError(Reason.GONE, "410"))
    dispatch = _dispatch(store, clock, gone=gone)
    await _told(store, clock, _spike(1))
    assert await dispatch.dispatch_once() == {"gone": Reason.GONE}
    await _later(clock, dispatch, 10**5)
    assert gone.attempts == 1
    assert [(d.state, d.next_attempt_at) for d in await _deliveries(store)] == [("failed", None)]


async def test_what_expired_while_nobody_was_there_is_not_sent(store: Store, clock: ManualClock) -> None:
    hook = Scripted(TIMEOUT)
    dispatch = _dispatch(store, clock, hook=hook)
    await _told(store, clock, _spike(1))
    await dispatch.dispatch_once()
    assert await _later(clock, _dispatch(store, clock, hook=hook), 73 * 3600) == {"hook": Reason.TIMEOUT}
    assert hook.attempts == 1
    assert [(d.state, d.attempts) for d in await _deliveries(store)] == [("failed", 1)]


async def test_a_channel_taken_out_of_the_configuration_gets_nothing(store: Store, clock: ManualClock) -> None:
    await _told(store, clock, _spike(1))
    hook = Scripted(TIMEOUT)
    await _dispatch(store, clock, hook=hook).dispatch_once()
    await _later(clock, _dispatch(store, clock), 6)
    assert [(d.state, d.reason) for d in await _deliveries(store)] == [("failed", Reason.INVALID)]


async def test_the_same_stories_are_not_told_twice(store: Store, clock: ManualClock) -> None:
    hook = Scripted()
    dispatch = _dispatch(store, clock, hook=hook)
    first = _spike(1)
    await _told(store, clock, first)
    await dispatch.dispatch_once()
    await _told(store, clock, _spike(2, key=ALL, stories=first.stories))
    await _later(clock, dispatch, 600)
    assert hook.attempts == 1
    outcomes = {row.outcome for row, _ in await store.alerts.latest(limit=9)}
    assert outcomes == {"for 1 recipient(s)", "same stories: 4 of 4 were sent before"}
    clock.set(clock.now() + timedelta(hours=25))
    await _told(store, clock, _spike(3, stories=first.stories, detected_at=clock.now()))
    await dispatch.dispatch_once()
    assert hook.attempts == 2


async def test_a_spike_that_joins_while_the_message_is_made_is_in_it(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = Scripted()
    dispatch = _dispatch(store, clock, hook=hook)
    await _told(store, clock, _spike(1))
    sent_stories = store.alerts.sent_stories

    async def joined_meanwhile(*args: Any) -> set[str]:
        await store.alerts.join(_spike(2), "all", clock.now(), clock.now())
        return await sent_stories(*args)

    monkeypatch.setattr(store.alerts, "sent_stories", joined_meanwhile)
    await dispatch.dispatch_once()
    await dispatch.dispatch_once()
    assert [len(told.alert.spikes) for told in hook.accepted] == [2]


async def test_a_replay_tells_nobody(store: Store, clock: ManualClock) -> None:
    hook = Scripted()
    dispatch = Dispatch({"hook": hook}, store=store, clock=clock, settings=SETTINGS, deliver=False)
    await _told(store, clock, _spike(1))
    await dispatch.dispatch_once()
    assert (hook.attempts, await _deliveries(store)) == (0, [])


async def test_what_is_no_spike_is_refused(store: Store, clock: ManualClock) -> None:
    message = Received(Stream.SPIKES, 0, 0, "k", b"{")
    outcome = await Group(store, SETTINGS).process([message])
    assert [(one.message, one.error.reason) for one in outcome.rejected] == [(message, Reason.MALFORMED)]


async def test_a_minor_spike_is_not_told(store: Store, clock: ManualClock) -> None:
    group = Group(store, AlertSettings(min_severity=Severity.CRITICAL))
    outcome = await group.process([Received(Stream.SPIKES, 0, 0, "k", encode(_spike(1)))])
    assert (outcome.rejected, await store.alerts.latest(limit=9)) == ([], [])


async def test_it_drains_before_it_runs_and_twice(store: Store, clock: ManualClock) -> None:
    hook = Scripted()
    dispatch = _dispatch(store, clock, hook=hook)
    await _told(store, clock, _spike(1))
    await dispatch.drain()
    async with asyncio.timeout(5):
        await dispatch.run()
    await dispatch.drain()
    assert (hook.attempts, dispatch.vital.state) == (1, "ok")


async def test_a_channel_that_hangs_holds_up_itself_alone(store: Store, clock: ManualClock) -> None:
    hanging, fine = Scripted(), Scripted()
    hanging.gate = asyncio.Event()
    dispatch = _dispatch(store, clock, hanging=hanging, fine=fine)
    running = asyncio.create_task(dispatch.run())
    await _told(store, clock, _spike(1))
    await asyncio.wait_for(hanging.reached.wait(), 5)
    await asyncio.wait_for(fine.reached.wait(), 5)
    fine.reached.clear()
    clock.set(clock.now() + timedelta(seconds=SETTINGS.group_interval_s))
    await _told(store, clock, _spike(2))
    await asyncio.wait_for(fine.reached.wait(), 5)  # told of the second, while the other still hangs on the first
    hanging.gate.set()
    await asyncio.wait_for(dispatch.drain(), 5)
    await running
    assert len(fine.accepted) == 2
    assert (hanging.attempts, len(hanging.accepted)) == (2, 2)


async def test_what_is_no_news_any_more_is_not_sent(store: Store, clock: ManualClock) -> None:
    hook = Scripted()
    await _told(store, clock, _spike(1))
    await _later(clock, _dispatch(store, clock, hook=hook), SETTINGS.horizon_h * 3600)
    assert hook.attempts == 0
    ((row, deliveries),) = await store.alerts.latest(limit=9)
    assert "no news any more" in (row.outcome or "")
    assert deliveries == []


async def test_a_replay_that_tells_nobody_leaves_alone_what_waits_for_the_daemon(
    store: Store, clock: ManualClock
) -> None:
    down = Scripted(TIMEOUT)
    dispatch = _dispatch(store, clock, hook=down)
    await _told(store, clock, _spike(1))
    await dispatch.dispatch_once()
    await _told(store, clock, _spike(2))
    clock.set(clock.now() + timedelta(seconds=600))
    silent = Dispatch({}, store=store, clock=clock, settings=SETTINGS, deliver=False)
    assert await silent.dispatch_once() == {}
    await dispatch.dispatch_once()
    assert len(down.accepted) == 2


async def test_a_replayed_spike_joins_no_alert_of_the_daemon(store: Store, clock: ManualClock) -> None:
    replaying = Group(store, SETTINGS, deliver=False)
    spike = _spike(1)  # of NOW, which is long ago by the machine's clock, or still to come
    await replaying.process([Received(Stream.SPIKES, 0, 0, str(spike.key), encode(spike))])
    ((row, _),) = await store.alerts.latest(limit=9)
    assert row.alert.group_key == REPLAYED
    assert await store.alerts.due(LIVE, NOW + timedelta(days=1)) == []


async def test_a_spike_met_before_its_time_joins_when_it_was_detected(store: Store) -> None:
    start = NOW - timedelta(days=3650)
    spike = _spike(1, detected_at=start + timedelta(hours=3))
    await Group(store, SETTINGS).process([Received(Stream.SPIKES, 0, 0, "spikes", encode(spike))])
    ((row, _),) = await store.alerts.latest(limit=9)
    assert row.alert.opened_at == spike.detected_at
    assert row.due_at == spike.detected_at + timedelta(seconds=SETTINGS.group_wait_s)
