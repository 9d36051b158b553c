"""Which sources have fallen silent, told from their arrivals alone: for archives, and for what is pushed."""

import json
import math
from array import array
from collections.abc import Mapping, Set
from typing import Any

_VERSION = "silence-1"

_BUCKETS_PER_HOUR = 12
_HOURS = 168
_WEEK = _HOURS * _BUCKETS_PER_HOUR
_LONG_GONE = 12 * _WEEK
_DECAY = 0.5 ** (1 / 3)  # a week: half after three
_SURE = 9.0  # e^-9: once in eight thousand
_DISPERSION = 0.03
_COMMON_DISPERSION = 0.1  # holidays are the same for many
_PRIOR_H = 24.0
_SHRINK_H = 0.05
_FLOOR = 0.03


class Silence:
    """Learns the rhythm of each source, and calls it silent once it has been owed too much.

    A source is due by its own mean rate and its hours of day and week, each shrunk to the coarser. What counts is the
    5-minute buckets in which it brought anything, so that a batch is one sign of life. It is silent when the chance of
    nothing since its last item, under a gamma-Poisson law, is below e^-9; then it has been silent since that item, and
    what it would have brought is missed. After a week of that it is forgotten. When nothing comes from anybody, what
    they all owe together counts as well: then all are silent, though each by itself might just be late.
    Nobody is judged in its first week.

    Units: buckets are numbered from the Unix epoch, 300 s each. Rates are buckets with items per hour.
    Cost: about 3 KB a source; a bucket costs one step per source that is not silent.
    """

    def __init__(self) -> None:
        self._bucket: int | None = None
        self._sources: dict[str, _Rhythm] = {}
        # Of all sources together: the last item, what they owe since, and the last silence, half-open.
        self._last = 0
        self._owed = 0.0
        self._all_silent = False
        self._gap = (0, 0)

    def observe(self, bucket: int, counts_by_source: Mapping[str, int]) -> None:
        """So many items of each source in this bucket, in one call or many; without any, time goes on to it.

        Buckets come in order: items of a past one arrived late, and say nothing of who was heard then.
        """
        if self._bucket is None:
            self._bucket = self._last = bucket
        while self._bucket < bucket:
            self._close(self._bucket)
            self._bucket += 1
        if bucket < self._bucket:
            return
        for source, count in counts_by_source.items():
            if count > 0:
                rhythm = self._sources.get(source)
                if rhythm is None:
                    rhythm = self._sources[source] = _Rhythm(bucket)
                rhythm.take(bucket, count)
                if self._all_silent:
                    self._gap = (self._last + 1, bucket)
                    self._all_silent = False
                self._last = bucket
                self._owed = 0.0

    def share(self, bucket: int) -> float:
        """The usual volume of that hour that comes from sources not silent in the bucket, in [0, 1].

        By all that is known now; 1 while there is nothing to judge by. Of a source's silences the last is remembered.
        """
        if (self._all_silent and bucket > self._last) or self._gap[0] <= bucket < self._gap[1]:
            return 0.0
        hour = bucket // _BUCKETS_PER_HOUR % _HOURS
        volumes = [(rhythm.volume(hour), rhythm.silent_in(bucket)) for rhythm in self._sources.values()]
        # Summed exactly: the order in which sources came to be known must not matter.
        usual = math.fsum(volume for volume, _ in volumes)
        heard = math.fsum(volume for volume, silent in volumes if not silent)
        return heard / usual if usual > 0 else 1.0

    def silent(self) -> Set[str]:
        """The sources silent now."""
        if self._all_silent:
            return set(self._sources)
        return {source for source, rhythm in self._sources.items() if rhythm.is_silent}

    def since(self, source: str) -> int | None:
        """The first bucket that the source has missed; None if it is not silent, or not known."""
        rhythm = self._sources.get(source)
        if rhythm is None:
            return None
        if rhythm.is_silent:
            return rhythm.last + 1
        return self._last + 1 if self._all_silent else None

    def _close(self, bucket: int) -> None:
        """Nothing more comes in this bucket."""
        if self._all_silent:
            return  # what nobody listened to teaches nothing
        gone = []
        for source, rhythm in self._sources.items():
            rhythm.close(bucket)
            # One that came too seldom to be missed goes too, in time.
            if bucket - rhythm.last >= (_WEEK if rhythm.is_silent else _LONG_GONE):
                gone.append(source)
        for source in gone:
            del self._sources[source]
        if bucket > self._last:
            self._owed += math.fsum(rhythm.due(bucket) for rhythm in self._sources.values()) / _BUCKETS_PER_HOUR
            self._all_silent = _unlikely(self._owed, 1 / _COMMON_DISPERSION)

    def dump(self) -> bytes:
        """The whole state; equal states are equal bytes."""
        return json.dumps(
            {
                "version": _VERSION,
                "bucket": self._bucket,
                "all": [self._last, self._owed, self._all_silent, *self._gap],
                "sources": {source: rhythm.dump() for source, rhythm in sorted(self._sources.items())},
            },
            ensure_ascii=True,
            separators=(",", ":"),
        ).encode()

    def load(self, state: bytes) -> None:
        """Goes on exactly where `dump` was called.

        Raises: ValueError, if the state is of another version; then nothing changed.
        """
        told = json.loads(state)
        if told.get("version") != _VERSION:
            raise ValueError(f"expected a state of {_VERSION}, got one of {told.get('version')}: learn anew")
        self._bucket = told["bucket"]
        self._last, self._owed, self._all_silent, *gap = told["all"]
        self._gap = (gap[0], gap[1])
        self._sources = {source: _Rhythm.load(fields) for source, fields in told["sources"].items()}


class _Rhythm:
    """How often one source brings anything, by hour of week, and what it has owed since it last did."""

    __slots__ = (
        "_due",
        "_gap",
        "_hits",
        "_hours",
        "_items",
        "_known",
        "_owed",
        "_pending",
        "_size",
        "is_silent",
        "last",
    )

    def __init__(self, bucket: int) -> None:
        self.last = bucket
        self.is_silent = False
        self._known = bucket
        self._gap = (bucket, bucket)  # the last silence, half-open
        self._pending = 0
        self._items = 0.0
        self._hits = array("d", [0.0]) * _HOURS
        self._hours = array("d", [0.0]) * _HOURS
        self._owed = 0.0
        self._due = 0.0
        self._size = 1.0

    def take(self, bucket: int, count: int) -> None:
        self._pending += count
        if self.is_silent:
            self._gap = (self.last + 1, bucket)
            self.is_silent = False
        self.last = bucket
        self._owed = 0.0

    def close(self, bucket: int) -> None:
        """Scores first, learns later; learns nothing more of an hour that it calls missed."""
        if self.is_silent:
            return
        hour = bucket // _BUCKETS_PER_HOUR % _HOURS
        if bucket % _BUCKETS_PER_HOUR == 0:
            self._hits[hour] *= _DECAY
            self._hours[hour] *= _DECAY
            self._items *= _DECAY ** (1 / _HOURS)
            self._due = self.rate(hour)
            self._size = 1 / (_DISPERSION + 1 / max(1.0, sum(self._hits)))
        self._hours[hour] += 1 / _BUCKETS_PER_HOUR
        if self._pending:
            self._hits[hour] += 1.0
            self._items += self._pending
            self._pending = 0
            return
        self._owed += self._due / _BUCKETS_PER_HOUR
        self.is_silent = bucket - self._known >= _WEEK and _unlikely(self._owed, self._size)

    def due(self, bucket: int) -> float:
        """Buckets with items an hour that are expected of it now."""
        return 0.0 if self.is_silent or bucket - self._known < _WEEK else self._due

    def rate(self, hour: int) -> float:
        mean = sum(self._hits) / (sum(self._hours) + _PRIOR_H)
        of_day = slice(hour % 24, _HOURS, 24)
        daily = (sum(self._hits[of_day]) + _SHRINK_H * mean) / (sum(self._hours[of_day]) + _SHRINK_H)
        weekly = (self._hits[hour] + _SHRINK_H * daily) / (self._hours[hour] + _SHRINK_H)
        return max(weekly, _FLOOR * mean)

    def volume(self, hour: int) -> float:
        """Items that are usual in this hour of the week."""
        hits = sum(self._hits)
        return self.rate(hour) * self._items / hits if hits > 0 else 0.0

    def silent_in(self, bucket: int) -> bool:
        return (self.is_silent and bucket > self.last) or self._gap[0] <= bucket < self._gap[1]

    def dump(self) -> dict[str, Any]:
        fields = {name.lstrip("_"): getattr(self, name) for name in self.__slots__}
        return {name: value.tolist() if isinstance(value, array) else value for name, value in fields.items()}

    @classmethod
    def load(cls, fields: Mapping[str, Any]) -> "_Rhythm":
        rhythm = cls(0)
        for name in cls.__slots__:
            value, here = fields[name.lstrip("_")], getattr(rhythm, name)
            if isinstance(here, array):
                value = array("d", value)
            setattr(rhythm, name, tuple(value) if isinstance(here, tuple) else value)
        return rhythm


def _unlikely(owed: float, size: float) -> bool:
    """Whether nothing at all, where so much was due, is hardly chance. Source: a negative binomial's P(0)."""
    return size * math.log1p(owed / size) > _SURE
