"""Retention of alerts: what ended long ago goes as a whole, and nobody who is still to hear of anything notices."""

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, or_, select

from alerts.digests import Digests
from monitor.clock import ManualClock
from monitor.domain.alerts import Event, Notification
from monitor.domain.spikes import Severity
from monitor.errors import DeliveryError, Reason
from monitor.storage import alert_retention
from monitor.storage import tables as t
from monitor.storage.alert_retention import Forgotten
from monitor.storage.database import MEMORY
from monitor.storage.sightings import Looked
from monitor.storage.store import Store
from tests.chain import BANKS, CHIPS, OIL, Chain, make_settings
from tests.factories import NOW, make_notification, make_spike

DAY = timedelta(days=1)
KEPT = 3 * DAY  # as little as the settings allow
TABLES = (
    t.alert, t.alert_spike, t.alert_group, t.alert_member, t.alert_decision, t.message, t.message_alert, t.delivery,
    t.silence, t.notification, t.spike, t.digest, t.endpoint,
)  # fmt: skip
# What is referred to without a foreign key: read together wherever one of them is shown.
SOFT = (
    (t.alert_member.c.thread, t.message.c.id),
    (t.alert_decision.c.group_id, t.alert_group.c.id),
    (t.message.c.group_id, t.alert_group.c.id),
)


async def _rows(store: Store) -> dict[str, set[str]]:
    """Everything in the tables, each row as it stands."""
    async with store._database.read() as connection:
        return {table.name: {repr(tuple(row)) for row in await connection.execute(select(table))} for table in TABLES}


async def _sizes(store: Store) -> dict[str, int]:
    return {name: len(rows) for name, rows in (await _rows(store)).items() if rows}


async def _orphans(store: Store) -> list[str]:
    """References to rows that are not there, and messages and groups that nothing refers to any more."""
    refers = [(fk.parent, fk.column) for table in TABLES for fk in table.foreign_keys]
    found = []
    async with store._database.read() as connection:
        for of, to in [*refers, *SOFT]:
            missing = select(func.count()).where(of.is_not(None), of.not_in(select(to)))
            if await connection.scalar(missing):
                found.append(f"{of} of nothing")
        unnamed = select(func.count()).where(t.message.c.id.not_in(select(t.message_alert.c.message_id)))
        if await connection.scalar(unnamed):
            found.append("message of nothing")
    return found


async def _forget(store: Store, cutoff: datetime) -> Forgotten:
    """Forgets, and holds it to what must be so in any case."""
    before = await _rows(store)
    forgotten = await store.alert_retention.delete_before(cutoff)
    after = await _rows(store)
    assert all(after[name] <= before[name] for name in before), "what stays is as it was"
    assert len(before["alert"]) - len(after["alert"]) == forgotten.alerts
    assert len(before["message"]) - len(after["message"]) == forgotten.messages
    assert await _orphans(store) == []
    assert await store.alert_retention.delete_before(cutoff) == Forgotten(0, 0)
    assert await _rows(store) == after
    return forgotten


@pytest.fixture
def chain(store: Store, clock: ManualClock) -> Chain:
    return Chain(store, clock)


async def _an_episode(chain: Chain, *keys: Any) -> None:
    """Fires, is told, ends, is told, and closes."""
    spikes = [await chain.fire(key) for key in keys]
    await chain.wait(minutes=10)
    await chain.end(*spikes)
    await chain.wait(hours=1)


async def test_what_ended_before_goes_with_all_that_hangs_on_it(chain: Chain, store: Store, clock: ManualClock) -> None:
    await _an_episode(chain, BANKS)
    (gone,) = await store.alerts.latest(limit=9)
    assert gone.closed_at is not None
    assert await _forget(store, gone.closed_at) == Forgotten(0, 0), "it ended then, not before"
    clock.set(NOW + 2 * DAY)
    await _an_episode(chain, OIL)
    assert await _forget(store, clock.now() - DAY) == Forgotten(1, 2)
    assert await store.alerts.get(gone.alert.id) == []
    assert await store.deliveries.of_alert(gone.alert.id) == []
    (kept,) = await store.alerts.latest(limit=9)
    assert kept.alert.key == OIL
    assert [one.notification.event for one in await store.deliveries.of_alert(kept.alert.id)] == [
        Event.FIRING, Event.RESOLVED,
    ]  # fmt: skip
    assert [one.told is not None for one in await store.groups.standings(kept.alert.id)] == [True]
    assert await _forget(store, clock.now() + DAY) == Forgotten(1, 2)
    assert await _sizes(store) == {}


async def test_what_fires_stays_however_old_it_is(chain: Chain, store: Store, clock: ManualClock) -> None:
    chain.settings = make_settings(repeat_interval_s=31_622_400)
    chain.restart()
    await chain.fire(BANKS)
    await chain.wait(minutes=10)
    before = await _rows(store)
    assert await _forget(store, clock.now() + 400 * DAY) == Forgotten(0, 0)
    assert await _rows(store) == before


async def test_the_message_that_began_a_thread_stays_as_long_as_an_alert_of_it(
    chain: Chain, store: Store, clock: ManualClock
) -> None:
    """One message told of both; one of them is over for long, the other fires."""
    banks, oil = await chain.fire(BANKS), await chain.fire(OIL)
    await chain.wait(minutes=10)
    await chain.end(banks)
    await chain.wait(hours=24 * 10)
    assert await _forget(store, clock.now() - KEPT) == Forgotten(1, 1), "the end of the first, and not the beginning"
    (kept,) = await store.alerts.latest(limit=9)
    told = await store.deliveries.of_alert(kept.alert.id)
    (standing,) = await store.groups.standings(kept.alert.id)
    assert standing.told is not None
    assert standing.told.thread in {message.id for message in await store.groups.messages("all", kept.alert.id)}
    await chain.end(oil)
    await chain.wait(hours=1)
    assert chain.desk.accepted[-1].thread == told[0].notification.id
    assert (await store.deliveries.get(told[0].notification.id))[0].notification.event is Event.FIRING
    clock.set(clock.now() + 10 * DAY)
    await _forget(store, clock.now() - KEPT)
    assert await _sizes(store) == {}


async def test_what_is_on_its_way_stays_with_its_alert(chain: Chain, store: Store, clock: ManualClock) -> None:
    await _an_episode(chain, BANKS)
    clock.set(NOW + 10 * DAY)
    first = chain.desk.accepted[0].id
    async with store._database.write() as connection:
        await connection.execute(t.delivery.update().where(t.delivery.c.id == first).values(state="failed"))
    assert await store.deliveries.retry([first], clock.now(), clock.now() + DAY) == 1
    before = await _rows(store)
    assert await _forget(store, clock.now() - KEPT) == Forgotten(0, 0)
    assert await _rows(store) == before
    await chain.wait(minutes=1)
    assert chain.desk.accepted[-1].id == first
    assert await _forget(store, clock.now() - KEPT) == Forgotten(1, 2)
    assert await _sizes(store) == {}


async def test_what_belongs_to_no_alert_goes_by_its_own_time(chain: Chain, store: Store, clock: ManualClock) -> None:
    """Digests and tests by when they were made, silences by their ends."""
    digest = make_notification(id="digest", event="test", alerts=(), created_at=NOW)
    waiting = make_notification(id="waiting", event="test", alerts=(), created_at=NOW)
    await store.deliveries.add_digest("desk", NOW, [digest], NOW, NOW + DAY)
    await chain.wait(minutes=1)
    await store.deliveries.add([waiting], NOW, NOW + 9 * DAY)
    await chain.silence('key="Financials"', minutes=60)
    still = await chain.silence('key="Chips Ltd"', minutes=60 * 24 * 30)
    assert await _forget(store, NOW) == Forgotten(0, 0)
    assert await _sizes(store) == {"delivery": 2, "silence": 2, "digest": 1}
    assert await _forget(store, NOW + DAY) == Forgotten(0, 0)
    assert [one.notification.id for one in await store.deliveries.latest(limit=9)] == ["waiting"]
    assert [one.id for one in await store.silences.all()] == [still]
    assert await store.deliveries.digests_until() == {"desk": NOW}


async def test_a_spike_stays_while_it_fires_or_waits_or_an_alert_rests_on_it(
    chain: Chain, store: Store, clock: ManualClock
) -> None:
    told = {"state": "resolved", "resolved_at": NOW}
    spikes = {
        "over": make_spike(id="over", **told),
        "firing": make_spike(id="firing"),
        "untold": make_spike(id="untold", **told),
        "late": make_spike(id="late", state="resolved", resolved_at=NOW + 5 * DAY),
        "alerted": make_spike(id="alerted", **told),
    }
    await store.sightings.save(Looked([], {}, list(spikes.values()), []))
    await store.spikes.mark_published([one for name, one in spikes.items() if name != "untold"], NOW)
    await chain.take(spikes["alerted"].model_copy(update={"state": "firing", "resolved_at": None}))
    assert await _forget(store, NOW) == Forgotten(0, 0)
    assert {one.id for one in await store.spikes.latest(limit=9)} == set(spikes)
    await _forget(store, NOW + DAY)
    assert {one.id for one in await store.spikes.latest(limit=9)} == set(spikes) - {"over"}
    await chain.end(spikes["alerted"])
    clock.set(NOW + 6 * DAY)
    await chain.wait(hours=1)
    await _forget(store, clock.now() + DAY)
    assert {one.id for one in await store.spikes.latest(limit=9)} == {"firing", "untold"}


async def test_alerts_of_older_programs_go_by_their_beginning(store: Store) -> None:
    async def left(alert_id: str, due_at: datetime | None = None, **of_spike: Any) -> None:
        spike = make_spike(id=f"spike of {alert_id}", **of_spike)
        await store.sightings.save(Looked([], {}, [spike], []))
        body = {"spike_id": spike.id, "alert_id": alert_id, "body": spike.model_dump(mode="json")}
        sent = {"id": f"to {alert_id}", "alert_id": alert_id, "channel": "desk", "recipient": "desk"}
        when = {"state": "delivered", "created_at": NOW, "expires_at": NOW + DAY, "attempts": 1, "body": {}}
        alert = t.alert.insert().values(id=alert_id, group_key="all", opened_at=NOW, due_at=due_at)
        async with store._database.write() as connection:
            await connection.execute(alert)
            await connection.execute(t.alert_spike.insert().values(body))
            await connection.execute(t.notification.insert().values({**sent, **when}))

    over: dict[str, Any] = {"state": "resolved", "resolved_at": NOW + timedelta(hours=1)}
    await left("over", **over)
    await left("firing")
    await left("lasted", **{**over, "resolved_at": NOW + 5 * DAY})
    await left("waiting", due_at=NOW, **over)
    await left("pending", **over)
    async with store._database.write() as connection:
        of_pending = t.notification.c.alert_id == "pending"
        await connection.execute(t.notification.update().where(of_pending).values(state="pending"))
    assert await _forget(store, NOW) == Forgotten(0, 0)
    assert await _forget(store, NOW + DAY) == Forgotten(1, 0)
    async with store._database.read() as connection:
        alerts = set((await connection.execute(select(t.alert.c.id))).scalars())
        notifications = set((await connection.execute(select(t.notification.c.id))).scalars())
    assert alerts == {"firing", "lasted", "waiting", "pending"}
    assert notifications == {"to pending"}


async def test_an_alert_goes_by_its_end_and_by_the_last_that_was_told_of_it(
    chain: Chain, store: Store, clock: ManualClock
) -> None:
    await chain.silence('kind="topic"', minutes=600)
    await _an_episode(chain, BANKS)
    await _an_episode(chain, CHIPS)
    told, untold = await store.alerts.latest(limit=9)
    assert (told.alert.key, untold.alert.key) == (CHIPS, BANKS)
    assert untold.closed_at is not None
    assert await _forget(store, untold.closed_at) == Forgotten(0, 0)
    assert await _forget(store, untold.closed_at + timedelta.resolution) == Forgotten(1, 0)
    async with store._database.write() as connection:
        await connection.execute(t.message.update().values(created_at=NOW + 9 * DAY))
    assert await _forget(store, NOW + 8 * DAY) == Forgotten(0, 0)
    assert await _forget(store, NOW + 10 * DAY) == Forgotten(1, 2)


async def test_a_group_stays_while_it_has_its_place_on_the_grid(chain: Chain, store: Store, clock: ManualClock) -> None:
    await _an_episode(chain, BANKS)
    async with store._database.write() as connection:
        known = dict((await connection.execute(select(t.alert_group))).one()._mapping)
        others = {"due": {"due_at": NOW}, "flushed": {"flushed_at": NOW}, "empty": {}}
        for name, times in others.items():
            await connection.execute(t.alert_group.insert().values({**known, "id": name, **times}))
    await _forget(store, NOW)
    assert set(await store.groups.get([known["id"], *others])) == {known["id"], "due", "flushed"}
    await _forget(store, NOW + 10 * DAY)
    assert set(await store.groups.get([known["id"], *others])) == {"due", "flushed"}


async def test_what_is_on_its_way_needs_no_alert_to_stay(chain: Chain, store: Store, clock: ManualClock) -> None:
    await _an_episode(chain, BANKS)
    first = chain.desk.accepted[0].id
    async with store._database.write() as connection:
        await connection.execute(t.message_alert.delete())
        await connection.execute(t.delivery.update().where(t.delivery.c.id == first).values(state="pending"))
    assert await store.alert_retention.delete_before(NOW + 10 * DAY) == Forgotten(1, 1)
    assert [one.notification.id for one in await store.deliveries.latest(limit=9)] == [first]


async def test_many_go_a_few_at_a_time(
    chain: Chain, store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_retention, "_SOME", 2)
    monkeypatch.setattr(alert_retention, "_PAUSE_S", 0)
    for key in (BANKS, OIL, CHIPS, BANKS, OIL):
        await _an_episode(chain, key)
    clock.set(NOW + 10 * DAY)
    assert await _forget(store, clock.now() - KEPT) == Forgotten(5, 10)
    assert await _sizes(store) == {}


TIMEOUT = DeliveryError(Reason.TIMEOUT, "slow")
SETTINGS = make_settings(
    group_by=["kind"],
    group_interval_s=10_800,
    route={"receiver": "desk", "routes": [{"matchers": ['severity="critical"'], "group_by": ["key"]}]},
    receivers={"desk": {"channels": ["desk"], "budget_per_day": 4, "digest": "daily"}},
)
HOURS = [0.2, 1.0, 5.0, 80.0]
STEP = st.one_of(
    st.tuples(
        st.just("fire"), st.sampled_from([BANKS, OIL, CHIPS]), st.sampled_from(list(Severity)), st.integers(0, 3)
    ),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from(HOURS)),
    st.tuples(st.just("silence"), st.sampled_from([BANKS, OIL, CHIPS])),
    st.tuples(st.just("acknowledge")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("fail"), st.integers(1, 20)),
)


async def _play(steps: Sequence[tuple[Any, ...]], *, forget: bool) -> tuple[list[Notification], Forgotten]:
    """What arrives of such a course of events, told by a daemon that forgets now and then, or never."""
    async with contextlib.aclosing(await Store.open(MEMORY)) as store:
        clock = ManualClock(NOW)
        chain = Chain(store, clock, SETTINGS)
        firing, gone = [], Forgotten(0, 0)
        for name, *given_ in [*steps, ("wait", 100.0)]:
            match name:
                case "fire":
                    key, severity, story = given_
                    titles = [f"story {story} {n}" for n in range(3)] if story else None
                    told = {} if titles is None else {"titles": titles}
                    firing.append(await chain.fire(key, severity, **told))
                case "end" if firing:
                    await chain.end(firing.pop(given_[0] % len(firing)))
                case "silence":
                    await chain.silence(f'key="{given_[0].name}"', minutes=600)
                case "acknowledge":
                    if rows := await store.alerts.latest(limit=1):
                        await store.alerts.acknowledge(rows[0].alert.id, "ann", "on it", clock.now())
                case "restart":
                    chain.restart()
                case "fail":
                    chain.desk.script = [TIMEOUT] * given_[0]
                case "wait":
                    until = clock.now() + timedelta(hours=given_[0])
                    while clock.now() < until:
                        left = (until - clock.now()).total_seconds()
                        await chain.wait(seconds=min(left, 40 * 3600))
                        if forget:
                            found = await _forget(store, clock.now() - KEPT)
                            gone = Forgotten(*(a + b for a, b in zip(gone, found, strict=True)))
                        await Digests(store, chain.dispatch.policy).write_due(clock.now(), None)
                        await chain.dispatch.dispatch_once()
        return chain.desk.accepted, gone


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, min_size=4, max_size=10))
async def test_who_forgets_tells_the_very_same(steps: list[tuple[Any, ...]]) -> None:
    told, _ = await _play(steps, forget=True)
    assert told == (await _play(steps, forget=False))[0]


async def test_a_long_life_leaves_nothing_behind() -> None:
    """Every day a key fires and ends, for three weeks."""
    day = [("fire", BANKS, Severity.SEVERE, 0), ("wait", 1.0), ("end", 0), ("wait", 23.0)]
    told, gone = await _play(day * 21, forget=True)
    assert told == (await _play(day * 21, forget=False))[0]
    assert len([one for one in told if one.event is Event.FIRING]) == 21
    assert gone == Forgotten(21, 42)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, min_size=4, max_size=10), st.floats(-2, 12))
async def test_what_is_open_on_its_way_or_younger_stays(steps: list[tuple[Any, ...]], days: float) -> None:
    async with contextlib.aclosing(await Store.open(MEMORY)) as store:
        clock = ManualClock(NOW)
        chain = Chain(store, clock, SETTINGS)
        firing = []
        for name, *given_ in steps:
            match name:
                case "fire":
                    firing.append(await chain.fire(given_[0], given_[1]))
                case "end" if firing:
                    await chain.end(firing.pop(given_[0] % len(firing)))
                case "fail":
                    chain.desk.script = [TIMEOUT] * given_[0]
                case "wait":
                    await chain.wait(hours=given_[0])
        cutoff = NOW + days * DAY
        a, d, m = t.alert.c, t.delivery.c, t.message.c
        is_open = select(a.id).where(or_(a.closed_at.is_(None), a.closed_at >= cutoff))
        pending = select(d.id).where(d.state == "pending")
        young = select(m.id).where(m.created_at >= cutoff)
        named = select(t.message_alert.c.alert_id).where(
            t.message_alert.c.message_id.in_(
                select(d.message_id).where(d.state == "pending").union(select(m.id).where(m.created_at >= cutoff))
            )
        )

        async def found() -> list[set[str]]:
            async with store._database.read() as connection:
                queries = (is_open, pending, young, named)
                return [set((await connection.execute(query)).scalars()) for query in queries]

        before = await found()
        await _forget(store, cutoff)
        assert await found() == before
