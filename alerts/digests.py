"""Writes the digests that are due."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from alerts.evaluate import Address, Policy
from monitor.alert_settings import Receiver
from monitor.domain.alerts import Digest, DigestEntry, Event, Notification, Verdict, WatchedKey, briefly
from monitor.domain.labels import Topic
from monitor.domain.record import fingerprint
from monitor.domain.windows import ALL, Key, bucket_start
from monitor.storage.alerts import LIVE
from monitor.storage.leases import Term
from monitor.storage.store import Store

log = structlog.get_logger(__name__)

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_MOST_KEYS = 40
_MOST_ENTRIES = 200
_ALL_ROWS = 1_000_000


class Digests:
    """The digests of a policy's receivers. Each is written once, and late rather than never if nobody ran in time."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._policy = policy
        self._receivers = {name: found for name, found in policy.receivers.items() if found.digest != "off"}
        self._next: dict[str, datetime] = {}

    async def write_due(self, now: datetime, term: Term | None) -> int:
        """Puts every digest that is due among the deliveries. Returns how many.

        Raises: StoreError; LeaseError, if `term` is over.
        """
        count = 0
        for name, receiver in self._receivers.items():
            if name not in self._next:
                until = (await self._store.deliveries.digests_until()).get(name)
                if until is None:  # the first begins now, and is sent at its time
                    await self._store.deliveries.add_digest(name, now, [], now, now, term)
                    until = now
                self._next[name] = due_after(receiver, until)
            if now < self._next[name]:
                continue
            # Of several that were missed, the last says it all.
            due = self._next[name]
            if (later := due_before(receiver, now + timedelta.resolution)) > due:
                due = later
            count += await self._write(name, receiver, due, now, term)
            self._next[name] = due_after(receiver, due)
        return count

    async def preview(self, name: str, now: datetime) -> tuple[Digest, Notification]:
        """What is in a receiver's digest since the last was due, and how it would go to the first who hears, if anybody
        does. Nothing is stored. A receiver that asks for none is shown a daily one.

        Raises: StoreError.
        """
        receiver = self._policy.receivers[name]
        digest = await self._digest(name, receiver, due_before(receiver, now), now)
        address = next(iter(self._policy.addresses(name)), Address("nobody", "nobody"))
        return digest, _notification(name, digest, address, now)

    async def _write(self, name: str, receiver: Receiver, due: datetime, now: datetime, term: Term | None) -> bool:
        digest = await self._digest(name, receiver, due_before(receiver, due), due)
        addresses = [] if is_quiet(digest) and not receiver.digest_when_quiet else self._policy.addresses(name)
        notifications = [_notification(name, digest, address, now) for address in addresses]
        expires_at = now + timedelta(hours=self._policy.settings.expire_h)
        await self._store.deliveries.add_digest(name, due, notifications, now, expires_at, term)
        log.info("digest_written", receiver=name, until=due.isoformat(), recipients=len(notifications))
        return bool(notifications)

    async def _digest(self, name: str, receiver: Receiver, start: datetime, end: datetime) -> Digest:
        entries = []
        for row in await self._store.alerts.opened(start, end, LIVE):
            mine = [one for one in await self._store.groups.standings(row.alert.id) if one.group.receiver == name]
            if not mine:
                continue
            told = [one for one in mine if one.told is not None]
            verdict, detail = (Verdict.SENT, None) if told else (mine[0].verdict, mine[0].detail)
            entries.append(DigestEntry(alert=briefly(self._policy.label(row.alert)), verdict=verdict, detail=detail))
        entries.sort(key=lambda entry: (-entry.alert.severity.rank, -entry.alert.spikes[0].score, entry.alert.id))
        return Digest(
            start=start,
            end=end,
            keys=tuple(await self._watched(receiver, start, end)),
            entries=tuple(entries[:_MOST_ENTRIES]),
        )

    async def _watched(self, receiver: Receiver, start: datetime, end: datetime) -> list[WatchedKey]:
        """The receiver's keys; of a kind that has many, those with the most bad news."""
        first, last = bucket_start(start), bucket_start(end)
        length = last - first
        now = await self._sums(receiver, first, last)
        before = await self._sums(receiver, first - length, first)
        exposure = await self._store.coverage.observed(first, last, now=end)
        always = [key for key in [ALL, *(Key("topic", topic) for topic in Topic)] if receiver.watches(key)]
        always += receiver.digest_named
        keys = sorted({*now, *always}, key=lambda key: (-now.get(key, (0, 0))[1], key))
        return [
            WatchedKey(
                key=key,
                stories=now.get(key, (0, 0))[0],
                negative=now.get(key, (0, 0))[1],
                before=before.get(key, (0, 0))[1],
                observed=exposure.share(key, first, last),
            )
            for key in keys[:_MOST_KEYS]
        ]

    async def _sums(self, receiver: Receiver, start: datetime, end: datetime) -> dict[Key, tuple[int, int]]:
        """Stories and negative stories of the receiver's keys in [start, end)."""
        sums: dict[Key, tuple[int, int]] = {}
        rows = await self._store.articles.trends(
            resolution="5m", kinds=receiver.digest_kinds, since=start, until=end, limit=_ALL_ROWS
        )
        for row in rows:
            if receiver.watches(row.key):
                stories, negative = sums.get(row.key, (0, 0))
                sums[row.key] = stories + row.stories, negative + row.negative_stories
        return sums


def is_quiet(digest: Digest) -> bool:
    """Whether nothing happened. Silence of the sources is no quiet."""
    return not digest.entries and not any(row.negative or row.observed == 0 for row in digest.keys)


def due_after(receiver: Receiver, moment: datetime) -> datetime:
    """When the receiver's next digest is due."""
    return min(due for due in _moments(receiver, moment) if due > moment)


def due_before(receiver: Receiver, moment: datetime) -> datetime:
    """When the receiver's digest before then was due: the next begins there."""
    return max(due for due in _moments(receiver, moment) if due < moment)


def _moments(receiver: Receiver, around: datetime) -> list[datetime]:
    """When digests are due around then.

    The daily one comes once on every day of the receiver's calendar: where its clock skips the hour, as if it had not
    yet been put forward; where the hour comes twice, at the first.
    """
    if receiver.digest == "hourly":
        hour = bucket_start(around, 3600)
        return [hour - _HOUR, hour, hour + _HOUR]
    zone = ZoneInfo(receiver.time_zone)
    today = around.astimezone(zone).date()
    days = [today + number * _DAY for number in (-2, -1, 0, 1, 2)]
    return [datetime.combine(day, receiver.digest_time, tzinfo=zone).astimezone(UTC) for day in days]


def _notification(receiver: str, digest: Digest, address: Address, now: datetime) -> Notification:
    return Notification(
        id=fingerprint("digest", receiver, digest.end.isoformat(), *address),
        event=Event.DIGEST,
        receiver=receiver,
        channel=address.channel,
        recipient=address.recipient,
        created_at=now,
        digest=digest,
    )
