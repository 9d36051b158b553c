"""From arrivals to alerts: stories, counts, and the detector, in the order in which things were heard of."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple, Protocol

from monitor.bench.archive import Archive, Item
from monitor.bench.bursts import Arrival, Stream
from monitor.bench.scoring import GRACE_S, Alert, Event, told
from monitor.domain.record import fingerprint
from monitor.domain.stories import FirstTold
from monitor.domain.windows import ALL, BUCKET_S
from pipelines.detect import events as events_module
from pipelines.detect.detector import Detector
from pipelines.ingest.normalise import story_text


class Clusterer(Protocol):
    """Says which story an article tells; articles come in time order."""

    def assign(self, article_id: str, title: str, summary: str, at: datetime) -> str: ...


class SameTitle:
    """Articles tell one story if their titles are the same but for marks, case and punctuation."""

    def assign(self, article_id: str, title: str, summary: str, at: datetime) -> str:  # noqa: ARG002
        return story_text(title) or title


class Gap(NamedTuple):
    """Nothing was heard within [start, end), and that is known; Unix seconds."""

    start: int
    end: int


Outline = Mapping[int, int]
"""Stories that arrived in all, per bucket: what the season is learned from."""


def assign(items: Iterable[Item], clusterer: Clusterer) -> list[str]:
    """The story of each item, which must be in time order."""
    return [
        clusterer.assign(
            fingerprint("bench", str(number)), item.title, item.summary, datetime.fromtimestamp(item.at, UTC)
        )
        for number, item in enumerate(items)
    ]


def base_events(stream: Stream, stories: Sequence[str], arrivals: Sequence[Arrival] | None = None) -> list[Event]:
    """Without what was injected; `stories` of each item of the archive."""
    return [
        Event(item.at, key, negative, stories[place], item.at)
        for item, labels, place in (stream.base if arrivals is None else arrivals)
        if place is not None
        for key, negative in labels
    ]


def all_events(stream: Stream, make: Callable[[], Clusterer]) -> tuple[list[Event], list[list[str]], Outline]:
    """Everything through one clusterer, in time order; the stories of each injection; and the outline."""
    archive = stream.archive
    labels = {arrival.place: arrival.labels for arrival in stream.base}
    whole = [Arrival(item, labels.get(place, ()), place) for place, item in enumerate(archive.items)]
    arrivals = sorted([*whole, *stream.injected], key=lambda arrival: arrival.item.at)
    stories = assign((arrival.item for arrival in arrivals), make())
    events = [
        Event(arrival.item.at, key, negative, story, arrival.item.at)
        for arrival, story in zip(arrivals, stories, strict=True)
        for key, negative in arrival.labels
    ]
    added: dict[tuple[str, int], list[str]] = {}
    for arrival, story in zip(arrivals, stories, strict=True):
        if arrival.place is None:
            added.setdefault((arrival.labels[0][0], arrival.item.at), []).append(story)
    per_injection = [
        [
            story
            for at in sorted({at for key, at in added if key == one.key and one.start <= at < one.end})
            for story in added[one.key, at]
        ]
        for one in stream.injections
    ]
    return events, per_injection, outline([arrival.item for arrival in arrivals], stories)


def outline(items: Sequence[Item], stories: Sequence[str]) -> Outline:
    first = FirstTold()
    found: Counter[int] = Counter()
    for item, story in zip(items, stories, strict=True):
        found[item.at // BUCKET_S] += first.take(ALL, story, item.at, negative=False).story
    return found


def replay(detector: Detector, events: Iterable[Event]) -> list[Alert]:
    """The alerts of `monitor detect --events` to the same events, which must be in time order."""
    given = (events_module.Event(event.at, event.key, event.negative, event.story) for event in events)
    found = events_module.alerts_of(detector, given, late_s=GRACE_S)
    return [Alert(int(one.time_s), str(one.finding.key), one.finding.score.value) for one in found]


def follow(
    detector: Detector, archive: Archive, events: Sequence[Event], volumes: Outline, gap: Gap | None = None
) -> list[Alert]:
    """The detector's alerts to events in the order in which they are heard of; as the daemon does it.

    All that one instant brings is taken in, then each key that drew a new negative story is judged. A stamp ahead of
    its arrival moves nothing ahead. `gap`: then nothing was heard, and the detector is told so.
    """
    found = []
    clock = _Clock(detector, archive.start // BUCKET_S, volumes, gap)
    for arrives, group in groupby(told(events), key=lambda one: one.event.arrives):
        together = list(group)
        clock.go_on(arrives // BUCKET_S)
        for event, negative, stories in together:
            detector.take(event.key, min(event.at, arrives) // BUCKET_S, negative, stories)
        for key in sorted({one.event.key for one in together if one.negative}):
            finding = detector.judge(key)
            if finding is not None:
                found.append(Alert(arrives, key, finding.score.value))
    return found


class _Clock:
    """Moves a detector on, and tells it on the way what arrived in all and what was not heard."""

    def __init__(self, detector: Detector, start: int, volumes: Outline, gap: Gap | None) -> None:
        self._detector = detector
        self._volumes = sorted(volumes.items(), reverse=True)
        self._silent = range(gap.start // BUCKET_S, gap.end // BUCKET_S) if gap else range(0)
        self._now = start
        detector.advance(start)

    def go_on(self, bucket: int) -> None:
        while self._now < bucket:
            self._detector.advance(self._now + 1, observed=0.0 if self._now in self._silent else 1.0)
            self._now += 1
            self._tell()
        self._tell()

    def _tell(self) -> None:
        while self._volumes and self._volumes[-1][0] <= self._now:
            at, stories = self._volumes.pop()
            if at not in self._silent:
                self._detector.volume(at, stories)
