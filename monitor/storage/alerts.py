"""Alerts and notifications: who is to be told what, and who has been."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Row, func, select, update

from monitor.domain.alerts import Alert, Notification
from monitor.domain.record import fingerprint
from monitor.domain.spikes import Spike
from monitor.errors import Reason
from monitor.storage import tables as t
from monitor.storage.database import Database, to_the_end
from monitor.storage.leases import Term, fence

DeliveryState = Literal["pending", "delivered", "failed"]


class Delivery(NamedTuple):
    """A notification and how far its delivery has come. `reason` and `detail` tell of the last failed attempt."""

    notification: Notification
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    expires_at: datetime
    delivered_at: datetime | None
    reason: Reason | None
    detail: str | None


class AlertRow(NamedTuple):
    """An alert as stored. `outcome` None: still waiting for others to join; else what became of it."""

    alert: Alert
    due_at: datetime | None
    sent_at: datetime | None
    outcome: str | None


class Alerts:
    """Alerts by id, and their notifications."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @to_the_end
    async def join(self, spike: Spike, group_key: str, now: datetime, due_at: datetime) -> str | None:
        """Adds a spike to the group's waiting alert, and opens one, due at `due_at`, where none waits.

        Returns the alert's id; None if the spike belongs to an alert already.
        """
        async with self._database.write() as connection:
            if connection.dialect.name == "postgresql":  # one copy at a time: the others see what it has opened
                await connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"alert {group_key}"))))
            if await connection.scalar(select(t.alert_spike.c.alert_id).where(t.alert_spike.c.spike_id == spike.id)):
                return None
            alert_id: str | None = await connection.scalar(
                select(t.alert.c.id)
                .where(t.alert.c.group_key == group_key, t.alert.c.due_at.is_not(None))
                .with_for_update()
            )
            if alert_id is None:
                alert_id = fingerprint("alert", group_key, spike.id)
                await connection.execute(
                    t.alert.insert().values(id=alert_id, group_key=group_key, opened_at=now, due_at=due_at)
                )
            await connection.execute(
                t.alert_spike.insert().values(spike_id=spike.id, alert_id=alert_id, body=spike.model_dump(mode="json"))
            )
        return alert_id

    async def last_sent_at(self, group_key: str) -> datetime | None:
        query = select(t.alert.c.sent_at).where(t.alert.c.group_key == group_key, t.alert.c.sent_at.is_not(None))
        async with self._database.read() as connection:
            return await connection.scalar(query.order_by(t.alert.c.sent_at.desc()).limit(1))

    async def due(self, group_key: str, now: datetime) -> list[Alert]:
        """Alerts of the group whose wait is over, the oldest first."""
        mine = select(t.alert).where(t.alert.c.group_key == group_key, t.alert.c.due_at <= now)
        query = mine.order_by(t.alert.c.due_at, t.alert.c.id)
        return [row.alert for row in await self._rows(query)]

    async def next_due(self, group_key: str) -> datetime | None:
        """When the next of the group's alerts that wait is due, or the next attempt to deliver; None: nothing waits."""
        alert = select(func.min(t.alert.c.due_at)).where(t.alert.c.group_key == group_key)
        attempt = select(func.min(t.notification.c.next_attempt_at)).where(t.notification.c.state == "pending")
        async with self._database.read() as connection:
            found: list[datetime | None] = [await connection.scalar(query) for query in (alert, attempt)]
        return min((moment for moment in found if moment is not None), default=None)

    async def sent_stories(self, group_key: str, since: datetime) -> set[str]:
        """Ids of the stories that the group's messages since then were made of."""
        query = select(t.alert).where(t.alert.c.group_key == group_key, t.alert.c.sent_at >= since)
        return {
            story.story_id for row in await self._rows(query) for spike in row.alert.spikes for story in spike.stories
        }

    @to_the_end
    async def close(
        self,
        alert: Alert,
        outcome: str,
        notifications: Sequence[Notification],
        now: datetime,
        expires_at: datetime,
        term: Term | None = None,
    ) -> bool:
        """Ends an alert's wait: with what became of it, and with whom to tell.

        False, and nothing done, if it is not the alert that was read any more: a spike has joined it, or it is closed.
        Raises: LeaseError, if `term` is over; then nothing was done.
        """
        waiting = select(t.alert.c.id).where(t.alert.c.id == alert.id, t.alert.c.due_at.is_not(None)).with_for_update()
        members = select(func.count()).where(t.alert_spike.c.alert_id == alert.id)
        async with self._database.write() as connection:
            await fence(connection, term)
            if await connection.scalar(waiting) is None or await connection.scalar(members) != len(alert.spikes):
                return False
            await connection.execute(
                update(t.alert)
                .where(t.alert.c.id == alert.id)
                .values(due_at=None, sent_at=now if notifications else None, outcome=outcome)
            )
            if notifications:
                rows = [
                    {
                        "id": notification.id,
                        "alert_id": alert.id,
                        "channel": notification.channel,
                        "recipient": notification.recipient,
                        "created_at": notification.created_at,
                        "expires_at": expires_at,
                        "body": notification.model_dump(mode="json"),
                        "state": "pending",
                        "attempts": 0,
                        "next_attempt_at": now,
                    }
                    for notification in notifications
                ]
                await connection.execute(self._database.insert(t.notification).on_conflict_do_nothing(), rows)
        return True

    async def to_send(self, now: datetime, *, busy: Collection[str] = (), limit: int = 100) -> list[Delivery]:
        """Notifications whose next attempt is due, the oldest first, but those of `busy` channels."""
        query = (
            select(t.notification)
            .where(t.notification.c.state == "pending", t.notification.c.next_attempt_at <= now)
            .where(t.notification.c.channel.not_in(sorted(busy)))
            .order_by(t.notification.c.next_attempt_at, t.notification.c.id)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [_delivery(row) for row in await connection.execute(query)]

    @to_the_end
    async def log(self, delivery: Delivery, term: Term | None = None) -> None:
        """Writes down how far a delivery has come.

        Raises: LeaseError, if `term` is over; then nothing was written.
        """
        values = delivery._asdict()
        values.pop("notification")
        async with self._database.write() as connection:
            await fence(connection, term)
            await connection.execute(
                update(t.notification).where(t.notification.c.id == delivery.notification.id).values(**values)
            )

    async def latest(self, *, limit: int) -> list[tuple[AlertRow, list[Delivery]]]:
        """The newest alerts first, each with its deliveries."""
        alerts = await self._rows(select(t.alert).order_by(t.alert.c.opened_at.desc(), t.alert.c.id).limit(limit))
        query = select(t.notification).where(t.notification.c.alert_id.in_([row.alert.id for row in alerts]))
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(t.notification.c.channel, t.notification.c.recipient))
            deliveries = [_delivery(row) for row in rows]
        return [(row, [d for d in deliveries if d.notification.alert.id == row.alert.id]) for row in alerts]

    async def _rows(self, query: Any) -> list[AlertRow]:
        async with self._database.read() as connection:
            rows = list(await connection.execute(query))
            members = await connection.execute(
                select(t.alert_spike).where(t.alert_spike.c.alert_id.in_([row.id for row in rows]))
            )
            spikes: dict[str, list[Spike]] = {}
            for member in members:
                spikes.setdefault(member.alert_id, []).append(Spike.model_validate(member.body))
        return [
            AlertRow(
                Alert(
                    id=row.id,
                    group_key=row.group_key,
                    opened_at=row.opened_at,
                    spikes=tuple(sorted(spikes.get(row.id, []), key=lambda spike: (-spike.score, spike.id))),
                ),
                row.due_at,
                row.sent_at,
                row.outcome,
            )
            for row in rows
        ]


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        notification=Notification.model_validate(row.body),
        state=row.state,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        expires_at=row.expires_at,
        delivered_at=row.delivered_at,
        reason=None if row.reason is None else Reason(row.reason),
        detail=row.detail,
    )
