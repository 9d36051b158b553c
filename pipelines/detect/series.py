"""How surprising each value of a series of numbers is: counts or measurements, at steps of any length."""

import math
from collections import deque

from pipelines.detect.detectors._statistics import count_z

WARMUP_ROWS = 288
"""Rows of which nothing is said: a day of five-minute rows."""

_SETTLED_ROWS = 50
_LAG = 3
_SPANS = (1, _LAG)
_HALF_LIFE = 5 * 288
_FAST_HALF_LIFE = 6
_CLIP = 4.0
_FAR_Z = 10.0
_LEAST_COUNTED = 3
_FEW, _STEADY = 3.0, 0.3
# Of the scale of the level, and of the level itself: less than that is never a surprise.
_OF_SCALE, _OF_LEVEL = 0.1, 0.005

_WEEK = 7 * 288
_PEAK_Z = 3.0
_PEAK_RUN = 12
_LONGEST_PEAK = 72
_PEAK_HALF_LIFE = 8 * _WEEK
# A series is shorter than the life of a key of the news: its own past counts sooner.
_PRIOR_WEEKS, _PRIOR_RATE = 0.5, 1.0
_PRIOR_PEAKS, _PRIOR_EXCESS, _MOST_EXCESS = 2.0, 0.8, 4.0

_THETA = 4.0
_PER_WEEK = 0.5
_GROWTH = 1.5
_BAR_HALF_LIFE = 144
_REFRACTORY = 24
_HELD_BACK = 0.4


class _Moments:
    """Mean and variance with forgetting; what lies more than four standard deviations off counts as four."""

    def __init__(self, half_life: float) -> None:
        self._fade = 0.5 ** (1 / half_life)
        self.weight = 0.0
        self.mean = 0.0
        self.variance = 0.0

    def learn(self, value: float, least: float) -> None:
        """`least` is a scale that is never too small to be believed."""
        off = value - self.mean
        if self.weight > 1:
            most = _CLIP * max(math.sqrt(self.variance), least)
            off = min(most, max(-most, off))
        self.weight = self.weight * self._fade + 1
        share = 1 / self.weight
        self.mean += share * off
        self.variance = (1 - share) * (self.variance + share * off * off)


class _Tail:
    """How often a score is reached: the rate of its peaks over three, and an exponential excess over that."""

    def __init__(self) -> None:
        self._fade = 0.5 ** (1 / _PEAK_HALF_LIFE)
        self._peaks = self._excess = self._weeks = 0.0
        self._peak = 0.0
        self._since = 0
        self._lasts = 0

    def per_week(self, score: float) -> float:
        return (
            (self._peaks + _PRIOR_RATE * _PRIOR_WEEKS)
            / (self._weeks + _PRIOR_WEEKS)
            * math.exp((_PEAK_Z - score) / self._mean_excess())
        )

    def learn(self, score: float) -> None:
        """A peak is learned once it is over: so none hides itself."""
        self._weeks = self._weeks * self._fade + 1 / _WEEK
        self._peaks *= self._fade
        self._excess *= self._fade
        self._since += 1
        self._lasts += 1
        if score > _PEAK_Z:
            if not self._peak:
                self._lasts = 0
            self._peak = max(self._peak, score - _PEAK_Z)
            self._since = 0
        if self._peak and (self._since > _PEAK_RUN or self._lasts > _LONGEST_PEAK):
            most = _MOST_EXCESS * self._mean_excess()
            self._peaks += 1
            self._excess += min(self._peak, most)
            self._peak = 0.0

    def _mean_excess(self) -> float:
        return (self._excess + _PRIOR_EXCESS * _PRIOR_PEAKS) / (self._peaks + _PRIOR_PEAKS)


def _far(score: float) -> float:
    """Grows ever more slowly from ten on: how wrong the scale is decides there, not how odd the value."""
    return score if score <= _FAR_Z else _FAR_Z * (1 + math.log(score / _FAR_Z))


class Series:
    """The scheme of the detector of news on one series of numbers, without share and season.

    Looks at the last value and the mean of the last three against the past of many days, and at the step from the
    level of just before. Values that have all been whole and never negative are counts, judged by a negative binomial
    whose dispersion is learned; others in robust standard deviations. Up or down.

    Score: in [0, 1]. 0.5 is what the series by itself reaches once in two weeks of five-minute rows; from there on it
        is an alert. After one only a clearly larger surprise scores high again, less so as 144 rows pass.
    Units: time in rows; memory is constant.
    """

    def __init__(self, warmup_rows: int = WARMUP_ROWS) -> None:
        self._warmup = warmup_rows
        self._rows = 0
        self._counts = True
        self._recent: deque[float] = deque(maxlen=_LAG)
        self._level = _Moments(_HALF_LIFE)
        self._steps = _Moments(_HALF_LIFE)
        self._fast = _Moments(_FAST_HALF_LIFE)
        self._tails = [_Tail() for _ in range(len(_SPANS) + 1)]
        self._bar = 0.0
        self._fired = -_REFRACTORY
        self._high = -_PEAK_RUN

    def score(self, value: float) -> float:
        """Of the next value, by those before it; then learns it. `value` is finite."""
        self._counts = self._counts and value >= 0 and value.is_integer()
        scores = self._surprises(value)
        # Any of them may be the highest: so it happens that many times as often.
        per_week = len(scores) * min(tail.per_week(score) for tail, score in zip(self._tails, scores, strict=True))
        highest = max(scores)
        if self._rows < self._warmup:
            result = 0.0
        else:
            result = 0.5 ** math.sqrt(per_week / _PER_WEEK)
            result = self._gated(result, highest)
        self._learn(value, scores)
        return result

    def _surprises(self, value: float) -> list[float]:
        """One for each span, and one for the step; all positive."""
        if self._level.weight < 2:
            return [0.0] * len(self._tails)
        recent = [*self._recent, value]
        found = [self._against_level(sum(recent[-span:]), min(span, len(recent))) for span in _SPANS]
        scale = math.sqrt(self._steps.variance + self._least() ** 2)
        if self._is_count():
            scale = math.hypot(scale, math.sqrt(self._fast.mean + 1))
        found.append(_far(abs(value - self._fast.mean) / scale))
        return found

    def _against_level(self, total: float, span: int) -> float:
        mean, variance = self._level.mean, self._level.variance
        if not self._is_count():
            scale = math.sqrt(variance) + self._least() / span
            return _far(abs(total / span - mean) / scale)
        expected = max(mean, 0.01) * span
        if total < _LEAST_COUNTED and total > expected:
            return 0.0
        # What is more than Poisson; never less than a hundredth, so that a count of millions may sway a little.
        dispersion = min(3.0, max(0.01, (variance - mean) / max(mean, 0.1) ** 2))
        return _far(abs(count_z(total, expected, 1 / dispersion)))

    def _is_count(self) -> bool:
        """Whole numbers that sway far less than a count would are a setting, or a measurement that was rounded."""
        return self._counts and (self._level.mean < _FEW or self._level.variance > _STEADY * self._level.mean)

    def _least(self) -> float:
        """A scale of the series below which nothing is a surprise."""
        return _OF_SCALE * math.sqrt(self._level.variance) + _OF_LEVEL * abs(self._level.mean) + 1e-12

    def _gated(self, result: float, highest: float) -> float:
        """One alert of an episode, and another only if it clearly grows."""
        is_same = self._rows - self._high <= _PEAK_RUN
        if not is_same:
            self._bar *= 0.5 ** (1 / _BAR_HALF_LIFE)
        if highest > _PEAK_Z:
            self._high = self._rows
        if result < 0.5 or highest < _THETA:
            return min(result, _HELD_BACK)
        if self._rows - self._fired < _REFRACTORY or highest < _GROWTH * self._bar:
            return result * _HELD_BACK
        self._bar = max(self._bar, highest)
        self._fired = self._rows
        return result

    def _learn(self, value: float, scores: list[float]) -> None:
        least = self._least()
        if self._rows >= _SETTLED_ROWS:
            for tail, score in zip(self._tails, scores, strict=True):
                tail.learn(score)
        if len(self._recent) == _LAG:
            self._level.learn(self._recent[0], least)
        if self._fast.weight:
            self._steps.learn(value - self._fast.mean, least)
        self._fast.learn(value, math.inf)
        self._recent.append(value)
        self._rows += 1
