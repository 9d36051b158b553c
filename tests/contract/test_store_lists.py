"""What every database keeps to: a filter finds what a reader of all rows would, and a limit cuts nothing else off."""

from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from monitor.domain.windows import ALL, Key, KeyKind
from monitor.storage import tables as t
from monitor.storage.alerts import LIVE, REPLAYED, AlertRow
from monitor.storage.deliveries import Delivery, DeliveryState, Endpoint
from monitor.storage.store import Store
from tests.factories import NOW, make_notification, make_spike

MINUTE, KEEP = timedelta(minutes=1), timedelta(minutes=30)
BANK, WIRE = Key("entity", "Northfield Bank"), Key("source", "Northfield Bank")
ENERGY = Key("topic", "Energy")
EXPIRES = NOW + timedelta(hours=72)
ALL_ROWS = 999


async def _alerts(store: Store) -> list[AlertRow]:
    """On each key one that fires, and of those that were played one that fires and one that has ended; and two of an
    older program, of which one has lost its spikes to another alert.
    """
    for number, key in enumerate((BANK, WIRE, ENERGY, ALL)):
        at = NOW + 10 * number * MINUTE
        fires: dict[str, Any] = {"detected_at": at}
        ended: dict[str, Any] = {"detected_at": at - 2 * KEEP, "state": "resolved", "resolved_at": at - KEEP}
        for place, (origin, fields) in enumerate([(REPLAYED, ended), (REPLAYED, fires), (LIVE, fires)]):
            spike = make_spike(id=f"{number}{place}".rjust(32, "0"), key=key, **fields)
            await store.alerts.take(spike, origin, MINUTE)
    old = {"group_key": "topic", "opened_at": NOW + 7 * MINUTE, "severity": "severe"}
    async with store._database.write() as connection:
        for alert_id in ("older", "older-without-spikes"):
            await connection.execute(t.alert.insert().values(id=alert_id, **old))
        for key in (BANK, ENERGY):
            spike = make_spike(key=key, id=f"older {key.name}")
            values = {"spike_id": spike.id, "alert_id": "older", "body": spike.model_dump(mode="json")}
            await connection.execute(t.alert_spike.insert().values(values))
    return await store.alerts.latest(limit=ALL_ROWS)


def _is_on(row: AlertRow, name: str, kinds: list[KeyKind] | None) -> bool:
    on = {row.alert.key, *(spike.key for spike in row.alert.spikes)}
    return any(key.name == name and (kinds is None or key.kind in kinds) for key in on)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [(None, None), (BANK.name, None), (BANK.name, ["source"]), (ENERGY.name, ["topic"]), (ENERGY.name, ["entity"])],
)
async def test_alerts_are_filtered_as_a_reader_of_all_would(
    name: str | None, kinds: list[KeyKind] | None, store: Store
) -> None:
    every = await _alerts(store)
    assert (len(every), sum(row.alert.id == "older" for row in every)) == (13, 1)
    assert [row.alert.opened_at for row in every] == sorted((row.alert.opened_at for row in every), reverse=True)
    moments = (None, NOW - KEEP, NOW, NOW + 7 * MINUTE)
    for firing, since, limit in product((False, True), moments, (1, 3, ALL_ROWS)):
        wanted = [
            row
            for row in every
            if (name is None or _is_on(row, name, kinds))
            and (since is None or row.alert.opened_at >= since)
            and not (firing and (row.alert.resolved_at is not None or row.closed_at is not None))
        ]
        found = await store.alerts.latest(limit=limit, since=since, name=name, kinds=kinds, firing=firing)
        assert found == wanted[:limit], (firing, since, limit)


async def test_an_alert_that_is_closed_or_has_ended_does_not_fire(store: Store) -> None:
    every = await _alerts(store)
    firing = await store.alerts.latest(limit=ALL_ROWS, firing=True)
    assert {row.alert.id for row in every} - {row.alert.id for row in firing} == {
        row.alert.id for row in every if row.alert.resolved_at is not None
    }
    (closed, *_) = firing
    async with store._database.write() as connection:
        mine = t.alert.c.id == closed.alert.id
        await connection.execute(t.alert.update().where(mine).values(closed_at=NOW))
    left = await store.alerts.latest(limit=ALL_ROWS, firing=True)
    assert [row.alert.id for row in left] == [row.alert.id for row in firing[1:]]


async def _deliveries(store: Store) -> list[Delivery]:
    """Of each state two by each of two channels, a minute apart."""
    states: tuple[DeliveryState, ...] = ("pending", "delivered", "failed")
    for number, (state, channel, _) in enumerate(product(states, ("mail", "chat"), range(2))):
        one = make_notification(channel=channel, recipient=str(number), created_at=NOW + number * MINUTE)
        await store.deliveries.add([one], NOW, EXPIRES)
        if state != "pending":
            (delivery,) = await store.deliveries.get(one.id)
            await store.deliveries.log(delivery._replace(state=state, next_attempt_at=None))
    return await store.deliveries.latest(limit=ALL_ROWS)


@pytest.mark.parametrize("state", [None, "pending", "delivered", "failed"])
async def test_deliveries_are_filtered_as_a_reader_of_all_would(state: DeliveryState | None, store: Store) -> None:
    every = await _deliveries(store)
    made = [one.notification.created_at for one in every]
    assert (len(made), made) == (12, sorted(made, reverse=True))
    for channel, since, limit in product((None, "mail", "nosuch"), (None, NOW + 5 * MINUTE), (1, 3, ALL_ROWS)):
        wanted = [
            one
            for one in every
            if (state is None or one.state == state)
            and (channel is None or one.notification.channel == channel)
            and (since is None or one.notification.created_at >= since)
        ]
        found = await store.deliveries.latest(limit=limit, state=state, channel=channel, since=since)
        assert found == wanted[:limit], (channel, since, limit)


async def test_more_are_retried_than_a_statement_takes_values(store: Store) -> None:
    """PostgreSQL's protocol counts values in 16 bits, SQLite stops at 32,766."""
    every = await _deliveries(store)
    ids = [one.notification.id for one in every]
    unknown = [f"{number:032}" for number in range(33_000)]
    again = NOW + MINUTE
    assert await store.deliveries.retry([*ids, *unknown, *ids], again, EXPIRES) == 8
    after = {one.notification.id: one for one in await store.deliveries.latest(limit=ALL_ROWS)}
    for one in every:
        expected: dict[str, Any] = {"state": "pending", "next_attempt_at": again, "expires_at": EXPIRES}
        wanted = one if one.state == "delivered" else one._replace(**expected)
        assert after[one.notification.id] == wanted


async def test_all_that_were_given_up_are_retried_and_nothing_else(store: Store) -> None:
    every = await _deliveries(store)
    assert await store.deliveries.channels("failed") == {"mail", "chat"}
    assert await store.deliveries.retry_failed(NOW + MINUTE, EXPIRES + MINUTE) == 4
    assert await store.deliveries.retry_failed(NOW + MINUTE, EXPIRES + MINUTE) == 0
    assert await store.deliveries.channels("failed") == set()
    changed: dict[str, Any] = {"state": "pending", "next_attempt_at": NOW + MINUTE, "expires_at": EXPIRES + MINUTE}
    wanted = [one._replace(**changed) if one.state == "failed" else one for one in every]
    assert await store.deliveries.latest(limit=ALL_ROWS) == wanted


async def test_a_channel_that_is_enabled_has_what_waits_attempted_at_once(store: Store) -> None:
    every = await _deliveries(store)
    for one in every:
        if one.state == "pending":
            await store.deliveries.log(one._replace(next_attempt_at=NOW + KEEP))
    before = await store.deliveries.latest(limit=ALL_ROWS)
    assert not await store.deliveries.enable("chat", NOW)  # it asked for nothing: its waits are our own
    assert await store.deliveries.latest(limit=ALL_ROWS) == before
    await store.deliveries.note(Endpoint("chat", "1" * 64, not_before=NOW + KEEP))
    assert await store.deliveries.enable("chat", NOW)
    due = await store.deliveries.to_send(NOW)
    assert {one.notification.id for one in due} == {
        one.notification.id for one in every if (one.state, one.notification.channel) == ("pending", "chat")
    }
