"""A spike: the fact that a key drew more negative stories than its own past explains."""

from enum import StrEnum
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from monitor.domain.record import Record, UtcDatetime
from monitor.domain.windows import Key


class Severity(StrEnum):
    """How surprising a spike is: see `severity_of`."""

    WARNING = "warning"
    SEVERE = "severe"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


def severity_of(score: float) -> Severity:
    """Severity of a score in standard deviations: warning below 6, severe below 9, critical from there."""
    if score < 6:
        return Severity.WARNING
    return Severity.SEVERE if score < 9 else Severity.CRITICAL


class StoryEvidence(Record):
    """One negative story behind a spike, told by its earliest article in the window.

    Units: `probability` of the negative label, in [0, 1]; `articles` and `sources` counts within the window.
    """

    story_id: str
    article_id: str
    title: str
    url: str | None
    source: str
    published_at: UtcDatetime
    topic: str
    probability: NonNegativeFloat
    articles: NonNegativeInt
    sources: NonNegativeInt


class Spike(Record):
    """A burst of negative stories on one key, with the evidence for it.

    Units: `observed` distinct negative stories of `total` stories in [start, end); `expected` what the key's past
        lets expect there; `score` in standard deviations; `sources` distinct sources of the negative stories.
    """

    id: str
    key: Key
    start: UtcDatetime
    end: UtcDatetime
    detected_at: UtcDatetime
    observed: NonNegativeInt
    total: NonNegativeInt
    expected: NonNegativeFloat
    score: float
    severity: Severity
    sources: NonNegativeInt
    detector: str
    state: Literal["firing", "resolved"] = "firing"
    stories: tuple[StoryEvidence, ...] = ()
