"""Which keys have fired: once in an episode, again only if it clearly grows, and over once it stays low."""

from collections.abc import Callable, Collection, Hashable
from typing import Any

from pipelines.detect.detectors._packed import key_of, name_of
from pipelines.detect.detectors._past import PER_HOUR

_GROWTH = 1.5
_BAR_HALF_LIFE = 12 * PER_HOUR
_REFRACTORY = 2 * PER_HOUR
_QUIET = 2 * PER_HOUR
_LOW = 0.5


class Episode:
    """A key that has fired: how high, when, until when it stayed high, and whether it goes on."""

    __slots__ = ("fired_at", "high_at", "is_open", "peak")

    def __init__(self, peak: float, fired_at: int, high_at: int, is_open: bool) -> None:
        self.peak = peak
        self.fired_at = fired_at
        self.high_at = high_at
        self.is_open = is_open

    def level(self, bucket: int) -> float:
        """The score it has fired at, halved every 12 hours."""
        return float(self.peak * 0.5 ** ((bucket - self.fired_at) / _BAR_HALF_LIFE))


class Episodes:
    """Cool-down, hysteresis and escalation in one: right after a firing only a 1.5 times stronger score speaks; after
    12 hours one of three quarters may. Nothing within 2 hours.

    An episode is over once its score has stayed below half the threshold for 2 hours in which the key was heard.
    """

    def __init__(self) -> None:
        self._of: dict[Hashable, Episode] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._of

    def bar(self, key: Hashable, bucket: int) -> float:
        """What a score has to reach to fire."""
        episode = self._of.get(key)
        return 0.0 if episode is None else _GROWTH * episode.level(bucket)

    def rests(self, key: Hashable, bucket: int) -> bool:
        """Whether it has fired so lately that no score speaks."""
        episode = self._of.get(key)
        return episode is not None and bucket - episode.fired_at < _REFRACTORY

    def fired(self, key: Hashable, value: float, bucket: int) -> bool:
        """Remembers it; returns whether an episode opens by it."""
        before = self._of.get(key)
        peak = value if before is None else max(value, before.level(bucket))
        self._of[key] = Episode(peak, bucket, bucket, is_open=True)
        return before is None or not before.is_open

    def close(
        self,
        bucket: int,
        score: Callable[[Hashable], float],
        *,
        threshold: float,
        observed: float,
        silent: Collection[Hashable],
    ) -> list[tuple[Hashable, int]]:
        """The bucket is over: returns the episodes that are, too."""
        ended = []
        for key, episode in list(self._of.items()):
            if not episode.is_open:
                if _GROWTH * episode.level(bucket) < threshold * _LOW:
                    del self._of[key]
            elif observed <= 0 or key in silent:
                episode.high_at += 1
            elif score(key) >= threshold * _LOW:
                episode.high_at = bucket
            elif bucket - episode.high_at >= _QUIET:
                episode.is_open = False
                ended.append((key, bucket))
        return ended

    def open(self) -> list[Hashable]:
        return [key for key, episode in self._of.items() if episode.is_open]

    def dump(self) -> list[Any]:
        return [[name_of(key), one.peak, one.fired_at, one.high_at, one.is_open] for key, one in self._of.items()]

    def load(self, state: list[Any]) -> None:
        self._of = {key_of(name): Episode(*rest) for name, *rest in state}
