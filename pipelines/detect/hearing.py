"""Whose news came, and when: told by the polls that were made, and by the rhythm of what arrives."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from monitor.domain.windows import bucket_moment
from monitor.storage.coverage import Exposure, Observed
from pipelines.detect.silence import Silence

_AMENDED = 288
"""Buckets that silence reaches back: further, all is learned."""


class Heard(NamedTuple):
    """The share of the usual sources that were heard, in [0, 1], and those that were not.

    `amended`: past buckets that turn out to have been heard less, since silence is told late; with their shares.
    """

    share: float
    silent: frozenset[str]
    amended: Mapping[int, float]


class Hearing:
    """What is known of a bucket once it is over: the less of what polls and arrivals say.

    Polls tell of feeds that fail, arrivals of those that answer and have nothing, and of archives, which nobody polls.
    """

    def __init__(self) -> None:
        self._silence = Silence()
        self._silent: frozenset[str] = frozenset()
        self._polls: Exposure | None = None

    def know(self, polls: Exposure | None) -> None:
        """What the polls have told by now; None where nothing is polled."""
        self._polls = polls

    def take(self, bucket: int, sources: Iterable[str]) -> None:
        """These sources had news in this bucket."""
        self._silence.observe(bucket, dict.fromkeys(sources, 1))

    def heard(self, bucket: int) -> Heard:
        """To be asked of one bucket after the other, when it is over."""
        self._silence.observe(bucket + 1, {})
        share, silent = self._silence.share(bucket), frozenset(self._silence.silent())
        fallen = silent - self._silent
        since = [start for source in sorted(fallen) if (start := self._silence.since(source)) is not None]
        first = max(min(since, default=bucket), bucket - _AMENDED)
        amended = {past: self._silence.share(past) for past in range(first, bucket)}
        self._silent = silent
        polled = self._polled(bucket)
        if polled is None or polled.share is None:
            return Heard(share, silent, amended)
        return Heard(min(share, polled.share), silent | (polled.expected - polled.heard), amended)

    def _polled(self, bucket: int) -> Observed | None:
        return None if self._polls is None else self._polls.get(bucket_moment(bucket))

    def dump(self) -> bytes:
        return self._silence.dump()

    def load(self, state: bytes) -> None:
        """Raises: ValueError, if another version has dumped it."""
        self._silence.load(state)
        self._silent = frozenset(self._silence.silent())
