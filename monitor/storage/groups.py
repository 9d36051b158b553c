"""Groups of alerts: who is to hear of which together, what they were told, and why not of the rest."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.domain.alerts import Event, Notification, Verdict
from monitor.domain.spikes import Severity
from monitor.storage import tables as t
from monitor.storage.alerts import AlertRow, Alerts
from monitor.storage.database import Database, to_the_end
from monitor.storage.deliveries import insert_new
from monitor.storage.leases import Term, fence

SPENT = (Event.FIRING, Event.UPDATED, Event.REPEATED)
"""The events whose messages count against a receiver's budget."""


_HOPELESS = (Verdict.SAME_STORIES, Verdict.STALE, Verdict.NO_RECEIVER, Verdict.BELOW_SEVERITY, Verdict.ENDED_UNTOLD)


class Group(NamedTuple):
    """Alerts that a receiver hears of together. `due_at` None: nothing of it is left to tell.

    `flushed_at`: when it was looked at last, on the grid of its first look; None: never. `policy` names the settings by
    which its alerts were put into it.
    """

    id: str
    origin: str
    receiver: str
    route: str
    labels: dict[str, str]
    due_at: datetime | None = None
    flushed_at: datetime | None = None
    policy: str = ""


class Told(NamedTuple):
    """What a group was told of an alert last. `thread`: id of the message that told of it first."""

    at: datetime
    severity: Severity
    stories: int
    resolved: bool
    thread: str


class Member(NamedTuple):
    """An alert in a group, and what became of it there so far."""

    row: AlertRow
    verdict: Verdict
    detail: str | None
    told: Told | None


class Judged(NamedTuple):
    """What becomes of an alert in a group now; `done`: nothing is left to tell of it."""

    alert_id: str
    verdict: Verdict
    detail: str | None
    told: Told | None
    done: bool = False


class Outgoing(NamedTuple):
    """A message. `about`: ids of the alerts that made it go; `beside`: of those it names as well."""

    id: str
    event: Event
    about: Sequence[str]
    beside: Sequence[str]
    stories: Sequence[str]
    notifications: Sequence[Notification]


class Past(NamedTuple):
    """A message that was sent: ids of the alerts it was about, and of the stories it rests on."""

    about: frozenset[str]
    stories: frozenset[str]


class MessageRow(NamedTuple):
    """A message, as one of the alerts that made it go knows it."""

    id: str
    alert_id: str
    receiver: str
    event: Event
    created_at: datetime


class Standing(NamedTuple):
    """How an alert stands with a receiver."""

    group: Group
    verdict: Verdict
    detail: str | None
    verdict_at: datetime
    told: Told | None
    done_at: datetime | None


class DecisionRow(NamedTuple):
    """A change of a verdict."""

    alert_id: str
    group_id: str
    decided_at: datetime
    receiver: str
    verdict: Verdict
    detail: str | None


class Groups:
    """Groups by id. One copy writes: the one that leads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._alerts = Alerts(database)

    async def get(self, ids: Collection[str]) -> dict[str, Group]:
        """Those that exist."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(t.alert_group).where(t.alert_group.c.id.in_(ids)))
            return {row.id: Group(**row._mapping) for row in rows}

    async def due(self, origin: str, now: datetime) -> list[Group]:
        """Those that are to be looked at, the oldest first."""
        g = t.alert_group.c
        query = select(t.alert_group).where(g.origin == origin, g.due_at <= now).order_by(g.due_at, g.id)
        async with self._database.read() as connection:
            return [Group(**row._mapping) for row in await connection.execute(query)]

    async def next_due(self, origin: str) -> datetime | None:
        """When the next is to be looked at, or an alert to be put into its groups; None: nothing waits."""
        a, g = t.alert.c, t.alert_group.c
        is_open = (a.group_key == origin, a.closed_at.is_(None), a.key.is_not(None))
        queries = (
            select(func.min(a.changed_at)).where(*is_open, a.routed.is_(False)),
            select(func.min(g.due_at)).where(g.origin == origin),
        )
        async with self._database.read() as connection:
            found: list[datetime | None] = [await connection.scalar(query) for query in queries]
        return min((moment for moment in found if moment is not None), default=None)

    @to_the_end
    async def route(self, row: AlertRow, groups: Sequence[Group], now: datetime, term: Term | None = None) -> None:
        """Puts an alert into these groups, with their `due_at`, and out of all others.

        A group takes over what its receiver was told by one that the alert leaves.
        Raises: LeaseError, if `term` is over; then nothing was done.
        """
        alert_id, m = row.alert.id, t.alert_member.c
        async with self._database.write() as connection:
            await fence(connection, term)
            before = await self._standings(connection, alert_id)
            known = {standing.group.id: standing for standing in before}
            wanted = {group.id for group in groups}
            for standing in before:
                if standing.group.id not in wanted and standing.done_at is None:
                    detail = "no route leads here any more"
                    judged = Judged(alert_id, Verdict.NO_RECEIVER, detail, standing.told, done=True)
                    await self._judge(connection, standing.group, standing.verdict, judged, now)
            for group in groups:
                values = group._asdict()
                insert = self._database.insert(t.alert_group).values(values)
                await connection.execute(
                    insert.on_conflict_do_update(
                        index_elements=["id"], set_={"due_at": group.due_at, "policy": group.policy}
                    )
                )
                if group.id in known:
                    mine = (m.group_id == group.id, m.alert_id == alert_id)
                    await connection.execute(update(t.alert_member).where(*mine).values(done_at=None))
                    continue
                mine_before = [one for one in before if one.group.receiver == group.receiver]
                told = max((one.told for one in mine_before if one.told is not None), default=None)
                # What was held back so far has not become old news by that.
                left = next((one for one in mine_before if one.group.id not in wanted and one.done_at is None), None)
                judged = Judged(
                    alert_id, left.verdict if left else Verdict.WAITING, left.detail if left else None, told
                )
                ids = {"group_id": group.id, "alert_id": alert_id}
                what = {"verdict": str(judged.verdict), "detail": judged.detail, "verdict_at": now}
                await connection.execute(t.alert_member.insert().values({**ids, **what, **_told_columns(told)}))
                await self._decide(connection, group, judged, now)
            as_read = (t.alert.c.id == alert_id, t.alert.c.changed_at == row.changed_at)
            await connection.execute(update(t.alert).where(*as_read).values(routed=True))

    async def members(self, group_id: str) -> list[Member]:
        """The alerts of which something is left to tell."""
        m = t.alert_member.c
        mine = select(t.alert_member).where(m.group_id == group_id, m.done_at.is_(None))
        async with self._database.read() as connection:
            found = {row.alert_id: row for row in await connection.execute(mine)}
        ids = select(m.alert_id).where(m.group_id == group_id, m.done_at.is_(None))
        rows = await self._alerts.rows(select(t.alert).where(t.alert.c.id.in_(ids)).order_by(t.alert.c.id))
        return [
            Member(row, Verdict(found[row.alert.id].verdict), found[row.alert.id].detail, _told(found[row.alert.id]))
            for row in rows
            if row.alert.id in found
        ]

    @to_the_end
    async def write(
        self,
        group: Group,
        members: Sequence[Member],
        judged: Sequence[Judged],
        outgoing: Sequence[Outgoing],
        now: datetime,
        expires_at: datetime,
        term: Term | None = None,
    ) -> None:
        """What was decided on a group: verdicts, messages, and when to look again; all or nothing.

        Raises: LeaseError, if `term` is over; then nothing was done.
        """
        before = {member.row.alert.id: member for member in members}
        async with self._database.write() as connection:
            await fence(connection, term)
            for one in judged:
                await self._judge(connection, group, before[one.alert_id].verdict, one, now)
            for message in outgoing:
                await self._send(connection, group, message, now, expires_at)
            times = {"due_at": group.due_at, "flushed_at": group.flushed_at}
            await connection.execute(update(t.alert_group).where(t.alert_group.c.id == group.id).values(times))
            for one in judged:
                if one.done:
                    await self._close(connection, before[one.alert_id].row, now)

    async def _judge(
        self, connection: AsyncConnection, group: Group, before: Verdict, judged: Judged, now: datetime
    ) -> None:
        m = t.alert_member.c
        values: dict[str, Any] = {"detail": judged.detail, "verdict": str(judged.verdict), **_told_columns(judged.told)}
        if judged.verdict != before:
            values["verdict_at"] = now
        if judged.done:
            values["done_at"] = now
        mine = (m.group_id == group.id, m.alert_id == judged.alert_id)
        await connection.execute(update(t.alert_member).where(*mine).values(values))
        # A message is an event by itself, even if one was sent before.
        if judged.verdict != before or judged.verdict is Verdict.SENT:
            await self._decide(connection, group, judged, now)

    async def _decide(self, connection: AsyncConnection, group: Group, judged: Judged, now: datetime) -> None:
        row = DecisionRow(judged.alert_id, group.id, now, group.receiver, judged.verdict, judged.detail)._asdict()
        insert = self._database.insert(t.alert_decision).values({**row, "verdict": str(judged.verdict)})
        same = ["alert_id", "group_id", "decided_at"]
        what = {"verdict": str(judged.verdict), "detail": judged.detail}
        await connection.execute(insert.on_conflict_do_update(index_elements=same, set_=what))

    async def _send(
        self, connection: AsyncConnection, group: Group, message: Outgoing, now: datetime, expires_at: datetime
    ) -> None:
        row = {
            "id": message.id,
            "origin": group.origin,
            "receiver": group.receiver,
            "group_id": group.id,
            "event": str(message.event),
            "created_at": now,
            "stories": sorted(message.stories),
        }
        await connection.execute(self._database.insert(t.message).values(row).on_conflict_do_nothing())
        named = [(alert_id, True) for alert_id in message.about] + [(alert_id, False) for alert_id in message.beside]
        rows = [{"message_id": message.id, "alert_id": alert_id, "about": about} for alert_id, about in named]
        await connection.execute(self._database.insert(t.message_alert).on_conflict_do_nothing(), rows)
        await insert_new(connection, self._database, message.id, message.notifications, now, expires_at)

    async def _close(self, connection: AsyncConnection, row: AlertRow, now: datetime) -> None:
        """The alert is over, if it is as it was read and no group has anything left to tell of it."""
        a, m = t.alert.c, t.alert_member.c
        waiting = select(m.alert_id).where(m.alert_id == row.alert.id, m.done_at.is_(None)).exists()
        over = (a.id == row.alert.id, a.changed_at == row.changed_at, a.resolved_at.is_not(None), a.routed.is_(True))
        await connection.execute(update(t.alert).where(*over, ~waiting).values(closed_at=now))

    async def told_since(self, receiver: str, origin: str, since: datetime) -> list[Past]:
        """What the receiver's messages since then were about, and the stories they rest on."""
        msg, link = t.message.c, t.message_alert.c
        mine = (msg.receiver == receiver, msg.origin == origin, msg.created_at >= since)
        async with self._database.read() as connection:
            stories = {
                row.id: row.stories for row in await connection.execute(select(msg.id, msg.stories).where(*mine))
            }
            about: dict[str, set[str]] = {message_id: set() for message_id in stories}
            links = select(link.message_id, link.alert_id).join(t.message, msg.id == link.message_id)
            for row in await connection.execute(links.where(*mine, link.about.is_(True))):
                about.setdefault(row.message_id, set()).add(row.alert_id)
        return [Past(frozenset(about[message_id]), frozenset(told)) for message_id, told in stories.items()]

    async def messages(self, origin: str, alert_id: str | None = None) -> list[MessageRow]:
        """What was told of one alert, or of all, the oldest first: a message once for each alert it is about."""
        msg, link = t.message.c, t.message_alert.c
        columns = (msg.id, link.alert_id, msg.receiver, msg.event, msg.created_at)
        query = select(*columns).join(t.message_alert, link.message_id == msg.id)
        query = query.where(msg.origin == origin, link.about.is_(True))
        if alert_id is not None:
            query = query.where(link.alert_id == alert_id)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(msg.created_at, msg.id, link.alert_id))
            return [MessageRow(**{**row._mapping, "event": Event(row.event)}) for row in rows]

    async def spent(self, receiver: str, origin: str, since: datetime) -> int:
        """How many messages a receiver had after then that count against its budget."""
        msg = t.message.c
        mine = (msg.receiver == receiver, msg.origin == origin, msg.created_at > since, msg.event.in_(SPENT))
        async with self._database.read() as connection:
            return await connection.scalar(select(func.count()).select_from(t.message).where(*mine)) or 0

    async def untellable(self, origin: str) -> set[str]:
        """Ids of open alerts that no receiver was told of, nor will be as things stand."""
        a, m = t.alert.c, t.alert_member.c
        hopeful = m.told_at.is_not(None) | m.verdict.not_in([str(verdict) for verdict in _HOPELESS])
        mine = (a.group_key == origin, a.closed_at.is_(None), a.key.is_not(None))
        query = select(m.alert_id).join(t.alert, a.id == m.alert_id).where(*mine)
        async with self._database.read() as connection:
            known = set((await connection.execute(query)).scalars())
            return known - set((await connection.execute(query.where(hopeful))).scalars())

    async def standings(self, alert_id: str) -> list[Standing]:
        """How an alert stands with each receiver."""
        async with self._database.read() as connection:
            return await self._standings(connection, alert_id)

    async def decisions(self, alert_ids: Sequence[str], *, until: datetime | None = None) -> list[DecisionRow]:
        """What was decided on alerts, in order."""
        d = t.alert_decision.c
        query = select(t.alert_decision).where(d.alert_id.in_(alert_ids))
        if until is not None:
            query = query.where(d.decided_at <= until)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(d.decided_at, d.receiver, d.alert_id, d.group_id))
            return [DecisionRow(**{**row._mapping, "verdict": Verdict(row.verdict)}) for row in rows]

    async def _standings(self, connection: AsyncConnection, alert_id: str) -> list[Standing]:
        m, g = t.alert_member, t.alert_group
        query = select(m, *g.c).join(g, g.c.id == m.c.group_id).where(m.c.alert_id == alert_id)
        return [
            Standing(
                Group(**{name: getattr(row, name) for name in Group._fields}),
                Verdict(row.verdict),
                row.detail,
                row.verdict_at,
                _told(row),
                row.done_at,
            )
            for row in await connection.execute(query.order_by(g.c.receiver, g.c.route, g.c.id))
        ]


def _told(row: Row[Any]) -> Told | None:
    if row.told_at is None:
        return None
    return Told(row.told_at, Severity(row.told_severity), row.told_stories, row.told_resolved, row.thread)


def _told_columns(told: Told | None) -> dict[str, Any]:
    if told is None:
        return {}
    return {
        "told_at": told.at,
        "told_severity": str(told.severity),
        "told_stories": told.stories,
        "told_resolved": told.resolved,
        "thread": told.thread,
    }
