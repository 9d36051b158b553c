"""Puts alerts into the groups of their routes, and looks at the groups that are due; all of it is in the tables."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from alerts.decide import Candidate, Circumstances, Decision, Saying, decide, ends_at, flushed, next_flush, strongest
from alerts.history import history
from alerts.labels import Labels
from alerts.routes import Routes, Target
from monitor.alert_settings import AlertSettings, Receiver
from monitor.domain.alerts import Alert, History, Notification, Verdict, briefly
from monitor.domain.record import fingerprint
from monitor.storage.alerts import REPLAYED, AlertRow
from monitor.storage.groups import SPENT, Group, Judged, Member, Outgoing, Past
from monitor.storage.leases import Term
from monitor.storage.store import Store

log = structlog.get_logger(__name__)

_NAMED = 20
_DAY = timedelta(days=1)


class Address(NamedTuple):
    """Whom a receiver reaches: one recipient of one channel."""

    channel: str
    recipient: str


class Policy:
    """Who hears of what, made of the settings; replaced as a whole when these change.

    `addresses`: whom each channel reaches. `version` is another if anything is that decisions depend on.
    """

    def __init__(self, settings: AlertSettings, addresses: Mapping[str, Sequence[str]]) -> None:
        self.settings = settings
        self.routes = Routes(settings)
        self.targets = self.routes.targets()
        self.labels = Labels(settings)
        self.receivers: Mapping[str, Receiver] = settings.receivers_resolved()
        self._addresses = addresses
        told = settings.model_dump_json(exclude={"channels", "base_url", "link_secret", "link_days"})
        self.version = fingerprint(
            "policy", told, json.dumps(sorted((name, list(to)) for name, to in addresses.items()))
        )

    def label(self, alert: Alert) -> Alert:
        return alert.model_copy(update={"labels": self.labels.of(alert.key, alert.severity)})

    def addresses(self, receiver: str) -> list[Address]:
        found = self.receivers.get(receiver)
        channels = () if found is None else found.channels
        return [Address(channel, to) for channel in channels for to in self._addresses.get(channel, ())]

    def target(self, group: Group) -> Target | None:
        """The route that made the group; None: there is no such route to this receiver any more."""
        target = self.targets.get(group.route)
        return target if target is not None and target.receiver == group.receiver else None


class Evaluation:
    """The groups of one origin. `silent`: nobody is told, and everything is decided as if somebody were."""

    def __init__(self, store: Store, policy: Policy, origin: str, *, silent: bool = False) -> None:
        self._store = store
        self._origin = origin
        self._silent = silent
        self.policy = policy

    async def settle(self, now: datetime, term: Term | None) -> None:
        """Puts open alerts into their groups again, if the settings are others than those they were put there by.

        Raises: StoreError; LeaseError, if `term` is over.
        """
        for row in await self._store.alerts.firing(self._origin):
            standings = await self._store.groups.standings(row.alert.id)
            if any(one.group.policy != self.policy.version for one in standings):
                await self._route(row, now, now, term)

    async def route(self, now: datetime, term: Term | None) -> None:
        """Puts the alerts that are new or have changed into their groups.

        Raises: StoreError; LeaseError, if `term` is over.
        """
        for row in await self._store.alerts.unrouted(self._origin, now):
            await self._route(row, row.changed_at, now, term)

    async def _route(self, row: AlertRow, changed_at: datetime, now: datetime, term: Term | None) -> None:
        alert = self.policy.label(row.alert)
        made = [self._group(alert, target) for target in self.policy.routes.match(alert.labels)]
        known = await self._store.groups.get([group.id for group in made])
        groups = [known.get(group.id, group) for group in made]
        groups += await self._to_end(row, {group.receiver for group in groups})
        due = [
            group._replace(
                due_at=next_flush(group, changed_at, now, self.policy.targets[group.route]), policy=self.policy.version
            )
            for group in groups
        ]
        await self._store.groups.route(row, due, now, term)

    async def _to_end(self, row: AlertRow, reached: Collection[str]) -> list[Group]:
        """Groups of receivers that the alert no longer reaches, and that were told of it and not of its end."""
        return [
            one.group
            for one in await self._store.groups.standings(row.alert.id)
            if one.told is not None and not one.told.resolved and one.done_at is None
            if one.group.receiver not in reached and self.policy.target(one.group) is not None
        ]

    async def flush(self, now: datetime, term: Term | None) -> int:
        """Looks at the groups that are due, those with the strongest alerts first. Returns how many messages go out.

        Raises: StoreError; LeaseError, if `term` is over.
        """
        due = [
            (group, await self._store.groups.members(group.id))
            for group in await self._store.groups.due(self._origin, now)
        ]
        if not due:
            return 0
        due.sort(key=lambda one: (_news(one[1]), one[0].due_at or now, one[0].id))
        silences = await self._store.silences.active(now)
        firing = await self._firing(now)
        past = _Told(self._store, self._origin, now, timedelta(hours=self.policy.settings.story_memory_h))
        count = 0
        for group, members in due:
            target = self.policy.target(group)
            if target is None:  # its members have been put elsewhere, or will be before the next look
                await self._write(group._replace(due_at=None), members, Decision([], [], None), now, term)
                continue
            given = Circumstances(
                now=now,
                settings=self.policy.settings,
                target=target,
                receiver=self.policy.receivers[target.receiver],
                silences=silences,
                firing=firing,
                past=await past.of(target.receiver),
                spent=await past.spent(target.receiver),
            )
            decision = decide(group, [self._candidate(member, target) for member in members], given)
            await self._write(flushed(group, decision, now, target), members, decision, now, term)
            past.add(target.receiver, decision.sayings)
            count += len(decision.sayings)
        return count

    def _group(self, alert: Alert, target: Target) -> Group:
        labels = target.group_labels(alert.labels)
        parts = (self._origin, target.receiver, target.path, json.dumps(labels, sort_keys=True))
        return Group(fingerprint("group", *parts), self._origin, target.receiver, target.path, labels)

    def _candidate(self, member: Member, target: Target) -> Candidate:
        alert = self.policy.label(member.row.alert)
        leads_here = any(one.path == target.path for one in self.policy.routes.match(alert.labels))
        return Candidate(alert, member.row.acked_by, member.verdict, member.detail, member.told, leads_here)

    async def _firing(self, now: datetime) -> list[tuple[str, Mapping[str, str]]]:
        """What may keep others quiet: not what is told to nobody, else nobody would hear of either."""
        untellable = await self._store.groups.untellable(self._origin)
        firing: list[tuple[str, Mapping[str, str]]] = []
        for row in await self._store.alerts.firing(self._origin):
            over_at = ends_at(row.alert, self.policy.settings)
            is_told = row.alert.severity.rank >= self.policy.settings.min_severity.rank
            if is_told and row.alert.id not in untellable and (over_at is None or over_at > now):
                firing.append((row.alert.id, self.policy.label(row.alert).labels))
        return firing

    async def _write(
        self, group: Group, members: Sequence[Member], decision: Decision, now: datetime, term: Term | None
    ) -> None:
        addresses = self._addresses(group)
        if addresses is None:
            outgoing, told = [], {member.row.alert.id: member.told for member in members}
            detail = f"no channel of the receiver {group.receiver} is enabled"
            judged = [
                one._replace(verdict=Verdict.NO_RECEIVER, detail=detail, told=told[one.alert_id])
                if one.verdict is Verdict.SENT
                else one
                for one in decision.judged
            ]
        else:
            outgoing = [
                # In their order: the end of one alert before the beginning of the next of its key.
                await self._outgoing(group, saying, addresses, now + number * timedelta.resolution)
                for number, saying in enumerate(decision.sayings)
            ]
            judged = [self._replayed(one) for one in decision.judged]
        expires_at = now + timedelta(hours=self.policy.settings.expire_h)
        await self._store.groups.write(group, members, judged, outgoing, now, expires_at, term)
        for message in outgoing:
            log.info(
                "message_decided", message=message.id, receiver=group.receiver, route=group.route,
                kind=str(message.event), alerts=len(message.about), recipients=len(message.notifications),
            )  # fmt: skip
        before = {member.row.alert.id: member.verdict for member in members}
        for one in judged:
            if one.verdict not in (Verdict.SENT, Verdict.UNCHANGED, before.get(one.alert_id)):
                log.info(
                    "alert_withheld", alert=one.alert_id, receiver=group.receiver,
                    why=str(one.verdict), detail=one.detail,
                )  # fmt: skip

    def _addresses(self, group: Group) -> list[Address] | None:
        """Whom a message goes to: nobody, where an archive is played; None: nobody could be told."""
        if self._origin == REPLAYED or self._silent:
            return []
        return self.policy.addresses(group.receiver) or None

    def _replayed(self, one: Judged) -> Judged:
        if one.verdict not in (Verdict.SENT, Verdict.UNCHANGED) or self._silent or self._origin != REPLAYED:
            return one
        return one._replace(verdict=Verdict.REPLAYED, detail="an archive was played: nothing is delivered")

    async def _outgoing(self, group: Group, saying: Saying, addresses: Sequence[Address], now: datetime) -> Outgoing:
        picture = await history(self._store, saying.about[0], now) if addresses else None
        notifications = [_notification(group, saying, address, picture, now) for address in addresses]
        return Outgoing(
            saying.id,
            saying.event,
            [alert.id for alert in saying.about],
            [alert.id for alert in saying.beside],
            sorted(saying.stories),
            notifications,
        )


def _news(members: Sequence[Member]) -> tuple[int, float]:
    """How strong the strongest is that was not told yet; else, the strongest."""
    untold = [member.row.alert for member in members if member.told is None]
    return strongest(untold or [member.row.alert for member in members])


class _Told:
    """What receivers were told, read once for each."""

    def __init__(self, store: Store, origin: str, now: datetime, memory: timedelta) -> None:
        self._store = store
        self._origin = origin
        self._now = now
        self._memory = memory
        self._past: dict[str, list[Past]] = {}
        self._spent: dict[str, int] = {}

    async def of(self, receiver: str) -> list[Past]:
        if receiver not in self._past:
            since = self._now - self._memory
            self._past[receiver] = await self._store.groups.told_since(receiver, self._origin, since)
        return self._past[receiver]

    async def spent(self, receiver: str) -> int:
        if receiver not in self._spent:
            self._spent[receiver] = await self._store.groups.spent(receiver, self._origin, self._now - _DAY)
        return self._spent[receiver]

    def add(self, receiver: str, sayings: Sequence[Saying]) -> None:
        """What it is told now."""
        for saying in sayings:
            about = frozenset(alert.id for alert in saying.about)
            self._past[receiver].append(Past(about, frozenset(saying.stories)))
            self._spent[receiver] += saying.event in SPENT


def _notification(
    group: Group, saying: Saying, address: Address, picture: History | None, now: datetime
) -> Notification:
    named = [*saying.about, *saying.beside]
    return Notification(
        id=_id_for(saying.id, address),
        event=saying.event,
        receiver=group.receiver,
        channel=address.channel,
        recipient=address.recipient,
        created_at=now,
        route=group.route,
        group=group.labels,
        alerts=tuple(briefly(alert, headline=alert is named[0]) for alert in named[:_NAMED]),
        about=min(len(saying.about), _NAMED),
        more=max(0, len(named) - _NAMED),
        thread=None if saying.thread is None else _id_for(saying.thread, address),
        history=picture,
    )


def _id_for(message_id: str, address: Address) -> str:
    return fingerprint("notification", message_id, *address)
