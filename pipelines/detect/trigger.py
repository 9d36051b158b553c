"""Turns scores into spikes: one firing per episode, another only if it clearly grows, one end."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from monitor.domain.windows import Key
from monitor.storage.spikes import Episode

_REFRACTORY = timedelta(hours=2)
_GROWTH = 1.5
_BAR_HALF_LIFE = timedelta(hours=12)
_QUIET = timedelta(hours=2)


class Trigger:
    """Remembers the latest spike of each key, and nothing else; `episodes` comes from the table at start.

    Units: `threshold` in standard deviations. A key fires at the threshold, and after a spike of score S only at
        1.5 S, a bar that halves every 12 hours. An episode is over once the key has stayed below half the threshold
        for 2 hours.
    """

    def __init__(self, threshold: float, episodes: Mapping[Key, Episode]) -> None:
        self._threshold = threshold
        self._episodes = dict(episodes)

    def fires(self, key: Key, score: float, now: datetime) -> bool:
        """Whether this score is a new spike."""
        if score < self._threshold:
            return False
        episode = self._episodes.get(key)
        if episode is None:
            return True
        age = now - episode.spike.detected_at
        return age >= _REFRACTORY and score >= _GROWTH * episode.spike.score * 0.5 ** (age / _BAR_HALF_LIFE)

    def stated(self, episode: Episode) -> None:
        """A spike was stated."""
        self._episodes[episode.spike.key] = episode

    def high(self, scores: Mapping[Key, float], now: datetime) -> list[tuple[str, datetime]]:
        """Notes which open episodes go on; returns their spike ids, with the time."""
        going_on = []
        for key, score in scores.items():
            episode = self._episodes.get(key)
            if episode is not None and episode.spike.state == "firing" and score >= self._threshold / 2:
                self._episodes[key] = episode._replace(last_high_at=now)
                going_on.append((episode.spike.id, now))
        return going_on

    def resolve(self, now: datetime) -> list[tuple[str, datetime]]:
        """Ends the episodes that have been quiet long enough; returns their spike ids, with when that was."""
        over = []
        for key, episode in self._episodes.items():
            if episode.spike.state == "firing" and now - episode.last_high_at >= _QUIET:
                self._episodes[key] = episode._replace(spike=episode.spike.model_copy(update={"state": "resolved"}))
                over.append((episode.spike.id, episode.last_high_at + _QUIET))
        return over
