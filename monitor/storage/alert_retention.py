"""Forgets alerts, and what was told of them, once they ended long enough ago."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Select, Table, delete, or_, select

from monitor.storage import tables as t
from monitor.storage.database import Database, to_the_end

_SOME = 200
# Who waits to write polls: without a pause it would meet one transaction after the other.
_PAUSE_S = 0.02


class Forgotten(NamedTuple):
    """How many alerts, and messages of them, were deleted."""

    alerts: int
    messages: int


class AlertRetention:
    """Deletes what ended before some moment, and what hangs on it; never what waits, fires, or is still referred to.

    What decisions look back on must be younger: the settings see to it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete_before(self, cutoff: datetime) -> Forgotten:
        """A few rows in each transaction, so that nobody waits long; cut off in the middle, the next call goes on.

        Alerts take their spikes, verdicts and memberships with them, messages their deliveries. A message stays as
        long as an alert that it names does: threads, and what is shown of that alert, rest on it.
        """
        await self._delete(t.notification, *_delivered_by_older(cutoff))
        alerts = 0
        for origin in await self._each(t.alert.c.group_key):
            alerts += await self._delete(t.alert, t.alert.c.group_key == origin, *_over(cutoff))
        messages = 0
        for receiver in await self._each(t.message.c.receiver):
            messages += await self._delete(t.message, t.message.c.receiver == receiver, *_of_nothing_kept(cutoff))
        await self._delete(t.delivery, *_finished_alone(cutoff))
        await self._delete(t.alert_group, *_empty())
        await self._delete(t.silence, t.silence.c.ends_at < cutoff)
        await self._delete(t.spike, *_ended_and_told(cutoff))
        return Forgotten(alerts, messages)

    async def _each(self, column: Column[Any]) -> Sequence[Any]:
        """The values of a column that begins an index: within each, time is in order there."""
        async with self._database.read() as connection:
            return (await connection.execute(select(column).distinct().order_by(column))).scalars().all()

    async def _delete(self, table: Table, *ended: ColumnElement[bool]) -> int:
        """Looks for rows without holding up who writes; returns how many were deleted."""
        some = select(table.c.id).where(*ended).limit(_SOME)
        total = 0
        while True:
            async with self._database.read() as connection:
                ids = (await connection.execute(some)).scalars().all()
            deleted = await self._delete_some(table, ids, ended) if ids else 0
            total += deleted
            if deleted < _SOME:
                return total
            await asyncio.sleep(_PAUSE_S)

    @to_the_end
    async def _delete_some(self, table: Table, ids: Sequence[str], ended: Sequence[ColumnElement[bool]]) -> int:
        async with self._database.write() as connection:
            if table is t.message:  # else one that is tried again at this moment would go with it
                mine = select(t.delivery.c.id).where(t.delivery.c.message_id.in_(ids)).order_by(t.delivery.c.id)
                await connection.execute(mine.with_for_update())
            return (await connection.execute(delete(table).where(table.c.id.in_(ids), *ended))).rowcount


def _over(cutoff: datetime) -> tuple[ColumnElement[bool], ...]:
    """Alerts that closed, of which nothing is on its way, nor was told later.

    None closes before it opens, and the index has that.

    Those of older programs have no end: they go by their beginning, if all of them is over and was told.
    """
    a, s = t.alert.c, t.spike.c
    lasting = (
        select(s.id)
        .join(t.alert_spike, t.alert_spike.c.spike_id == s.id)
        .where(t.alert_spike.c.alert_id == a.id, or_(s.state == "firing", s.resolved_at >= cutoff))
    )
    of_older = a.key.is_(None) & a.due_at.is_(None) & _none(lasting)
    named = t.message_alert.c
    told = select(named.alert_id).where(named.message_id.in_(_on_their_way()))
    lately = select(named.message_id).join(t.message, t.message.c.id == named.message_id)
    lately = lately.where(named.alert_id == a.id, t.message.c.created_at >= cutoff)
    left_by_older = select(t.notification.c.alert_id).where(t.notification.c.state == "pending")
    is_over = or_(a.closed_at < cutoff, of_older)
    return a.opened_at < cutoff, is_over, a.id.not_in(told), a.id.not_in(left_by_older), _none(lately)


def _of_nothing_kept(cutoff: datetime) -> tuple[ColumnElement[bool], ...]:
    m = t.message.c
    names = select(t.message_alert.c.alert_id).where(t.message_alert.c.message_id == m.id)
    return m.created_at < cutoff, _none(names), m.id.not_in(_on_their_way())


def _on_their_way() -> Select[Any]:
    """Ids of messages. Asked once for all rows: what waits is little, and in an index."""
    d = t.delivery.c
    return select(d.message_id).where(d.state == "pending", d.message_id.is_not(None))


def _finished_alone(cutoff: datetime) -> tuple[ColumnElement[bool], ...]:
    """Digests, tests, and what was taken over from older programs."""
    d = t.delivery.c
    return d.created_at < cutoff, d.message_id.is_(None), d.state != "pending"


def _delivered_by_older(cutoff: datetime) -> tuple[ColumnElement[bool], ...]:
    return t.notification.c.created_at < cutoff, t.notification.c.state != "pending"


def _empty() -> tuple[ColumnElement[bool], ...]:
    """Groups that are as they would be made anew: one that has its place on the grid still is another."""
    g, m = t.alert_group.c, t.alert_member.c
    return g.due_at.is_(None), g.flushed_at.is_(None), _none(select(m.alert_id).where(m.group_id == g.id))


def _ended_and_told(cutoff: datetime) -> tuple[ColumnElement[bool], ...]:
    """Spikes that are on the bus as they ended, and of no alert."""
    s, of_alert = t.spike.c, t.alert_spike.c
    ended = (s.state != "firing", or_(s.resolved_at.is_(None), s.resolved_at < cutoff), s.published_at.is_not(None))
    return s.detected_at < cutoff, *ended, _none(select(of_alert.alert_id).where(of_alert.spike_id == s.id))


def _none(rows: Select[Any]) -> ColumnElement[bool]:
    return ~rows.exists()
