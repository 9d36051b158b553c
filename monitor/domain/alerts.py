"""What is told to whom: an alert is a key's episode of bad news, a notification tells one recipient of some of them.

The words are Alertmanager's: alert, label, group, route, receiver, silence.
"""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from monitor.domain.record import Record, UtcDatetime, fingerprint
from monitor.domain.spikes import Severity, Spike, StoryEvidence
from monitor.domain.windows import Key

_SPIKES_SHOWN = 10
_STORIES_SHOWN = 5


class Event(StrEnum):
    """What made a message go out."""

    FIRING = "firing"
    UPDATED = "updated"
    REPEATED = "repeated"
    RESOLVED = "resolved"
    DIGEST = "digest"
    TEST = "test"


class Verdict(StrEnum):
    """What became of an alert on its way to a receiver: sent, waiting for the group, or why it was not told."""

    SENT = "sent"
    WAITING = "waiting"
    UNCHANGED = "unchanged"
    SAME_STORIES = "same_stories"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    INHIBITED = "inhibited"
    QUIET_HOURS = "quiet_hours"
    BUDGET = "budget"
    BELOW_SEVERITY = "below_severity"
    STALE = "stale"
    NO_RECEIVER = "no_receiver"
    ENDED_UNTOLD = "ended_untold"
    REPLAYED = "replayed"


class Alert(Record):
    """A key's bad news, from its first spike until it has stayed quiet; `spikes` strongest first.

    `id` is a hash of key and first spike. `labels` are what routes and silences match: kind, key, severity, and those
    that the configuration adds. `resolved_at` None: still firing.
    """

    id: str
    key: Key
    labels: dict[str, str] = Field(default_factory=dict)
    opened_at: UtcDatetime
    resolved_at: UtcDatetime | None = None
    spikes: Annotated[tuple[Spike, ...], Field(min_length=1)]

    @property
    def severity(self) -> Severity:
        return max((spike.severity for spike in self.spikes), key=lambda severity: severity.rank)

    @property
    def stories(self) -> dict[str, StoryEvidence]:
        """The negative stories it rests on, each once, by id; those of the strongest spike first."""
        found: dict[str, StoryEvidence] = {}
        for spike in self.spikes:
            for story in spike.stories:
                found.setdefault(story.story_id, story)
        return found


def briefly(alert: Alert, *, headline: bool = False) -> Alert:
    """As much of an alert as a message shows: its strongest spikes, and of their stories the first.

    `headline`: the message is about it, and tells the mix of all stories of its strongest spike.
    """
    spikes = alert.spikes[:_SPIKES_SHOWN]
    whole = spikes[:1] if headline else ()
    cut = (spike.model_copy(update={"stories": spike.stories[:_STORIES_SHOWN]}) for spike in spikes[len(whole) :])
    return alert.model_copy(update={"spikes": (*whole, *cut)})


class History(Record):
    """Negative stories of a key per bucket, the oldest first, for the picture.

    Shapes: `negative` and `heard` have one entry per bucket of `width_s` seconds from `start`; `heard` False: nobody
        listened then, and the count means nothing.
    """

    key: Key
    start: UtcDatetime
    width_s: PositiveInt
    negative: tuple[NonNegativeInt, ...]
    heard: tuple[bool, ...]


class WatchedKey(Record):
    """A line of a digest's table.

    Units: `negative` of `stories` in the digest's time; `before` negative stories in as much time before it; `observed`
        share of the sources' time that was heard, in [0, 1], None where it is not known.
    """

    key: Key
    stories: NonNegativeInt
    negative: NonNegativeInt
    before: NonNegativeInt
    observed: NonNegativeFloat | None = None


class DigestEntry(Record):
    """An alert of a digest's time. `verdict` tells whether this receiver had a message of it, or why not."""

    alert: Alert
    verdict: Verdict
    detail: str | None = None


class Digest(Record):
    """What was, in [start, end): the watched keys, then the alerts, the strongest first."""

    start: UtcDatetime
    end: UtcDatetime
    keys: tuple[WatchedKey, ...]
    entries: tuple[DigestEntry, ...]


class Notification(Record):
    """One message for one recipient of one channel.

    `id` is the same on every attempt, so receivers can drop repeats: it is the `webhook-id` of a webhook and the
    Message-ID of a mail. `alerts` are those of the group that fire or have just ended; the first `about` of them made
    the message go, the strongest first; `more` of them are not named, for want of room. `thread`: id of the
    notification that told this recipient of the first alert for the first time; None: this one does. `route` is the
    path through the tree of routes, `group` the labels that the alerts share. The event digest comes
    without alerts, test without or with one that is made up.
    """

    id: str
    event: Event = Event.FIRING
    receiver: str
    channel: str
    recipient: str
    created_at: UtcDatetime
    route: str = ""
    group: dict[str, str] = Field(default_factory=dict)
    alerts: tuple[Alert, ...] = ()
    about: NonNegativeInt = 0
    more: NonNegativeInt = 0
    thread: str | None = None
    history: History | None = None
    digest: Digest | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_old(cls, given: Any) -> Any:
        """Reads what was stored before there were receivers: one alert, of the spikes of several keys."""
        if not isinstance(given, dict) or "alert" not in given:
            return given
        rest = {name: value for name, value in given.items() if name != "alert"}
        alerts = split_by_key(given["alert"])
        return {**rest, "receiver": given["channel"], "alerts": alerts, "about": len(alerts)}

    @model_validator(mode="after")
    def _tells_something(self) -> Self:
        if (self.event is Event.DIGEST) != (self.digest is not None):
            raise ValueError("expected a digest with the event digest, and with no other")
        least = 0 if self.event in (Event.DIGEST, Event.TEST) else 1
        if not least <= self.about <= len(self.alerts):
            raise ValueError("expected the alerts that the message is about, and at least one")
        return self

    @property
    def severity(self) -> Severity | None:
        """Of what the message is about; None: it tells of no alert."""
        told = self.alerts[: self.about]
        return max((alert.severity for alert in told), key=lambda severity: severity.rank, default=None)


def split_by_key(old: Any) -> list[Alert]:
    """The alerts in one of the time when an alert held the spikes of several keys, strongest first."""
    by_key: dict[Key, list[Spike]] = {}
    for body in old["spikes"]:
        spike = Spike.model_validate(body)
        by_key.setdefault(spike.key, []).append(spike)
    return [
        Alert(id=fingerprint(old["id"], str(key)), key=key, opened_at=old["opened_at"], spikes=tuple(spikes))
        for key, spikes in by_key.items()
    ]
