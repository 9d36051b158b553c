"""Runs a detector over a series of events: who was written about, when, whether badly, and in which story."""

from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

from monitor.domain.stories import FirstTold
from monitor.domain.windows import BUCKET_S
from pipelines.detect.detector import Detector, Finding

MOST_AHEAD_S = 366 * 86_400
"""A step into the future that no gap explains."""


class Event(NamedTuple):
    """A key appeared in a story. Units: `time_s` since 1970."""

    time_s: float
    key: Hashable
    negative: bool
    story: str


class Alert(NamedTuple):
    """What the detector found, at the time of the event by which it did."""

    time_s: float
    finding: Finding


class Run:
    """Feeds events to a detector as they come, and asks it for each key that has just drawn a negative story.

    Events of one instant are taken together: their order does not matter. One that is late by less than the longest
    horizon amends its bucket; time itself never goes back.
    """

    def __init__(self, detector: Detector, *, late_s: int) -> None:
        self._detector = detector
        self._late_s = late_s
        self._told = FirstTold()
        self._now_s: float | None = None
        self._hot: dict[Hashable, None] = {}

    def take(self, event: Event) -> list[Alert]:
        """Returns what the events of the instant before have led to, once time goes on.

        Raises: ValueError, if it lies out of order by more than can be amended; then nothing has changed.
        """
        self._check(event)
        alerts: list[Alert] = []
        if self._now_s is None or event.time_s > self._now_s:
            alerts = self.finish()
            self._now_s = event.time_s
            self._detector.advance(_bucket(event.time_s))
        new = self._told.take(event.key, event.story, event.time_s, negative=event.negative)
        if new.negative or new.story:
            bucket = _bucket(event.time_s)
            self._detector.volume(bucket, new.story)
            self._detector.take(event.key, bucket, new.negative, new.story)
        if new.negative:
            self._hot[event.key] = None
        return alerts

    def finish(self) -> list[Alert]:
        """What the events of the last instant lead to."""
        found = [self._detector.judge(key) for key in self._hot]
        self._hot.clear()
        return [Alert(self._now_s or 0.0, finding) for finding in found if finding is not None]

    def _check(self, event: Event) -> None:
        if self._now_s is None:
            return
        step = event.time_s - self._now_s
        if step <= -self._late_s:
            raise ValueError(
                f"lies {-step / 3600:.1f} h before an earlier row; sort the rows by time: "
                f"up to {self._late_s / 3600:g} h late is taken in"
            )
        if step > MOST_AHEAD_S:
            raise ValueError(
                f"lies {step / 86_400:.0f} days after the row before; if the time is right, split the file there"
            )


def alerts_of(detector: Detector, events: Iterable[Event], *, late_s: int) -> Iterator[Alert]:
    """The alerts of events in time order, each as soon as the next instant has begun."""
    run = Run(detector, late_s=late_s)
    for event in events:
        yield from run.take(event)
    yield from run.finish()


def _bucket(time_s: float) -> int:
    return int(time_s // BUCKET_S)
