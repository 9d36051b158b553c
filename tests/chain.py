"""The chain of alerts in tests: spikes come, time passes, and what arrives at the other side is kept."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from alerts.dispatch import Dispatch
from alerts.evaluate import Policy
from monitor.alert_settings import AlertSettings
from monitor.clock import ManualClock
from monitor.domain.alerts import Event, Notification, Verdict
from monitor.domain.matchers import parse
from monitor.domain.record import fingerprint
from monitor.domain.spikes import Severity, Spike
from monitor.domain.windows import ALL, Key, bucket_start
from monitor.storage.alerts import LIVE
from monitor.storage.groups import DecisionRow
from monitor.storage.sightings import Added, Looked
from monitor.storage.store import Store
from tests.factories import make_spike, make_story_evidence

BANKS, OIL, CHIPS = Key("topic", "Financials"), Key("topic", "Energy | Oil"), Key("entity", "Chips Ltd")
KEYS = (ALL, BANKS, OIL, CHIPS)


class Inbox:
    """A channel that fails as its script says, then accepts; keeps what it accepted."""

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

    @property
    def events(self) -> list[Event]:
        return [told.event for told in self.accepted]

    @property
    def about(self) -> list[list[str]]:
        """The names of the keys that made each message go."""
        return [[alert.key.name for alert in told.alerts[: told.about]] for told in self.accepted]

    def times(self, since: datetime) -> list[float]:
        """When each message was made, in seconds since then, to the second."""
        return [round((told.created_at - since).total_seconds()) for told in self.accepted]


def make_settings(channels: Sequence[str] = ("desk",), **overrides: Any) -> AlertSettings:
    return AlertSettings.model_validate({"channels": {name: {} for name in channels}, **overrides})


def make_policy(settings: AlertSettings, inboxes: Mapping[str, Inbox]) -> Policy:
    return Policy(settings, {name: inbox.recipients for name, inbox in inboxes.items()})


class Chain:
    """A dispatcher on a store, which can be restarted at any time, with a clock that moves as it is told."""

    def __init__(
        self, store: Store, clock: ManualClock, settings: AlertSettings | None = None, **inboxes: Inbox
    ) -> None:
        self.store = store
        self.clock = clock
        self.inboxes = inboxes or {"desk": Inbox()}
        self.settings = make_settings(tuple(self.inboxes)) if settings is None else settings
        self.fingerprints = {name: f"{name} as it is" for name in self.inboxes}
        self._count = 0
        self.restart()

    @property
    def desk(self) -> Inbox:
        return self.inboxes["desk"]

    def restart(self) -> None:
        """What a process knew beside the tables is gone."""
        policy = make_policy(self.settings, self.inboxes)
        self.dispatch = Dispatch(
            self.inboxes, policy, store=self.store, clock=self.clock, fingerprints=self.fingerprints
        )

    async def reload(self, settings: AlertSettings) -> None:
        self.settings = settings
        inboxes = {name: self.inboxes.get(name, Inbox()) for name in settings.channels}
        self.inboxes.update(inboxes)
        self.fingerprints = {name: f"{name} as it is" for name in inboxes}
        await self.dispatch.reload(inboxes, make_policy(settings, inboxes), self.fingerprints)

    def spike(self, key: Key = BANKS, **overrides: Any) -> Spike:
        """One of now; its stories are its own, unless given, or told by their `titles`."""
        self._count += 1
        now = self.clock.now()
        titles = overrides.pop("titles", [f"{key.name} {self._count} {n}" for n in range(3)])
        fields = {
            "id": fingerprint(str(key), str(self._count), now.isoformat()),
            "key": key,
            "start": now - timedelta(minutes=30),
            "end": now,
            "detected_at": now,
            "stories": tuple(make_story_evidence(title=title) for title in titles),
            **overrides,
        }
        return make_spike(**fields)

    async def take(self, spike: Spike) -> str:
        """Returns the id of its alert."""
        keep = timedelta(seconds=self.settings.keep_firing_for_s)
        return (await self.store.alerts.take(spike, LIVE, keep))[0]

    async def fire(self, key: Key = BANKS, severity: Severity = Severity.SEVERE, **overrides: Any) -> Spike:
        spike = self.spike(key, severity=severity, **overrides)
        await self.take(spike)
        return spike

    async def end(self, *spikes: Spike) -> None:
        for spike in spikes:
            await self.take(spike.model_copy(update={"state": "resolved", "resolved_at": self.clock.now()}))

    async def wait(self, *, seconds: float = 0, minutes: float = 0, hours: float = 0) -> None:
        """Time passes, and the dispatcher acts whenever something is due."""
        until = self.clock.now() + timedelta(seconds=seconds, minutes=minutes, hours=hours)
        while True:
            await self.dispatch.dispatch_once()
            moments = [await self.store.groups.next_due(LIVE), await self.store.deliveries.next_attempt()]
            waiting = [moment for moment in moments if moment is not None]
            assert all(moment > self.clock.now() for moment in waiting), "something was due and was not done"
            self.clock.set(min([*waiting, until]))
            if self.clock.now() == until:
                await self.dispatch.dispatch_once()
                return

    async def decisions(self, key: Key = BANKS) -> list[DecisionRow]:
        rows = await self.store.alerts.latest(limit=999, key=key)
        return await self.store.groups.decisions([row.alert.id for row in rows])

    async def verdicts(self, key: Key = BANKS) -> list[Verdict]:
        """What became of a key's alerts, in order."""
        return [row.verdict for row in await self.decisions(key)]

    async def silence(self, *matchers: str, minutes: float = 60) -> str:
        now = self.clock.now()
        silence = await self.store.silences.add(
            tuple(parse(text) for text in matchers), now, now + timedelta(minutes=minutes),
            author="ann", comment="known", now=now,
        )  # fmt: skip
        return silence.id

    async def acknowledge(self, key: Key = BANKS) -> bool:
        (row, *_) = await self.store.alerts.latest(limit=1, key=key)
        return await self.store.alerts.acknowledge(row.alert.id, "ann", "on it", self.clock.now())


async def counted(store: Store, key: Key, negative: Mapping[datetime, int]) -> None:
    """So many negative stories were counted on the key in the buckets that hold these moments."""
    added = {
        (bucket_start(at), key): Added(0, 0, count, 0, 0, count, count, frozenset({"wire"}))
        for at, count in negative.items()
    }
    await store.sightings.save(Looked([], added, [], []))
