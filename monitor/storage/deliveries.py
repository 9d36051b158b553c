"""Deliveries: what is on its way to whom, how far it has come, and what the other side asked for."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Row, Select, Update, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.domain.alerts import Notification
from monitor.errors import Reason
from monitor.storage import tables as t
from monitor.storage.database import Database, to_the_end
from monitor.storage.leases import Term, fence

_SOME = 500
"""Ids in a statement: PostgreSQL's protocol allows 32,767 values."""

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


class Endpoint(NamedTuple):
    """What the other side of a channel has asked for, as long as the channel's settings have this fingerprint.

    `disabled_at`: it is gone, and wants no more; `not_before`: it wants nothing before then.
    """

    channel: str
    fingerprint: str
    disabled_at: datetime | None = None
    not_before: datetime | None = None
    detail: str | None = None


class Deliveries:
    """Deliveries by the id of their notification."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @to_the_end
    async def add(
        self, notifications: Sequence[Notification], now: datetime, expires_at: datetime, term: Term | None = None
    ) -> None:
        """Deliveries of notifications that no group sends. Those that are there already are left.

        Raises: LeaseError, if `term` is over.
        """
        async with self._database.write() as connection:
            await fence(connection, term)
            await insert_new(connection, self._database, None, notifications, now, expires_at)

    async def to_send(self, now: datetime, *, busy: Collection[str] = (), limit: int = 100) -> list[Delivery]:
        """Those whose next attempt is due, the oldest first, but those of `busy` channels."""
        d = t.delivery.c
        query = (
            select(t.delivery)
            .where(d.state == "pending", d.next_attempt_at <= now, d.channel.not_in(sorted(busy)))
            .order_by(d.next_attempt_at, d.created_at, d.id)
            .limit(limit)
        )
        return await self._rows(query)

    async def next_attempt(self) -> datetime | None:
        """When the next attempt is due; None: nothing is pending."""
        query = select(func.min(t.delivery.c.next_attempt_at)).where(t.delivery.c.state == "pending")
        async with self._database.read() as connection:
            found: datetime | None = await connection.scalar(query)
        return found

    async def are_pending(self, channel: str) -> bool:
        """Whether any of a channel waits for its next attempt."""
        query = select(t.delivery.c.id).where(t.delivery.c.state == "pending", t.delivery.c.channel == channel)
        async with self._database.read() as connection:
            return await connection.scalar(query.limit(1)) is not None

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
                update(t.delivery).where(t.delivery.c.id == delivery.notification.id).values(**values)
            )

    async def get(self, delivery_id: str) -> list[Delivery]:
        """Those whose id begins like this: one, unless too little of it was given."""
        query = select(t.delivery).where(t.delivery.c.id.startswith(delivery_id, autoescape=True))
        return await self._rows(query.order_by(t.delivery.c.id).limit(10))

    async def latest(
        self,
        *,
        limit: int,
        state: DeliveryState | None = None,
        channel: str | None = None,
        since: datetime | None = None,
    ) -> list[Delivery]:
        """The newest first; `since`: those made then or later."""
        query = select(t.delivery).order_by(t.delivery.c.created_at.desc(), t.delivery.c.id).limit(limit)
        if since is not None:
            query = query.where(t.delivery.c.created_at >= since)
        if state is not None:
            query = query.where(t.delivery.c.state == state)
        if channel is not None:
            query = query.where(t.delivery.c.channel == channel)
        return await self._rows(query)

    async def of_alert(self, alert_id: str) -> list[Delivery]:
        """Those that told of an alert, the oldest first."""
        told = select(t.message_alert.c.message_id).where(t.message_alert.c.alert_id == alert_id)
        query = select(t.delivery).where(t.delivery.c.message_id.in_(told))
        return await self._rows(query.order_by(t.delivery.c.created_at, t.delivery.c.channel, t.delivery.c.recipient))

    @to_the_end
    async def retry(self, ids: Sequence[str], now: datetime, expires_at: datetime) -> int:
        """Has these attempted at once, those given up too, under their old ids. Returns how many."""
        d, wanted, count = t.delivery.c, list(dict.fromkeys(ids)), 0
        async with self._database.write() as connection:
            for first in range(0, len(wanted), _SOME):
                again = _again(now, expires_at).where(d.id.in_(wanted[first : first + _SOME]), d.state != "delivered")
                count += (await connection.execute(again)).rowcount
        return count

    @to_the_end
    async def retry_failed(self, now: datetime, expires_at: datetime) -> int:
        """Has all that were given up attempted at once, under their old ids. Returns how many."""
        again = _again(now, expires_at).where(t.delivery.c.state == "failed")
        async with self._database.write() as connection:
            return (await connection.execute(again)).rowcount

    async def channels(self, state: DeliveryState) -> set[str]:
        """Those by which deliveries in that state go."""
        query = select(t.delivery.c.channel).where(t.delivery.c.state == state).distinct()
        async with self._database.read() as connection:
            return set((await connection.execute(query)).scalars())

    async def endpoints(self) -> dict[str, Endpoint]:
        """By channel."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(t.endpoint))
            return {row.channel: Endpoint(**row._mapping) for row in rows}

    @to_the_end
    async def note(self, endpoint: Endpoint, term: Term | None = None) -> None:
        """Raises: LeaseError, if `term` is over."""
        values = endpoint._asdict()
        insert = self._database.insert(t.endpoint).values(**values)
        async with self._database.write() as connection:
            await fence(connection, term)
            await connection.execute(insert.on_conflict_do_update(index_elements=["channel"], set_=values))

    @to_the_end
    async def enable(self, channel: str, now: datetime) -> bool:
        """Forgets what the other side asked for, and has what waits for it attempted at once; False if it has asked for
        nothing.
        """
        d = t.delivery.c
        waits = (d.state == "pending", d.channel == channel, d.next_attempt_at > now)
        async with self._database.write() as connection:
            found = await connection.execute(t.endpoint.delete().where(t.endpoint.c.channel == channel))
            if found.rowcount:
                await connection.execute(update(t.delivery).where(*waits).values(next_attempt_at=now))
            return found.rowcount > 0

    async def digests_until(self) -> dict[str, datetime]:
        """Up to when each receiver had its digests."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(t.digest.c.receiver, t.digest.c.until))
            return {row.receiver: row.until for row in rows}

    @to_the_end
    async def add_digest(
        self,
        receiver: str,
        until: datetime,
        notifications: Sequence[Notification],
        now: datetime,
        expires_at: datetime,
        term: Term | None = None,
    ) -> None:
        """A receiver has its digests up to `until`, these being the last.

        Raises: LeaseError, if `term` is over.
        """
        insert = self._database.insert(t.digest).values(receiver=receiver, until=until)
        async with self._database.write() as connection:
            await fence(connection, term)
            await connection.execute(insert.on_conflict_do_update(index_elements=["receiver"], set_={"until": until}))
            await insert_new(connection, self._database, None, notifications, now, expires_at)

    @to_the_end
    async def adopt(self, term: Term | None = None) -> int:
        """Takes over what an older program has not delivered. Returns how many there were.

        Raises: LeaseError, if `term` is over.
        """
        n = t.notification.c
        async with self._database.write() as connection:
            await fence(connection, term)
            rows = list(await connection.execute(select(t.notification).where(n.state == "pending")))
            for row in rows:
                body = Notification.model_validate(row.body).model_dump(mode="json")
                values = {name: value for name, value in row._mapping.items() if name != "alert_id"}
                insert = self._database.insert(t.delivery).values({**values, "body": body, "message_id": None})
                await connection.execute(insert.on_conflict_do_nothing())
                moved = update(t.notification).where(n.id == row.id)
                await connection.execute(moved.values(state="failed", next_attempt_at=None, detail="see deliveries"))
        return len(rows)

    async def _rows(self, query: Select[Any]) -> list[Delivery]:
        async with self._database.read() as connection:
            return [_delivery(row) for row in await connection.execute(query)]


def _again(now: datetime, expires_at: datetime) -> Update:
    return update(t.delivery).values(state="pending", next_attempt_at=now, expires_at=expires_at)


async def insert_new(
    connection: AsyncConnection,
    database: Database,
    message_id: str | None,
    notifications: Sequence[Notification],
    now: datetime,
    expires_at: datetime,
) -> None:
    """Deliveries that are due at once; those that are there already are left."""
    rows = [
        {
            "id": notification.id,
            "message_id": message_id,
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
    if rows:
        await connection.execute(database.insert(t.delivery).on_conflict_do_nothing(), rows)


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
