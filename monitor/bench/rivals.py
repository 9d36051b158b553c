"""What one would use instead of the detector, on the same counts of stories.

Each sees the counts of every closed bucket of five minutes, fires where it finds at least four negative stories within
two hours, and rests for two hours after an alert.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np

from monitor.bench.scoring import LEAST_STORIES, Alert, Told
from monitor.domain.windows import BUCKET_S

REST: Final = 24  # buckets
_HOUR: Final = 3600 // BUCKET_S
_DAY: Final = 24 * _HOUR

Fires = Callable[[float], np.ndarray]
"""From a setting to where the rival fires by it; bool, of the shape of the counts."""


@dataclass(frozen=True)
class Counts:
    """New stories per key and bucket; arrays of shape (keys, buckets), the first bucket being `first`."""

    keys: Sequence[str]
    first: int
    negative: np.ndarray
    stories: np.ndarray

    @classmethod
    def of(cls, told: Iterable[Told], keys: Iterable[str], start: int, end: int) -> "Counts":
        """Those between two Unix times."""
        names = list(keys)
        first = start // BUCKET_S
        shape = len(names), (end - 1) // BUCKET_S - first + 1
        counts = cls(names, first, np.zeros(shape), np.zeros(shape))
        rows = {name: row for row, name in enumerate(names)}
        for event, negative, stories in told:
            at = rows[event.key], event.arrives // BUCKET_S - first
            if 0 <= at[1] < shape[1]:
                counts.negative[at] += negative
                counts.stories[at] += stories
        return counts

    @cached_property
    def hourly(self) -> np.ndarray:
        """Negatives of the hour that ends with each bucket."""
        return rolling(self.negative, _HOUR)

    @cached_property
    def share(self) -> np.ndarray:
        """Negatives of all, over the two hours that end with each bucket; 0 where there was none."""
        stories = rolling(self.stories, 2 * _HOUR)
        return np.asarray(rolling(self.negative, 2 * _HOUR) / np.maximum(stories, 1))

    @cached_property
    def enough(self) -> np.ndarray:
        return rolling(self.negative, 2 * _HOUR) >= LEAST_STORIES


class Rival(NamedTuple):
    """`settings` are those tried; `best` had the highest F1 over seeds 0 to 4 of the Reuters archive of 2011."""

    name: str
    settings: tuple[float, ...]
    best: float
    prepare: Callable[[Counts], Fires]


def rolling(values: np.ndarray, width: int) -> np.ndarray:
    """Sums over the last `width` columns, the present one among them."""
    summed = np.cumsum(values, axis=1)
    summed[:, width:] = summed[:, width:] - summed[:, :-width].copy()
    return summed


def alerts(counts: Counts, fires: np.ndarray) -> list[Alert]:
    """At the end of each bucket in which it fires, if that is enough evidence and the key was not just alerted."""
    found = []
    for row, name in enumerate(counts.keys):
        free = 0
        for bucket in np.flatnonzero(fires[row] & counts.enough[row]).tolist():
            if bucket >= free:
                found.append(Alert((counts.first + bucket + 1) * BUCKET_S, name))
                free = bucket + REST
    return sorted(found)


def available() -> list[Rival]:
    """All of them; those of river only where it is installed."""
    return [rival for rival in RIVALS if not rival.name.startswith("river") or has_river()]


def has_river() -> bool:
    return importlib.util.find_spec("river") is not None


def _over(scores: np.ndarray, counts: Counts) -> Fires:
    """Fires at a score from a threshold on, in buckets that brought a negative story."""
    news = counts.negative > 0
    return lambda threshold: (scores >= threshold) & news


def _mean_and_sd(counts: Counts) -> Fires:
    width = 14 * _DAY
    hourly = counts.hourly
    # The hour at hand is no part of its own past.
    past = np.concatenate([np.zeros((len(hourly), _HOUR)), hourly[:, :-_HOUR]], axis=1)
    seen = np.minimum(np.arange(hourly.shape[1]) - _HOUR + 1, width).clip(1)
    mean = rolling(past, width) / seen
    sd = np.sqrt(np.maximum(rolling(past**2, width) / seen - mean**2, 0.0))
    return _over((hourly - mean) / np.maximum(sd, 1e-9), counts)


def _ewma(counts: Counts, smoothing: float = 0.1, half_life_days: float = 7.0) -> Fires:
    """Roberts's chart on the counts of buckets, its centre and spread learned with a half-life."""
    forget = 0.5 ** (1 / (half_life_days * _DAY))
    negative = counts.negative
    keys = len(negative)
    chart, total, square, weight = np.zeros(keys), np.zeros(keys), np.zeros(keys), 0.0
    narrow = (smoothing / (2 - smoothing)) ** 0.5
    scores = np.zeros_like(negative)
    for bucket, now in enumerate(negative.T):
        chart = smoothing * now + (1 - smoothing) * chart
        if weight:
            mean = total / weight
            sd = np.sqrt(np.maximum(square / weight - mean**2, 1e-9))
            scores[:, bucket] = (chart - mean) / (sd * narrow)
        total, square, weight = total * forget + now, square * forget + now**2, weight * forget + 1
    return _over(scores, counts)


def _share(counts: Counts) -> Fires:
    return _over(counts.share, counts)


def _gaussian(counts: Counts) -> Fires:
    """How many nines river's score has; nothing, where the hour is not above the mean."""
    anomaly: Any = importlib.import_module("river.anomaly")
    scores = np.zeros_like(counts.hourly)
    for row, values in enumerate(counts.hourly.tolist()):
        scorer = anomaly.GaussianScorer(window_size=14 * _DAY)
        for bucket, value in enumerate(values):
            # By rounding, its variance of a past of zeros may be below zero, and its deviation a complex number.
            if value > scorer.gaussian.mu:
                has_spread = isinstance(scorer.gaussian.sigma, float)
                scores[row, bucket] = -np.log10(max(1e-16, 1 - scorer.score_one(None, value))) if has_spread else 16.0
            scorer.learn_one(None, value)
    return _over(scores, counts)


def _half_space_trees(counts: Counts) -> Fires:
    """On the hour's negatives and their share, at every bucket that brought a story, and every hour."""
    anomaly: Any = importlib.import_module("river.anomaly")
    scores = np.zeros_like(counts.hourly)
    for row in range(len(counts.keys)):
        trees = anomaly.HalfSpaceTrees(n_trees=10, height=6, window_size=250, seed=1)
        for bucket in range(scores.shape[1]):
            if counts.stories[row, bucket] or bucket % _HOUR == 0:
                hour = float(counts.hourly[row, bucket])
                facts = {"negative": hour / (hour + 5), "share": float(counts.share[row, bucket])}
                if counts.negative[row, bucket]:
                    scores[row, bucket] = trees.score_one(facts)
                trees.learn_one(facts)
    return _over(scores, counts)


def _page_hinkley(counts: Counts) -> Fires:
    drift: Any = importlib.import_module("river.drift")
    return _changes(counts, lambda setting: drift.PageHinkley(threshold=setting, delta=0.005, mode="up"))


def _adwin(counts: Counts) -> Fires:
    drift: Any = importlib.import_module("river.drift")
    return _changes(counts, lambda setting: drift.ADWIN(delta=setting, clock=1))


def _changes(counts: Counts, make: Callable[[float], Any]) -> Fires:
    """Where a detector of changes finds the negatives of a bucket risen: the hour then is above the day."""
    risen = counts.hourly * 24 > rolling(counts.negative, _DAY)

    def fires(setting: float) -> np.ndarray:
        found = np.zeros(counts.negative.shape, dtype=bool)
        for row, values in enumerate(counts.negative.tolist()):
            detector = make(setting)
            for bucket, value in enumerate(values):
                detector.update(value)
                found[row, bucket] = detector.drift_detected
        return found & risen

    return fires


RIVALS: Final[tuple[Rival, ...]] = (
    Rival("mean + 3 sd, 14 days", (3.0,), 3.0, _mean_and_sd),
    Rival("mean + x sd, 14 days", (4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0), 6.0, _mean_and_sd),
    Rival("EWMA chart", (4.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0), 8.0, _ewma),
    Rival("share >= x", (0.4, 0.5, 0.6, 0.7, 0.8, 0.9), 0.6, _share),
    Rival("river GaussianScorer", (3.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0), 8.0, _gaussian),
    Rival("river HalfSpaceTrees", (0.8, 0.9, 0.95, 0.98, 0.99, 0.995), 0.98, _half_space_trees),
    Rival("river PageHinkley", (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0), 5.0, _page_hinkley),
    Rival("river ADWIN", (0.3, 0.05, 0.002, 1e-4, 1e-6, 1e-9), 0.05, _adwin),
)


def tuned(f1: Mapping[float, float]) -> float:
    """The setting with the highest F1; of equals, the first."""
    return max(f1, key=lambda setting: f1[setting])
