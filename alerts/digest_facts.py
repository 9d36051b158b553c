"""What a digest says, cleaned and bounded."""

from alerts import words
from alerts.cleaning import clean, isolate
from alerts.facts import MAX_NAME, AlertFacts, against_past, alert_facts, counts, key_name
from alerts.links import Links
from monitor.domain.alerts import Digest, DigestEntry, Notification, Verdict, WatchedKey
from monitor.domain.record import Record, UtcDatetime
from monitor.domain.windows import KeyKind
from monitor.errors import InvariantError

MAX_KEYS = 40
MAX_ENTRIES = 20
MAX_DETAIL = 160
HEARD_ENOUGH = 0.9
"""Below this share of the sources' time a digest says how little was heard: it may be why nothing happened."""


class WatchedFacts(Record):
    """A line of a digest's table. Units: `share` of stories that were negative and `observed`, both in [0, 1]."""

    kind: KeyKind
    name: str
    stories: int
    negative: int
    before: int
    share: float | None
    observed: float | None


class EntryFacts(Record):
    """An alert of a digest's time, and what became of it."""

    alert: AlertFacts
    summary: str
    verdict: Verdict
    detail: str | None


class DigestMessage(Record):
    """All that a digest may say of [start, end); `further_*` count what is not listed."""

    notification_id: str
    receiver: str
    summary: str
    start: UtcDatetime
    end: UtcDatetime
    keys: tuple[WatchedFacts, ...]
    further_keys: int
    entries: tuple[EntryFacts, ...]
    further_entries: int


def digest_message(notification: Notification, links: Links | None) -> DigestMessage:
    """The facts of a digest.

    Raises: InvariantError, for a digest that holds none.
    """
    digest = notification.digest
    if digest is None:
        raise InvariantError(f"notification {notification.id} is a digest without one")
    return DigestMessage(
        notification_id=notification.id,
        receiver=clean(notification.receiver, MAX_NAME),
        summary=_digest_summary(digest),
        start=digest.start,
        end=digest.end,
        keys=tuple(_watched_facts(watched) for watched in digest.keys[:MAX_KEYS]),
        further_keys=max(len(digest.keys) - MAX_KEYS, 0),
        entries=tuple(_entry_facts(entry, notification, links) for entry in digest.entries[:MAX_ENTRIES]),
        further_entries=max(len(digest.entries) - MAX_ENTRIES, 0),
    )


def _digest_summary(digest: Digest) -> str:
    time = f"in the {words.period(digest.end - digest.start)} until {words.minute(digest.end)}"
    deaf, caveat = _caveat(digest)
    if digest.entries:
        told = sum(entry.verdict is Verdict.SENT for entry in digest.entries)
        said = f"{words.counted('alert', len(digest.entries))} {time}, {told} of them told"
    elif deaf:
        said = f"No alerts {time}, but {caveat}"
        caveat = None
    else:
        said = f"Nothing happened {time}: no alerts"
    everything = next((watched for watched in digest.keys if watched.key.kind == "all"), None)
    if everything is not None:
        negative = words.plural("story", everything.negative)
        said = f"{said}; {everything.negative} negative {negative} of {everything.stories}"
    return said if caveat is None else f"{said}; {caveat}"


def _caveat(digest: Digest) -> tuple[bool, str | None]:
    """Whether quiet means nothing, for nothing was heard or nobody knows; and what to say of how much was heard.

    Judged by all news, or where a digest leaves that out by the watched key of which the least was heard.
    """
    watched = [one for one in digest.keys if one.key.kind == "all"] or digest.keys
    least = min(watched, key=_heard, default=None)
    share = None if least is None else least.observed
    if share is not None and share >= HEARD_ENOUGH:
        return False, None
    were, any_source, time = "the sources were", "any source", "the sources' time"
    if least is not None and least.key.kind == "source":
        name = isolate(key_name(least.key))
        were, any_source, time = f"{name} was", name, f"the time of {name}"
    if share is None:
        return True, f"it is not known whether {were} heard"
    return share == 0, f"only {share:.0%} of {time} was heard" if share else f"nothing was heard of {any_source}"


def _heard(watched: WatchedKey) -> tuple[float, bool, bool]:
    """Orders keys: those too little heard, then those of which it is not known, then the others."""
    is_known = watched.observed is not None
    return HEARD_ENOUGH if watched.observed is None else watched.observed, is_known, watched.key.kind == "source"


def _watched_facts(watched: WatchedKey) -> WatchedFacts:
    return WatchedFacts(
        kind=watched.key.kind,
        name=key_name(watched.key),
        stories=watched.stories,
        negative=watched.negative,
        before=watched.before,
        share=watched.negative / watched.stories if watched.stories else None,
        observed=watched.observed,
    )


def _entry_facts(entry: DigestEntry, notification: Notification, links: Links | None) -> EntryFacts:
    spike = entry.alert.spikes[0]
    return EntryFacts(
        alert=alert_facts(entry.alert, notification, links),
        summary="; ".join([f"{isolate(key_name(entry.alert.key))}: {counts(spike)}", *against_past(spike)]),
        verdict=entry.verdict,
        detail=None if entry.detail is None else clean(entry.detail, MAX_DETAIL),
    )
