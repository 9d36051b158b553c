"""Negative stories against a gamma-Poisson baseline with forgetting, and against their usual share."""

import math
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, PositiveFloat

from monitor.domain.windows import BUCKET_S, Key
from monitor.plugins import PluginConfig
from pipelines.detect.detector import Counts, Detector, Score

_BUCKETS_PER_DAY = 86_400 / BUCKET_S


class Config(PluginConfig):
    """How fast a key's past is forgotten, and what is believed of a key without one."""

    kind: Literal["negative_binomial"] = "negative_binomial"
    half_life_days: PositiveFloat = Field(14, description="after which a bucket counts half in the baseline")
    prior_per_day: PositiveFloat = Field(0.3, description="negative articles a day of a key without a past")
    prior_weight: PositiveFloat = Field(0.5, description="articles which that belief is worth")

    @classmethod
    def example(cls, *, secret: str = "example") -> Self:  # noqa: ARG003  # it has no secret
        return cls()


class _Past:
    """Decayed sums of one key: negatives, articles; and up to which bucket they are decayed."""

    __slots__ = ("labelled", "negative", "until")

    def __init__(self, until: int) -> None:
        self.negative = 0.0
        self.labelled = 0.0
        self.until = until


class NegativeBinomial:
    """How many more negatives a key drew than its own level explains.

    Score: a signed square root of twice a log-likelihood ratio, about a standard normal where nothing happens: the
        count against a negative binomial around the expectation, an excess scaled down to nothing where the share of
        negatives among all stories is no more than usual for the key. Busy is not bad, and neither is always gloomy.
    Units: rates per observed bucket; a bucket in which nothing arrived for any key is not observed.
    Source: gamma-Poisson mixture as in Noufaily et al., Statistics in Medicine 32(7), 2013; the deviance residual as
        in Pierce and Schafer, JASA 81, 1986.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._decay = 0.5 ** (1 / (config.half_life_days * _BUCKETS_PER_DAY))
        self._prior_rate = config.prior_per_day / _BUCKETS_PER_DAY
        self._buckets = 0
        self._exposure = 0.0
        self._pasts: dict[Key, _Past] = {}
        self.version = (
            f"negative_binomial-1(half_life_days={config.half_life_days:g}, prior_per_day={config.prior_per_day:g},"
            f" prior_weight={config.prior_weight:g})"
        )

    def learn(self, counts: Mapping[Key, Counts]) -> None:
        self._buckets += 1
        self._exposure = self._exposure * self._decay + 1.0
        for key, count in counts.items():
            past = self._pasts.setdefault(key, _Past(self._buckets))
            fade = self._decay ** (self._buckets - past.until)
            # Winsorised, so that one burst does not teach the baseline to expect the next.
            usual = past.negative * fade / self._exposure
            cap = max(1.0, usual + 4 * math.sqrt(1.5 * usual + 0.3 * usual * usual))
            past.negative = past.negative * fade + min(count.negative, cap)
            past.labelled = past.labelled * fade + count.labelled
            past.until = self._buckets

    def score(self, key: Key, window: Counts, observed_buckets: int) -> Score:
        past = self._pasts.get(key)
        fade = 0.0 if past is None else self._decay ** (self._buckets - past.until)
        negative = 0.0 if past is None else past.negative * fade
        labelled = 0.0 if past is None else past.labelled * fade
        weight = self._config.prior_weight
        rate = (negative + weight) / (self._exposure + weight / self._prior_rate)
        expected = rate * max(1, observed_buckets)
        size = 1 / (0.3 + 1 / (negative + weight))
        count_z = _count_z(window.negative, expected, size)
        if count_z <= 0:
            return Score(count_z, expected)
        share = (negative + 1.0) / (labelled + 5.0)
        share_z = _share_z(window.negative, window.labelled, min(0.95, share))
        return Score(count_z * min(1.0, max(0.0, share_z / 2)), expected)


def build(config: Config) -> Detector:
    return NegativeBinomial(config)


def _count_z(observed: int, expected: float, size: float) -> float:
    first = observed * math.log(observed / expected) if observed else 0.0
    second = (observed + size) * math.log((observed + size) / (expected + size))
    return math.copysign(math.sqrt(2 * max(0.0, first - second)), observed - expected)


def _share_z(negative: int, labelled: int, share: float) -> float:
    if labelled == 0:
        return 0.0
    other = labelled - negative
    first = negative * math.log(negative / (labelled * share)) if negative else 0.0
    second = other * math.log(other / (labelled * (1 - share))) if other else 0.0
    # Stories of one hour hang together: the variance of their share is larger than the binomial's.
    clustering = 1 + (labelled - 1) * 0.08
    return math.copysign(math.sqrt(2 * max(0.0, first + second) / clustering), negative - labelled * share)
