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


def severity_of(per_week: float) -> Severity:
    """Severity of what a key does so often a week by itself: critical once in two years, severe once in half a year."""
    if per_week > 1 / 26:
        return Severity.WARNING
    return Severity.SEVERE if per_week > 1 / 104 else Severity.CRITICAL


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
        lets expect there, with nineteen chances in twenty between `low` and `high`; `score` in standard deviations;
        `per_week` how often a week this key by itself scores as high; `sources` distinct sources of the negative
        stories; `horizon_s` the length of the window; `threshold` the score from which the key fired. None: stated by
        a release that did not tell. `resolved_at` None: not over yet.
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
    resolved_at: UtcDatetime | None = None
    horizon_s: NonNegativeInt | None = None
    low: NonNegativeFloat | None = None
    high: NonNegativeFloat | None = None
    per_week: NonNegativeFloat | None = None
    threshold: float | None = None
    stories: tuple[StoryEvidence, ...] = ()
