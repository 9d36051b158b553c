"""What an alert says: one sentence with numbers, the stories that carry it, where the numbers come from."""

import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import httpx
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from monitor.domain.alerts import Notification
from monitor.domain.record import Record, UtcDatetime
from monitor.domain.spikes import Severity, Spike, StoryEvidence
from monitor.domain.windows import Key, KeyKind

MAX_STORIES = 5
MAX_SPIKES = 10
MAX_FURTHER = 8
MAX_TITLE = 200
MAX_NAME = 80
MAX_URL = 2000


class StoryFacts(Record):
    """A story as a message tells it: cleaned, cut, with a link only where that is http or https."""

    title: str
    url: str | None
    source: str
    published_at: UtcDatetime
    topic: str
    sentiment: Literal["negative"] = "negative"
    probability: float
    articles: int
    sources: int


class SpikeFacts(Record):
    """A spike as a message tells it, without its stories."""

    id: str
    kind: KeyKind
    name: str
    start: UtcDatetime
    end: UtcDatetime
    observed: int
    total: int
    expected: float
    sources: int
    score: float
    severity: Severity
    detector: str


class Message(Record):
    """Everything a channel may say of a notification: all outside text in it is cleaned and bounded.

    `spikes` are strongest first; `stories` are those of the strongest spike, then of the others, each once.
    """

    notification_id: str
    alert_id: str
    group_key: str
    opened_at: UtcDatetime
    severity: Severity
    summary: str
    further: str | None
    spikes: tuple[SpikeFacts, ...]
    stories: tuple[StoryFacts, ...]


class Payload(Record):
    """The JSON body for machines.

    Source: the payload of the Standard Webhooks specification (type, timestamp, data).
    """

    type: Literal["alert.firing"] = "alert.firing"
    timestamp: UtcDatetime
    data: Message


def subject(notification: Notification) -> str:
    """One line, severity first."""
    told = message(notification)
    return f"[{told.severity}] {told.summary}"


def text(notification: Notification) -> str:
    """The message as plain text; no line of it but a link is longer than a title."""
    return _TEMPLATES.get_template("alert.txt.j2").render(message=message(notification))


def html(notification: Notification) -> str:
    """The message as one HTML document that fetches nothing."""
    return _TEMPLATES.get_template("alert.html.j2").render(message=message(notification), subject=subject(notification))


def payload(notification: Notification, *, max_bytes: int = 20_000) -> Payload:
    """The message as JSON smaller than `max_bytes`: the last stories are dropped until it is.

    Source: Standard Webhooks recommends bodies below 20 kB.
    """
    told = message(notification)
    while True:
        body = Payload(timestamp=notification.created_at, data=told)
        if not told.stories or len(body.model_dump_json().encode()) < max_bytes:
            return body
        told = told.model_copy(update={"stories": told.stories[:-1]})


def message(notification: Notification) -> Message:
    """The facts of a notification, cleaned."""
    alert = notification.alert
    return Message(
        notification_id=notification.id,
        alert_id=alert.id,
        group_key=clean(alert.group_key, MAX_TITLE),
        opened_at=alert.opened_at,
        severity=alert.severity,
        summary=_summary(alert.spikes[0]),
        further=_further(alert.spikes),
        spikes=tuple(_spike_facts(spike) for spike in alert.spikes[:MAX_SPIKES]),
        stories=_stories(alert.spikes),
    )


def clean(given: str, limit: int) -> str:
    """One line of at most `limit` characters that moves no cursor and turns no text around.

    Controls, direction marks, private-use characters and lone surrogates are dropped, white space becomes
    single spaces. The zero-width joiners stay: Persian, the Indic scripts and emoji are spelt with them.
    """
    head = given[: 4 * limit]  # a headline of megabytes is not walked through
    kept = (char for char in head if char.isspace() or char in _JOINERS or _is_visible(char))
    line = " ".join("".join(kept).split())
    if len(line) > limit or len(head) < len(given):
        line = line[: limit - 1].rstrip() + "…"
    return line


def isolate(given: str) -> str:
    """The text, set apart where it holds right-to-left letters: it cannot reorder what stands around it.

    Source: Unicode Standard Annex 9, FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE.
    """
    if any(unicodedata.bidirectional(char) in {"R", "AL", "AN"} for char in given):
        return f"\u2068{given}\u2069"
    return given


def safe_url(given: str | None) -> str | None:
    """The URL, percent-encoded, its host in ASCII; None unless it is plain http or https."""
    if given is None or len(given) > MAX_URL:
        return None
    try:
        url = httpx.URL(given)
    except httpx.InvalidURL:
        return None
    # user@host is how a link shows one host and leads to another
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo or len(str(url)) > MAX_URL:
        return None
    return str(url)


_JOINERS = frozenset("\u200c\u200d")


def _is_visible(char: str) -> bool:
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co"}


def _summary(spike: Spike) -> str:
    return (
        f"{isolate(_name(spike.key))}: {spike.observed} negative {_plural('story', spike.observed)}"
        f" of {spike.total} from {spike.sources} {_plural('source', spike.sources)} in {_period(spike)};"
        f" {_expected(spike.expected)} expected"
    )


def _further(spikes: Iterable[Spike]) -> str | None:
    """The other keys with their counts, each key once: it may have spiked over more than one window."""
    by_key: dict[Key, Spike] = {}
    for spike in spikes:
        by_key.setdefault(spike.key, spike)
    others = list(by_key.values())[1:]
    if not others:
        return None
    named = [f"{isolate(_name(spike.key))} ({spike.observed} of {spike.total})" for spike in others[:MAX_FURTHER]]
    if len(others) > MAX_FURTHER:
        named.append(f"{len(others) - MAX_FURTHER} more")
    return ", ".join(named)


def _stories(spikes: Iterable[Spike]) -> tuple[StoryFacts, ...]:
    chosen: dict[str, StoryEvidence] = {}
    for spike in spikes:
        for story in sorted(spike.stories, key=_weight, reverse=True):
            chosen.setdefault(story.story_id, story)
    return tuple(_story_facts(story) for story in list(chosen.values())[:MAX_STORIES])


def _weight(story: StoryEvidence) -> tuple[int, int, float]:
    """How much a story carries: who reported it, how often, how surely it is negative."""
    return story.sources, story.articles, story.probability


def _story_facts(story: StoryEvidence) -> StoryFacts:
    return StoryFacts(
        title=clean(story.title, MAX_TITLE) or "(no title)",
        url=safe_url(story.url),
        source=clean(story.source, MAX_NAME),
        published_at=story.published_at,
        topic=clean(story.topic, MAX_NAME),
        probability=story.probability,
        articles=story.articles,
        sources=story.sources,
    )


def _spike_facts(spike: Spike) -> SpikeFacts:
    return SpikeFacts(
        id=spike.id,
        kind=spike.key.kind,
        name=_name(spike.key),
        start=spike.start,
        end=min(spike.end, max(spike.detected_at, spike.start)),  # the newest bucket may still be filling
        observed=spike.observed,
        total=spike.total,
        expected=spike.expected,
        sources=spike.sources,
        score=spike.score,
        severity=spike.severity,
        detector=clean(spike.detector, MAX_NAME),
    )


def _name(key: Key) -> str:
    return "All news" if key.kind == "all" else clean(key.name, MAX_NAME) or "(no name)"


def _plural(noun: str, count: int) -> str:
    if count == 1:
        return noun
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


def _period(spike: Spike) -> str:
    minutes = round((spike.end - spike.start).total_seconds() / 60)
    return f"{minutes // 60} h" if minutes >= 120 and minutes % 60 == 0 else f"{minutes} min"


def _expected(count: float) -> str:
    return "under 0.1" if 0 < count < 0.05 else f"{count:.1f}"


def _utc_minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _window(spike: SpikeFacts) -> str:
    end = f"{spike.end:%H:%M}" if spike.end.date() == spike.start.date() else f"{spike.end:%Y-%m-%d %H:%M}"
    return f"{spike.start:%Y-%m-%d %H:%M} to {end} UTC"


_TEMPLATES = Environment(
    loader=PackageLoader("alerts"),
    autoescape=select_autoescape(enabled_extensions=("html.j2",)),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(isolate=isolate, plural=_plural, utc_minute=_utc_minute, window=_window)
