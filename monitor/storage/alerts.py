"""Alerts: the episodes of keys, as they come in and as people answer them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, get_args

from sqlalchemy import ColumnElement, Select, and_, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.domain.alerts import Alert
from monitor.domain.record import fingerprint
from monitor.domain.spikes import Spike
from monitor.domain.windows import Key, KeyKind
from monitor.storage import tables as t
from monitor.storage.database import Database, to_the_end
from monitor.storage.leases import Term, fence

LIVE = "all"
"""The origin of news."""

REPLAYED = "replayed"
"""The origin of archives that are played without telling anyone."""

_SOME = 500


class AlertRow(NamedTuple):
    """An alert as stored. `closed_at` None: the next spike of its key may still join it."""

    alert: Alert
    origin: str
    changed_at: datetime
    closed_at: datetime | None
    acked_at: datetime | None
    acked_by: str | None
    ack_comment: str | None


class Alerts:
    """Alerts by id. Of each key at most one of an origin is open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @to_the_end
    async def take(
        self, spike: Spike, origin: str, keep_firing: timedelta, *, now: datetime | None = None
    ) -> tuple[str, bool]:
        """Adds a spike to the open alert of its key, or what has become of it; opens an alert where none is open.

        One that ended less than `keep_firing` before the spike goes on. Nothing counts as changed after `now`, whatever
        the clock of who stated it said. Returns the alert's id, and whether anything was new.
        """
        at = spike.resolved_at or spike.detected_at
        at = at if now is None else min(at, now)
        async with self._database.write() as connection:
            if connection.dialect.name == "postgresql":  # one copy at a time: the others see what it has opened
                lock = f"alert {origin} {spike.key}"
                await connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(lock))))
            known = (
                await connection.execute(select(t.alert_spike).where(t.alert_spike.c.spike_id == spike.id))
            ).one_or_none()
            if known is not None:
                if Spike.model_validate(known.body).state == spike.state or spike.state == "firing":
                    return known.alert_id, False
                changed = update(t.alert_spike).where(t.alert_spike.c.spike_id == spike.id)
                await connection.execute(changed.values(body=spike.model_dump(mode="json")))
                await self._settle(connection, known.alert_id, at)
                return known.alert_id, True
            alert_id = await self._open(connection, spike, origin, keep_firing)
            await connection.execute(
                t.alert_spike.insert().values(spike_id=spike.id, alert_id=alert_id, body=spike.model_dump(mode="json"))
            )
            await self._settle(connection, alert_id, at)
        return alert_id, True

    async def _open(self, connection: AsyncConnection, spike: Spike, origin: str, keep_firing: timedelta) -> str:
        a = t.alert.c
        is_open = (a.group_key == origin, a.key_kind == spike.key.kind, a.key == spike.key.name, a.closed_at.is_(None))
        found = select(a.id, a.resolved_at).where(*is_open).order_by(a.opened_at.desc(), a.id).with_for_update()
        for row in await connection.execute(found):
            if row.resolved_at is None or spike.detected_at < row.resolved_at + keep_firing:
                alert_id: str = row.id
                return alert_id
        alert_id = fingerprint("alert", origin, *spike.key, spike.id)
        values = {"key_kind": spike.key.kind, "key": spike.key.name, "opened_at": spike.detected_at}
        await connection.execute(t.alert.insert().values(id=alert_id, group_key=origin, **values))
        return alert_id

    async def _settle(self, connection: AsyncConnection, alert_id: str, at: datetime) -> None:
        """Makes the alert's own row agree with its spikes."""
        bodies = await connection.execute(select(t.alert_spike.c.body).where(t.alert_spike.c.alert_id == alert_id))
        spikes = [Spike.model_validate(body) for (body,) in bodies]
        ends = [spike.resolved_at or spike.detected_at for spike in spikes if spike.state == "resolved"]
        severity = max((spike.severity for spike in spikes), key=lambda severity: severity.rank)
        await connection.execute(
            update(t.alert)
            .where(t.alert.c.id == alert_id)
            .values(
                severity=str(severity),
                resolved_at=max(ends) if len(ends) == len(spikes) else None,
                changed_at=at,
                routed=False,
            )
        )

    @to_the_end
    async def acknowledge(self, alert_id: str, by: str, comment: str, now: datetime) -> bool:
        """Somebody sees to it: it is not repeated any more. False if there is no such alert, or it is closed."""
        mine = (t.alert.c.id == alert_id, t.alert.c.closed_at.is_(None), t.alert.c.key.is_not(None))
        values = {"acked_at": now, "acked_by": by, "ack_comment": comment}
        async with self._database.write() as connection:
            return (await connection.execute(update(t.alert).where(*mine).values(**values))).rowcount > 0

    async def get(self, alert_id: str) -> list[AlertRow]:
        """Those whose id begins like this: one, unless too little of it was given."""
        query = select(t.alert).where(t.alert.c.id.startswith(alert_id, autoescape=True)).order_by(t.alert.c.id)
        return await self.rows(query.limit(10))

    async def latest(
        self,
        *,
        limit: int,
        key: Key | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        origin: str | None = None,
        name: str | None = None,
        kinds: Sequence[KeyKind] | None = None,
        firing: bool = False,
    ) -> list[AlertRow]:
        """The newest first; `since`, `until`: those opened then. `name`: on a key of that name and, if given, of one of
        these kinds, those of older programs on several keys too. `firing`: neither ended nor closed.
        """
        a = t.alert.c
        # Of older programs' alerts some have lost their spikes to others: they would take the place of one to show.
        query = select(t.alert).where(a.key.is_not(None) | exists().where(t.alert_spike.c.alert_id == a.id))
        if key is not None:
            query = query.where(a.key_kind == key.kind, a.key == key.name)
        if name is not None:
            query = query.where(_on(name, get_args(KeyKind) if kinds is None else kinds))
        if since is not None:
            query = query.where(a.opened_at >= since)
        if until is not None:
            query = query.where(a.opened_at <= until)
        if origin is not None:
            query = query.where(a.group_key == origin)
        if firing:
            query = query.where(a.closed_at.is_(None), a.resolved_at.is_(None))
        return await self.rows(query.order_by(a.opened_at.desc(), a.id).limit(limit))

    async def opened(self, start: datetime, end: datetime, origin: str = LIVE) -> list[AlertRow]:
        """Alerts that were open at some time in [start, end)."""
        a = t.alert.c
        lasted = (a.opened_at < end, a.closed_at.is_(None) | (a.closed_at >= start), a.key.is_not(None))
        return await self.rows(select(t.alert).where(a.group_key == origin, *lasted).order_by(a.opened_at, a.id))

    async def unrouted(self, origin: str, until: datetime | None = None, *, limit: int = _SOME) -> list[AlertRow]:
        """Open alerts that have changed, by `until`, since they were put into groups, the oldest change first."""
        a = t.alert.c
        is_open = (a.group_key == origin, a.closed_at.is_(None), a.key.is_not(None))
        query = select(t.alert).where(*is_open, a.routed.is_(False))
        if until is not None:
            query = query.where(a.changed_at <= until)
        return await self.rows(query.order_by(a.changed_at, a.id).limit(limit))

    async def firing(self, origin: str) -> list[AlertRow]:
        """Open alerts."""
        a = t.alert.c
        return await self.rows(select(t.alert).where(a.group_key == origin, a.closed_at.is_(None), a.key.is_not(None)))

    async def rows(self, query: Select[Any]) -> list[AlertRow]:
        """The alerts that a query on their table finds, each with its spikes."""
        async with self._database.read() as connection:
            found = list(await connection.execute(query))
            spikes: dict[str, list[Spike]] = {}
            for first in range(0, len(found), _SOME):
                some = [row.id for row in found[first : first + _SOME]]
                members = await connection.execute(select(t.alert_spike).where(t.alert_spike.c.alert_id.in_(some)))
                for member in members:
                    spikes.setdefault(member.alert_id, []).append(Spike.model_validate(member.body))
        rows = []
        for row in found:
            mine = sorted(spikes.get(row.id, ()), key=lambda spike: (-spike.score, spike.id))
            if mine:
                rows.append(_row(row, mine))
        return rows

    @to_the_end
    async def adopt(self, keep_firing: timedelta, term: Term | None = None) -> int:
        """Takes over what an older program left waiting to be sent: alerts of several keys. Returns how many spikes.

        Raises: LeaseError, if `term` is over.
        """
        a, of_spike = t.alert.c, t.alert_spike.c
        async with self._database.write() as connection:
            await fence(connection, term)
            waiting = select(a.id).where(a.group_key == LIVE, a.key.is_(None), a.due_at.is_not(None))
            ids = list((await connection.execute(waiting)).scalars())
            # The older program did not look at ends: what it has of a spike may fire for ever.
            states = (t.spike.c.state, t.spike.c.resolved_at)
            waited = select(of_spike.body, *states).join(t.spike, t.spike.c.id == of_spike.spike_id, isouter=True)
            spikes = []
            for row in await connection.execute(waited.where(of_spike.alert_id.in_(ids))):
                spike = Spike.model_validate(row.body)
                ended = {"state": "resolved", "resolved_at": row.resolved_at}
                spikes.append(spike.model_copy(update=ended) if row.state == "resolved" else spike)
            for spike in sorted(spikes, key=lambda spike: (spike.detected_at, spike.id)):
                alert_id = await self._open(connection, spike, LIVE, keep_firing)
                values = {"alert_id": alert_id, "body": spike.model_dump(mode="json")}
                await connection.execute(update(t.alert_spike).where(of_spike.spike_id == spike.id).values(**values))
                await self._settle(connection, alert_id, spike.resolved_at or spike.detected_at)
            done = update(t.alert).where(a.id.in_(ids)).values(due_at=None, outcome="put into the groups of routes")
            await connection.execute(done)
        return len(spikes)


def _on(name: str, kinds: Sequence[str]) -> ColumnElement[bool]:
    """Alerts on such a key: their own, or where they have none that of a spike."""
    a, key = t.alert.c, t.alert_spike.c.body["key"]
    of_spike = exists().where(
        t.alert_spike.c.alert_id == a.id, key[0].as_string().in_(kinds), key[1].as_string() == name
    )
    return and_(a.key_kind.in_(kinds), a.key == name) | and_(a.key.is_(None), of_spike)


def _row(row: Any, spikes: Sequence[Spike]) -> AlertRow:
    alert = Alert(
        id=row.id,
        key=spikes[0].key if row.key is None else Key(row.key_kind, row.key),
        opened_at=row.opened_at,
        resolved_at=row.resolved_at,
        spikes=tuple(spikes),
    )
    changed_at = row.changed_at or row.opened_at
    return AlertRow(alert, row.group_key, changed_at, row.closed_at, row.acked_at, row.acked_by, row.ack_comment)
