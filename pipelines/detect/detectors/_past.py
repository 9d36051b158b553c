"""The past of keys: their rate, their usual share of negatives, and the scores that they reach by themselves.

A key is one array of doubles: the numbers named here, then bucket, negatives and stories of each bucket that has not
left the longest horizon. Sums fade by their half-life, and only when they are touched.
"""

import math
from array import array
from collections.abc import Iterable
from typing import NamedTuple

from monitor.domain.windows import BUCKET_S
from pipelines.detect.detectors._statistics import count_z, share_z

PER_HOUR = 3600 // BUCKET_S
PER_DAY = 24 * PER_HOUR
PER_WEEK = 7 * PER_DAY

# Faded: negatives; exposure that passed unseen; negatives and stories of the share; peaks, the sum of their excess and
# the weeks that passed unseen. As they are: the bucket they are faded to, the peak that is under way, and its bucket.
_NEGATIVE, _UNSEEN, _SHARE_K, _SHARE_N, _PEAKS, _EXCESS, _UNSEEN_WEEKS, _UNTIL, _PEAK, _PEAK_AT, HEAD = range(11)

_DISPERSION = 0.3
_SHARE_HALF_LIFE_D = 30
_SHARE_MOST = 0.95
_CLUSTERING = 0.08
"""Correlation of the sign of stories of the same hours: they tell of the same event."""
_FULL_SHARE_Z = 1.9
"""From here on an unusual share lets all of an excess count."""

PEAK_Z = 3.0
"""A score above it is a peak: how often a key has them, and how far they reach, is learned."""
_PEAK_RUN = 2 * PER_HOUR
_PEAK_HALF_LIFE_W = 8
_PEAK_WEEKS, _PEAKS_A_WEEK = 2.0, 0.5
_EXCESS_WEIGHT, _EXCESS_MEAN, _EXCESS_MOST = 4.0, 0.8, 4.0

_FORGOTTEN = 0.01


class Level(NamedTuple):
    """What a key is used to: negatives a bucket of mean volume, the shape of their distribution, their share."""

    rate: float
    size: float
    share: float


class Beliefs(NamedTuple):
    """Of a key without a past: negatives a bucket, stories that is worth, share of negatives, stories that is worth."""

    rate: float
    weight: float
    share: float
    share_weight: float


class Past:
    """What all keys share of the past, and what to make of the numbers of one.

    Units: exposure in buckets of mean volume; `until` is the newest bucket learned.
    """

    def __init__(self, beliefs: Beliefs, *, half_life_days: float, age_weight: float, needs_share: bool) -> None:
        self.until = 0
        self.exposure = 0.0
        self.weeks = 0.0
        self._beliefs = beliefs
        self._prior_exposure = beliefs.weight / beliefs.rate
        self._unseen = 1 - age_weight
        self._needs_share = needs_share
        self._fade: float = 0.5 ** (1 / (half_life_days * PER_DAY))
        self._share_fade: float = 0.5 ** (1 / (_SHARE_HALF_LIFE_D * PER_DAY))
        self._peak_fade: float = 0.5 ** (1 / (_PEAK_HALF_LIFE_W * PER_WEEK))

    def new(self) -> "array[float]":
        """A key that was never seen before. The time before that was observed, and held nothing of it."""
        state = array("d", bytes(8 * HEAD))
        state[_UNSEEN] = self.exposure * self._unseen
        state[_UNSEEN_WEEKS] = self.weeks * self._unseen
        state[_UNTIL] = self.until
        return state

    # Learning, bucket by bucket.

    def begin(self, bucket: int) -> None:
        """Fades everything shared up to `bucket`, the next one."""
        self.exposure *= self._fade
        self.weeks *= self._peak_fade
        self.until = bucket

    def end(self, factor: float, observed: float) -> None:
        """The bucket has passed: `factor` of the mean volume was expected in it, and `observed` of it was heard."""
        self.exposure += factor * observed
        self.weeks += observed / PER_WEEK

    def missed(self, state: "array[float]", factor: float, observed: float) -> None:
        """The bucket that has begun is not observed for this key."""
        self._age(state)
        state[_UNSEEN] += factor * observed
        state[_UNSEEN_WEEKS] += observed / PER_WEEK

    def learn(self, state: "array[float]", factor: float, negative: float, stories: float, peak: float | None) -> None:
        """What the key drew in the bucket that has begun; `peak` is the score of what began with it."""
        self._age(state)
        if state[_PEAK] and self.until - state[_PEAK_AT] > _PEAK_RUN:
            self._count_peak(state)
        if peak is not None and peak > PEAK_Z:
            state[_PEAK] = max(state[_PEAK], peak - PEAK_Z)
            state[_PEAK_AT] = self.until
        exposure = max(0.0, self.exposure - state[_UNSEEN])
        rate = (state[_NEGATIVE] + self._beliefs.weight) / (exposure + self._prior_exposure)
        usual = rate * PER_HOUR * max(0.2, factor)
        # Winsorised, so that one burst does not teach the baseline to expect the next.
        state[_NEGATIVE] += min(negative, max(1.0, usual + 4 * math.sqrt(1.5 * usual + _DISPERSION * usual * usual)))
        state[_SHARE_K] += negative
        state[_SHARE_N] += max(stories, negative)

    def is_forgotten(self, state: "array[float]") -> bool:
        """Whether the key is as good as new; ends its last peak, if that is over."""
        if state[_PEAK] and self.until - state[_PEAK_AT] > _PEAK_RUN:
            self._age(state)
            self._count_peak(state)
        steps = self.until - state[_UNTIL]
        return (
            len(state) == HEAD
            and not state[_PEAK]
            and state[_NEGATIVE] * self._fade**steps < _FORGOTTEN
            and state[_SHARE_N] * self._share_fade**steps < _FORGOTTEN
            and state[_PEAKS] * self._peak_fade**steps < _FORGOTTEN
        )

    def _age(self, state: "array[float]") -> None:
        steps = self.until - state[_UNTIL]
        if steps <= 0:
            return
        fade, share_fade, peak_fade = self._fade**steps, self._share_fade**steps, self._peak_fade**steps
        state[_NEGATIVE] *= fade
        state[_UNSEEN] *= fade
        state[_SHARE_K] *= share_fade
        state[_SHARE_N] *= share_fade
        state[_PEAKS] *= peak_fade
        state[_EXCESS] *= peak_fade
        state[_UNSEEN_WEEKS] *= peak_fade
        state[_UNTIL] = self.until

    def _count_peak(self, state: "array[float]") -> None:
        """Peaks less than two hours apart were one; its height is learned once it is over, and winsorised."""
        usual = (state[_EXCESS] + _EXCESS_MEAN * _EXCESS_WEIGHT) / (state[_PEAKS] + _EXCESS_WEIGHT)
        state[_PEAKS] += 1
        state[_EXCESS] += min(state[_PEAK], _EXCESS_MOST * usual)
        state[_PEAK] = 0.0

    # Scoring. Changes nothing.

    def level(self, state: "array[float]") -> Level:
        beliefs = self._beliefs
        steps = self.until - state[_UNTIL]
        fade, share_fade = (self._fade**steps, self._share_fade**steps) if steps > 0 else (1.0, 1.0)
        learned = state[_NEGATIVE] * fade + beliefs.weight
        exposure = max(0.0, self.exposure - state[_UNSEEN] * fade) + self._prior_exposure
        negative = state[_SHARE_K] * share_fade + beliefs.share * beliefs.share_weight
        stories = state[_SHARE_N] * share_fade + beliefs.share_weight
        return Level(learned / exposure, 1 / (_DISPERSION + 1 / learned), min(_SHARE_MOST, negative / stories))

    def weigh(self, level: Level, negative: int, stories: int, exposure: float) -> float:
        """How surprising it is that so many stories came within this exposure."""
        value = count_z(negative, level.rate * exposure, level.size)
        if value > 0 and self._needs_share:
            # One negative less: looking whenever one has come finds the share at its highest (Haldane 1945).
            unusual = share_z(negative - 1, max(stories, negative) - 1, level.share, _CLUSTERING)
            value *= min(1.0, max(0.0, unusual / _FULL_SHARE_Z))
        return value

    def per_week(self, state: "array[float]", value: float) -> float:
        """How often a week the key by itself reaches such a score: the rate of its peaks, with exponential excess."""
        rate, excess = self._peaks(state)
        return rate * math.exp((PEAK_Z - value) / excess)

    def usual(self, state: "array[float]", per_week: float) -> float:
        """The score that the key by itself reaches so often a week: `per_week` the other way round."""
        rate, excess = self._peaks(state)
        return PEAK_Z + excess * math.log(rate / per_week)

    def _peaks(self, state: "array[float]") -> tuple[float, float]:
        """How many a week, and by how much they exceed on average."""
        fade: float = self._peak_fade ** max(0.0, self.until - state[_UNTIL])
        peaks, weeks = state[_PEAKS] * fade, max(0.0, self.weeks - state[_UNSEEN_WEEKS] * fade)
        excess = (state[_EXCESS] * fade + _EXCESS_MEAN * _EXCESS_WEIGHT) / (peaks + _EXCESS_WEIGHT)
        return (peaks + _PEAKS_A_WEEK * _PEAK_WEEKS) / (weeks + _PEAK_WEEKS), excess

    def reached(self, states: Iterable["array[float]"], budget: float) -> float:
        """The score that these keys together reach `budget` times a week, by their peaks so far; at least a peak's.

        Without a prior: over thousands of keys that never had a peak it would outweigh what was seen.
        """
        peaks = []
        for state in states:
            if state[_PEAKS]:
                fade: float = self._peak_fade ** max(0.0, self.until - state[_UNTIL])
                excess = (state[_EXCESS] * fade + _EXCESS_MEAN * _EXCESS_WEIGHT) / (
                    state[_PEAKS] * fade + _EXCESS_WEIGHT
                )
                peaks.append((state[_PEAKS] * fade / max(1.0, self.weeks), excess))
        low, high = PEAK_Z, 100.0
        for _ in range(40):
            middle = (low + high) / 2
            if sum(rate * math.exp((PEAK_Z - middle) / excess) for rate, excess in peaks) > budget:
                low = middle
            else:
                high = middle
        return high
