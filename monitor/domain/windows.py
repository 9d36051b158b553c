"""Buckets of event time, and what was counted in them."""

from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from pydantic import NonNegativeInt

from monitor.domain.record import Record, UtcDatetime

BUCKET_S = 300
"""Width of the finest bucket, in seconds; every other resolution is a multiple of it."""

RESOLUTIONS_S: dict[str, int] = {"5m": BUCKET_S, "1h": 3600, "1d": 86400}

KeyKind = Literal["all", "topic", "source", "entity"]


class Key(NamedTuple):
    """What is counted: everything, a topic, a source, or whom the text names."""

    kind: KeyKind
    name: str

    def __str__(self) -> str:
        return self.name if self.kind == "all" else f"{self.kind}:{self.name}"


ALL = Key("all", "all")


def bucket_start(moment: datetime, width_s: int = BUCKET_S) -> datetime:
    """Start of the half-open bucket [start, start + width) that holds `moment`.

    Buckets are aligned to the Unix epoch, so days are UTC days and no clock change moves them.
    """
    return datetime.fromtimestamp(bucket_start_s(moment, width_s), UTC)


def bucket_start_s(moment: datetime, width_s: int = BUCKET_S) -> int:
    """The same in seconds since the Unix epoch."""
    return int(moment.timestamp() // width_s) * width_s


def bucket_number(moment: datetime) -> int:
    """The 5-minute bucket that holds `moment`, counted from the Unix epoch."""
    return bucket_start_s(moment) // BUCKET_S


def bucket_moment(number: int) -> datetime:
    """When that bucket starts."""
    return datetime.fromtimestamp(number * BUCKET_S, UTC)


class WindowStats(Record):
    """Counts of one key over the half-open window [start, end) of event time.

    Units: `positive` ... `unlabelled` in articles; `polarity_micro` is the sum over labelled articles of positive
        minus negative probability, in millionths (an integer, so that sums do not depend on their order).
        `stories`: those that the key had not had for a day; `negative_stories`: those told as bad news for the first
        time in a day; both add up over buckets. `sources`: distinct ones, which do not add up. What has been stored
        and not looked at yet is not in these three.
    """

    key: Key
    start: UtcDatetime
    end: UtcDatetime
    positive: NonNegativeInt = 0
    neutral: NonNegativeInt = 0
    negative: NonNegativeInt = 0
    unlabelled: NonNegativeInt = 0
    polarity_micro: int = 0
    stories: NonNegativeInt = 0
    negative_stories: NonNegativeInt = 0
    sources: NonNegativeInt = 0

    @property
    def labelled(self) -> int:
        return self.positive + self.neutral + self.negative

    @property
    def articles(self) -> int:
        return self.labelled + self.unlabelled

    @property
    def mean_polarity(self) -> float | None:
        """In [-1, 1]; None where nothing was labelled."""
        return self.polarity_micro / 1e6 / self.labelled if self.labelled else None

    @property
    def negative_share(self) -> float | None:
        """In [0, 1]; None where nothing was labelled."""
        return self.negative / self.labelled if self.labelled else None


def window(end: datetime, length: timedelta) -> tuple[datetime, datetime]:
    """The window of whole buckets that ends with the bucket holding `end`, open or not, and is at most `length` long.

    The newest bucket counts as it fills, so a detector need not wait for it to close.
    """
    closing = bucket_start(end) + timedelta(seconds=BUCKET_S)
    return closing - length, closing
