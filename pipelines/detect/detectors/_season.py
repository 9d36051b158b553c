"""How busy each hour of the week is, shared by all keys."""

from typing import Any

_HALF_LIFE_H = 3 * 168
_HOURS = 168
_DAY = 24
# Hours' worth of belief: in a week like its days, and in a day without hours.
_WEIGHT_OF_DAY = 1.5
_WEIGHT_OF_MEAN = 3.0
_FLOOR = 0.03
_PER_HOUR = 12


class Season:
    """The volume of an hour of the week, relative to that of all hours.

    Each hour of the week is believed to be like that hour of other days, and that like all hours, until it was seen
    often enough. Forgets with a half-life of three weeks.
    """

    def __init__(self) -> None:
        self._fade = 0.5 ** (1 / _HALF_LIFE_H)
        self._volume = [0.0] * _HOURS
        self._seen = [0.0] * _HOURS
        self._hour: int | None = None

    def learn(self, bucket: int, stories: float, observed: float) -> None:
        """Takes in the next bucket, in time order."""
        hour = bucket // _PER_HOUR
        if self._hour is not None and hour > self._hour:
            fade = self._fade ** (hour - self._hour)
            self._volume = [value * fade for value in self._volume]
            self._seen = [value * fade for value in self._seen]
        self._hour = hour
        if observed > 0:
            self._volume[hour % _HOURS] += stories
            self._seen[hour % _HOURS] += observed / _PER_HOUR

    def factor(self, bucket: int) -> float:
        """How much busier than the mean the hour of this bucket is; 1 while nothing is known."""
        volume, seen = sum(self._volume), sum(self._seen)
        if volume <= 0 or seen <= 0:
            return 1.0
        mean = volume / seen
        hour = bucket // _PER_HOUR % _HOURS
        day = hour % _DAY
        of_day = (sum(self._volume[day::_DAY]) / mean + _WEIGHT_OF_MEAN) / (
            sum(self._seen[day::_DAY]) + _WEIGHT_OF_MEAN
        )
        factor = (self._volume[hour] / mean + _WEIGHT_OF_DAY * of_day) / (self._seen[hour] + _WEIGHT_OF_DAY)
        return max(_FLOOR, factor)

    def dump(self) -> list[Any]:
        return [self._hour, self._volume, self._seen]

    def load(self, state: list[Any]) -> None:
        self._hour, self._volume, self._seen = state
