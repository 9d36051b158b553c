"""Of several copies one acts: who takes over, when, and what the one that was put aside may still do."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from alerts.dispatch import Dispatch
from alerts.evaluate import Policy
from alerts.stage import Collect
from monitor.bus.bus import Received
from monitor.bus.embedded import EmbeddedBus
from monitor.bus.streams import Group as ConsumerGroup
from monitor.bus.streams import Stream
from monitor.clock import ManualClock
from monitor.domain.alerts import Notification
from monitor.domain.record import encode
from monitor.domain.windows import ALL, Key
from monitor.errors import DeliveryError, LeaseError, Reason, StoreError
from monitor.leader import Lead, Led
from monitor.settings import DetectSettings
from monitor.storage.alerts import LIVE
from monitor.storage.database import MEMORY
from monitor.storage.leases import Leases
from monitor.storage.store import Store
from pipelines.detect.detectors.gamma_poisson import Config, build
from pipelines.detect.stage import Detect
from pipelines.detect.watch import Watch
from tests.chain import make_settings
from tests.factories import NOW, make_spike
from tests.news import burst, calm

TTL_S = 10.0
TICK = timedelta(seconds=30)


class Machine:
    """The real time of a test: the database's clock, and the seconds that each copy counts."""

    def __init__(self, store: Store) -> None:
        self.clock = ManualClock(NOW)
        self.leases = Leases(store._database, self.clock)
        store.leases = self.leases

    def monotonic(self) -> float:
        return (self.clock.now() - NOW).total_seconds() + 1000

    def later(self, seconds: float) -> None:
        self.clock.set(self.clock.now() + timedelta(seconds=seconds))

    def lead(self, owner: str, name: str = "detect") -> Lead:
        return Lead(self.leases, name, owner, ttl_s=TTL_S, monotonic=self.monotonic)


@pytest.fixture
def machine(store: Store) -> Machine:
    return Machine(store)


async def test_the_holder_renews_and_the_other_takes_over_when_it_does_not(machine: Machine) -> None:
    first, second = machine.lead("a:1"), machine.lead("b:2")
    for _ in range(5):
        await first.look()
        await second.look()
        assert first.term is not None
        assert (second.term, second.standby) == (None, "standby; a:1 acts")
        machine.later(3)
    machine.later(TTL_S - 3 - 0.1)
    await second.look()
    assert second.term is None
    machine.later(0.2)
    assert first.term is None  # it knows by its own clock, without asking
    await second.look()
    assert second.term is not None
    await first.look()
    assert (first.term, first.standby) == (None, "standby; b:2 acts")


async def test_whoever_was_cut_off_lets_the_holder_come_back_first(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = machine.lead("a:1"), machine.lead("b:2")
    await first.look()
    await second.look()
    term = first.term

    async def away(*_: Any) -> Any:
        raise StoreError(Reason.STORAGE, "no server")

    with monkeypatch.context() as cut_off:
        for call in ("renew", "acquire", "holder"):
            cut_off.setattr(machine.leases, call, away)
        for _ in range(10):
            machine.later(3)
            await first.look()
            await second.look()
    assert (first.term, second.term, second.standby) == (None, None, "standby; storage: no server")
    machine.later(1)
    await second.look()
    assert second.term is None
    await first.look()
    assert first.term == term  # the same term: nobody has acted meanwhile, and nothing need be forgotten

    machine.later(30)
    await second.look()
    assert second.term is not None


class Counting(Led):
    """Counts its rounds."""

    def __init__(self, clock: ManualClock, lead: Lead | None) -> None:
        super().__init__(clock, lead)
        self.acted = asyncio.Event()
        self.finished = 0

    async def _act(self) -> None:
        self.acted.set()
        await asyncio.sleep(0)

    async def _finish(self) -> None:
        self.finished += 1


async def test_a_copy_that_drains_hands_over_at_once(
    machine: Machine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.leader._TRY_S", 0.01)
    first, second = (Counting(clock, machine.lead(owner)) for owner in ("a:1", "b:2"))
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(first.run())
        await first.acted.wait()
        group.create_task(second.run())
        while second.vital.detail != "standby; a:1 acts":  # noqa: ASYNC110  # it has no event for it
            await asyncio.sleep(0.01)
        assert not second.acted.is_set()
        await first.drain()
        await second.acted.wait()  # no time has passed on the lease's clock
        await second.drain()
    assert (first.finished, second.finished) == (1, 1)
    assert await machine.leases.held("") == []


async def test_without_a_lease_it_always_acts_and_on_standby_it_leaves_without_acting(
    machine: Machine, clock: ManualClock
) -> None:
    alone = Counting(clock, None)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(alone.run())
        await alone.acted.wait()
        await alone.drain()
    assert alone.finished == 1
    await machine.lead("a:1").look()
    second = Counting(clock, machine.lead("b:2"))
    await second.drain()
    await second.run()
    assert (second.acted.is_set(), second.finished) == (False, 0)
    assert await machine.leases.held("") == ["detect"]


def _detect(store: Store, bus: EmbeddedBus, lead: Lead | None) -> Detect:
    settings = DetectSettings(keys=frozenset({"all", "topic"}))
    clock = ManualClock(NOW)
    return Detect(
        lambda: Watch(build(Config()), settings), store=store, bus=bus, clock=clock, settings=settings, lead=lead
    )


async def test_detect_takes_over_from_the_tables_and_states_nothing_twice(
    store: Store, bus: EmbeddedBus, machine: Machine
) -> None:
    await store.articles.add([*calm(9), *burst()])
    leads = machine.lead("a:1"), machine.lead("b:2")
    first, second = (_detect(store, bus, lead) for lead in leads)
    await leads[0].look()
    assert len(await first.tick(NOW)) == 2
    with pytest.raises(LeaseError):
        await second.tick(NOW)

    for turn in range(1, 5):  # back and forth: what either remembers from its last turn is old
        machine.later(TTL_S + 1)
        acting, leading = (second, leads[1]) if turn % 2 else (first, leads[0])
        await leading.look()
        now = NOW + turn * timedelta(days=1)
        await store.articles.add(burst(20, end=now))
        assert [spike.key for spike in await acting.tick(now)] == [ALL, Key("topic", "Financials")]
        assert await acting.tick(now + TICK) == []

    stated = await store.spikes.latest(limit=99)
    assert len(stated) == 10

    async with contextlib.aclosing(await Store.open(MEMORY)) as undisturbed:
        await undisturbed.articles.add([*calm(9), *burst()])
        alone = _detect(undisturbed, bus, None)
        await alone.tick(NOW)
        for turn in range(1, 5):
            now = NOW + turn * timedelta(days=1)
            await undisturbed.articles.add(burst(20, end=now))
            await alone.tick(now)
            await alone.tick(now + TICK)
        assert await undisturbed.spikes.latest(limit=99) == stated


async def test_detect_that_was_paused_states_nothing_and_stands_by(
    store: Store, bus: EmbeddedBus, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has found the spike, and stops before it writes; another copy states it meanwhile."""
    await store.articles.add([*calm(9), *burst()])
    leads = machine.lead("a:1"), machine.lead("b:2")
    paused, other = (_detect(store, bus, lead) for lead in leads)
    await leads[0].look()
    unseen = store.sightings.unseen

    async def slow(until: Any) -> Any:
        found = await unseen(until)
        monkeypatch.setattr(store.sightings, "unseen", unseen)
        machine.later(TTL_S + 1)
        await leads[1].look()
        assert len(await other.tick(NOW)) == 2
        return found

    monkeypatch.setattr(store.sightings, "unseen", slow)
    with pytest.raises(LeaseError):
        await paused.tick(NOW + TICK)
    assert len(await store.spikes.latest(limit=9)) == 2
    assert len(await (await bus.subscribe(ConsumerGroup.ALERTS)).poll(99, timeout_s=0)) == 2


class Hook:
    """Accepts everything; what happens in between, a test decides."""

    recipients = ("desk",)

    def __init__(self) -> None:
        self.accepted: list[str] = []
        self.meanwhile: Callable[[], Any] | None = None
        self.error: DeliveryError | None = None

    async def send(self, notification: Notification) -> None:
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.error is not None:
            raise self.error
        self.accepted.append(notification.id)


@pytest.fixture
async def waiting(store: Store, clock: ManualClock) -> None:
    """An alert whose wait is over."""
    spike = make_spike()
    await Collect(store, make_settings()).process([Received(Stream.SPIKES, 0, 0, "key", encode(spike))])
    clock.set(NOW + timedelta(seconds=31))


def _dispatch(store: Store, clock: ManualClock, hook: Hook, lead: Lead) -> Dispatch:
    policy = Policy(make_settings(("hook",)), {"hook": hook.recipients})
    return Dispatch({"hook": hook}, policy, store=store, clock=clock, lead=lead)


@pytest.mark.usefixtures("waiting")
async def test_a_dispatcher_that_was_paused_before_it_sends_leaves_it_to_the_other(
    store: Store, clock: ManualClock, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads = machine.lead("a:1", "alerts"), machine.lead("b:2", "alerts")
    hooks = Hook(), Hook()
    paused, other = (_dispatch(store, clock, hook, lead) for hook, lead in zip(hooks, leads, strict=True))
    await leads[0].look()
    to_send = store.deliveries.to_send

    async def slow(*args: Any, **kwargs: Any) -> Any:
        due = await to_send(*args, **kwargs)
        monkeypatch.setattr(store.deliveries, "to_send", to_send)
        machine.later(TTL_S + 1)
        await leads[1].look()
        assert await other.dispatch_once() == {}
        return due

    monkeypatch.setattr(store.deliveries, "to_send", slow)
    with pytest.raises(LeaseError):
        await paused.dispatch_once()
    assert [len(hook.accepted) for hook in hooks] == [0, 1]


@pytest.mark.usefixtures("waiting")
async def test_what_was_accepted_while_the_lease_was_lost_is_not_sent_again(
    store: Store, clock: ManualClock, machine: Machine
) -> None:
    leads = machine.lead("a:1", "alerts"), machine.lead("b:2", "alerts")
    hooks = Hook(), Hook()
    slow, other = (_dispatch(store, clock, hook, lead) for hook, lead in zip(hooks, leads, strict=True))
    await leads[0].look()

    async def takes_over() -> None:
        machine.later(TTL_S + 1)
        await leads[1].look()
        assert leads[1].term is not None

    hooks[0].meanwhile = takes_over
    await slow.dispatch_once()
    await other.dispatch_once()
    assert [len(hook.accepted) for hook in hooks] == [1, 0]


@pytest.mark.usefixtures("waiting")
async def test_a_failure_under_a_lost_lease_is_forgotten(store: Store, clock: ManualClock, machine: Machine) -> None:
    leads = machine.lead("a:1", "alerts"), machine.lead("b:2", "alerts")
    hooks = Hook(), Hook()
    slow, other = (_dispatch(store, clock, hook, lead) for hook, lead in zip(hooks, leads, strict=True))
    await leads[0].look()

    async def takes_over() -> None:
        machine.later(TTL_S + 1)
        await leads[1].look()
        await other.dispatch_once()

    hooks[0].meanwhile, hooks[0].error = takes_over, DeliveryError(Reason.TIMEOUT, "slow")
    with pytest.raises(LeaseError):
        await slow.dispatch_once()
    (delivery,) = await store.deliveries.latest(limit=9)
    assert (delivery.state, delivery.attempts, hooks[1].accepted) == ("delivered", 1, [delivery.notification.id])
    assert await store.groups.due(LIVE, clock.now()) == []


@pytest.mark.usefixtures("waiting")
async def test_a_dispatcher_that_was_paused_before_it_decides_decides_nothing(
    store: Store, clock: ManualClock, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads = machine.lead("a:1", "alerts"), machine.lead("b:2", "alerts")
    hooks = Hook(), Hook()
    paused, other = (_dispatch(store, clock, hook, lead) for hook, lead in zip(hooks, leads, strict=True))
    await leads[0].look()
    members = store.groups.members

    async def slow(group_id: str) -> Any:
        found = await members(group_id)
        monkeypatch.setattr(store.groups, "members", members)
        machine.later(TTL_S + 1)
        await leads[1].look()
        assert await other.dispatch_once() == {}
        return found

    monkeypatch.setattr(store.groups, "members", slow)
    with pytest.raises(LeaseError):
        await paused.dispatch_once()
    assert [len(hook.accepted) for hook in hooks] == [0, 1]
    assert len(await store.groups.messages(LIVE)) == 1
