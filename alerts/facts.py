"""What a message on alerts says, cleaned and bounded: the templates and the JSON body only lay it out."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from alerts import words
from alerts.cleaning import clean, isolate, safe_url
from alerts.links import Links
from monitor.domain.alerts import Alert, Event, Notification
from monitor.domain.record import Record, UtcDatetime
from monitor.domain.spikes import Severity, Spike, StoryEvidence
from monitor.domain.windows import Key, KeyKind

MAX_STORIES = 5
MAX_ALERTS = 10
MAX_FURTHER = 8
MAX_MIX = 6
MAX_LABELS = 10
MAX_TITLE = 200
MAX_NAME = 80
MAX_LABEL = 50


class StoryFacts(Record):
    """A story as a message tells it: cleaned, cut, with a link only where that is http or https."""

    id: str
    title: str
    url: str | None
    source: str
    published_at: UtcDatetime
    topic: str
    sentiment: Literal["negative"]
    probability: float
    articles: int
    sources: int


class SpikeFacts(Record):
    """A spike as a message tells it, without its stories."""

    id: str
    start: UtcDatetime
    end: UtcDatetime
    observed: int
    total: int
    expected: float
    low: float | None
    high: float | None
    per_week: float | None
    sources: int
    score: float
    severity: Severity
    detector: str


class AlertFacts(Record):
    """One alert of the group, by its strongest spike. `stories` counts its distinct negative stories."""

    id: str
    kind: KeyKind
    name: str
    labels: dict[str, str]
    severity: Severity
    opened_at: UtcDatetime
    resolved_at: UtcDatetime | None
    stories: int
    spike: SpikeFacts
    page: str | None


class LinkFacts(Record):
    """Where the reader can look at the alert that leads, or quiet it: signed, and good for some days."""

    page: str
    acknowledge: str | None
    silence: str | None


class Share(Record):
    """How many of the stories came from a source, or were on a topic."""

    name: str
    stories: int


class AlertMessage(Record):
    """All that a message on alerts may say.

    The first `about` of `alerts` made it go, the strongest first; `further_alerts` are those that are not listed.
    `stories` are the weightiest, `sources` and `topics` the mix of all that it is about.
    """

    notification_id: str
    thread: str | None
    event: Event
    receiver: str
    route: str
    group: dict[str, str]
    severity: Severity | None
    summary: str
    about: int
    alerts: tuple[AlertFacts, ...]
    further_alerts: int
    also_firing: str | None
    also_over: str | None
    stories: tuple[StoryFacts, ...]
    sources: tuple[Share, ...]
    topics: tuple[Share, ...]
    links: LinkFacts | None


def alert_message(notification: Notification, links: Links | None) -> AlertMessage:
    """The facts of a notification on alerts, or of a test."""
    alerts = notification.alerts
    told = alerts[: notification.about] or alerts[:1]
    stories = _stories(told)
    return AlertMessage(
        notification_id=notification.id,
        thread=notification.thread,
        event=notification.event,
        receiver=clean(notification.receiver, MAX_NAME),
        route=clean(notification.route, MAX_TITLE),
        group=_labels(notification.group),
        severity=max((alert.severity for alert in told), key=lambda severity: severity.rank, default=None),
        summary="; ".join(summary(notification)),
        about=min(notification.about, MAX_ALERTS),
        alerts=tuple(alert_facts(alert, notification, links) for alert in alerts[:MAX_ALERTS]),
        further_alerts=max(len(alerts) - MAX_ALERTS, 0) + notification.more,
        also_firing=_named((alert for alert in alerts[1:] if alert.resolved_at is None), notification.more),
        also_over=_named(alert for alert in alerts[1:] if alert.resolved_at is not None),
        stories=tuple(story_facts(story) for story in stories[:MAX_STORIES]),
        sources=_mix(story.source for story in stories),
        topics=_mix(story.topic for story in stories),
        links=_links(notification, links),
    )


def summary(notification: Notification, *, limit: int = MAX_NAME) -> list[str]:
    """What happened, in the parts of one sentence, the first the most needed; `limit` in characters of a name."""
    if not notification.alerts:
        return ["TEST: nothing happened, the way to this receiver is tried out"]
    alert = notification.alerts[0]
    spike, name = alert.spikes[0], isolate(key_name(alert.key, limit))
    match notification.event:
        case Event.RESOLVED:
            return [f"{name}: {part}" if place == 0 else part for place, part in enumerate(_over(alert, notification))]
        case Event.UPDATED:
            parts = [f"{name}: grown to {counts(spike)}", *against_past(spike)]
        case Event.REPEATED:
            since = words.since(alert.opened_at, notification.created_at)
            parts = [f"{name}: still firing since {since}", counts(spike), *against_past(spike)]
        case Event.TEST:
            parts = [f"TEST, made up: {name}: {counts(spike)}", *against_past(spike)]
        case _:
            parts = [f"{name}: {counts(spike)}", *against_past(spike)]
    return parts


def key_name(key: Key, limit: int = MAX_NAME) -> str:
    """The key as a reader is told it, cleaned."""
    return "All news" if key.kind == "all" else clean(key.name, limit) or "(no name)"


def counts(spike: Spike) -> str:
    """14 negative stories of 18 from 9 sources in 30 min."""
    return (
        f"{spike.observed} negative {words.plural('story', spike.observed)} of {spike.total}"
        f" from {words.counted('source', spike.sources)} in {words.period(spike.end - spike.start)}"
    )


def against_past(spike: Spike) -> list[str]:
    """2.1 expected, and how often such a thing comes where that is known."""
    expected = f"{words.amount(spike.expected)} expected"
    return [expected] if spike.per_week is None else [expected, words.rarity(spike.end - spike.start, spike.per_week)]


def _over(alert: Alert, notification: Notification) -> list[str]:
    told = f"{words.counted('negative story', _story_count(alert))} in all"
    if alert.resolved_at is None:
        return ["over", told]
    return [
        f"over since {words.since(alert.resolved_at, notification.created_at)}",
        f"it lasted {words.lasting(alert.resolved_at - alert.opened_at)}",
        told,
    ]


def _story_count(alert: Alert) -> int:
    """Distinct negative stories; a spike lists but the first of very many."""
    return max(len(alert.stories), *(spike.observed for spike in alert.spikes))


def _links(notification: Notification, links: Links | None) -> LinkFacts | None:
    if links is None or not notification.alerts or notification.event is Event.TEST:
        return None
    made = notification.alerts[0].id, notification.recipient, notification.created_at
    over = notification.event is Event.RESOLVED
    return LinkFacts(
        page=links.page(*made),
        acknowledge=None if over else links.acknowledge(*made),
        silence=None if over else links.silence(*made),
    )


def _named(alerts: Iterable[Alert], more: int = 0) -> str | None:
    """The alerts' keys with their counts, and how many more there are; None where there are none."""
    others = list(alerts)
    named = [
        f"{isolate(key_name(alert.key))} ({alert.spikes[0].observed} of {alert.spikes[0].total})"
        for alert in others[:MAX_FURTHER]
    ]
    if unnamed := max(len(others) - MAX_FURTHER, 0) + more:
        named.append(f"{unnamed} more")
    return ", ".join(named) or None


def _stories(alerts: Iterable[Alert]) -> list[StoryEvidence]:
    """Those of the strongest spike first, the weightiest of a spike first, each once."""
    chosen: dict[str, StoryEvidence] = {}
    for alert in alerts:
        for spike in alert.spikes:
            for story in sorted(spike.stories, key=_weight, reverse=True):
                chosen.setdefault(story.story_id, story)
    return list(chosen.values())


def _weight(story: StoryEvidence) -> tuple[int, int, float]:
    """How much a story carries: who reported it, how often, how surely it is negative."""
    return story.sources, story.articles, story.probability


def _mix(names: Iterable[str]) -> tuple[Share, ...]:
    counts = Counter(names)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shares = [Share(name=clean(name, MAX_LABEL) or "(no name)", stories=count) for name, count in ranked[:MAX_MIX]]
    if rest := sum(count for _, count in ranked[MAX_MIX:]):
        shares.append(Share(name="others", stories=rest))
    return tuple(shares)


def _labels(given: Mapping[str, str]) -> dict[str, str]:
    return {clean(name, MAX_LABEL): clean(value, MAX_LABEL) for name, value in list(given.items())[:MAX_LABELS]}


def alert_facts(alert: Alert, notification: Notification, links: Links | None) -> AlertFacts:
    """An alert as a message to this recipient lists it."""
    made_up = notification.event is Event.TEST
    return AlertFacts(
        id=alert.id,
        kind=alert.key.kind,
        name=key_name(alert.key),
        labels=_labels(alert.labels),
        severity=alert.severity,
        opened_at=alert.opened_at,
        resolved_at=alert.resolved_at,
        stories=_story_count(alert),
        spike=_spike_facts(alert.spikes[0]),
        page=None
        if links is None or made_up
        else links.page(alert.id, notification.recipient, notification.created_at),
    )


def _spike_facts(spike: Spike) -> SpikeFacts:
    return SpikeFacts(
        id=spike.id,
        start=spike.start,
        end=min(spike.end, max(spike.detected_at, spike.start)),  # the newest bucket may still be filling
        observed=spike.observed,
        total=spike.total,
        expected=spike.expected,
        low=spike.low,
        high=spike.high,
        per_week=spike.per_week,
        sources=spike.sources,
        score=spike.score,
        severity=spike.severity,
        detector=clean(spike.detector, MAX_NAME),
    )


def story_facts(story: StoryEvidence) -> StoryFacts:
    return StoryFacts(
        id=story.story_id,
        title=clean(story.title, MAX_TITLE) or "(no title)",
        url=safe_url(story.url),
        source=clean(story.source, MAX_NAME),
        published_at=story.published_at,
        topic=clean(story.topic, MAX_NAME),
        sentiment="negative",
        probability=story.probability,
        articles=story.articles,
        sources=story.sources,
    )
