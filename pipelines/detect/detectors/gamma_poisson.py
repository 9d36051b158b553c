"""Negative stories against what the key's own past lets expect, and against their usual share."""

from array import array
from collections import deque
from collections.abc import Collection, Hashable
from typing import Literal, NamedTuple, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from monitor.domain.windows import BUCKET_S
from monitor.plugins import PluginConfig
from pipelines.detect.detector import Bar, Detector, Finding, Score
from pipelines.detect.detectors._episodes import Episodes
from pipelines.detect.detectors._packed import key_of, name_of, pack, unpack
from pipelines.detect.detectors._past import HEAD, PER_DAY, PER_HOUR, Beliefs, Level, Past
from pipelines.detect.detectors._season import Season
from pipelines.detect.detectors._statistics import interval, least


class Config(PluginConfig):
    """What is compared, how fast a past is forgotten, and what is believed of a key without one."""

    kind: Literal["gamma_poisson"] = "gamma_poisson"
    theta: PositiveFloat = Field(4.0, description="score from which a key may fire, in standard deviations")
    per_week: PositiveFloat = Field(0.5, description="alerts a week that a key may earn by its usual peaks")
    alert_budget_per_week: PositiveFloat | None = Field(
        None, description="alerts a week of all keys together; sets theta, from the peaks that were seen"
    )
    horizons_min: tuple[int, ...] = Field((45, 120), description="minutes looked back over, ascending")
    slow_horizon_min: int | None = Field(720, description="minutes looked back over on keys that hardly have bad news")
    slow_below: PositiveFloat = Field(
        0.05, description="negative stories expected in them from which a key has too many"
    )
    min_stories: PositiveInt = Field(3, description="distinct negative stories needed")
    half_life_days: PositiveFloat = Field(14, description="after which a bucket counts half in the baseline")
    prior_per_day: PositiveFloat = Field(0.3, description="negative stories a day of a key without a past")
    prior_weight: PositiveFloat = Field(0.5, description="stories which that belief is worth")
    prior_share: PositiveFloat = Field(0.3, lt=1, description="share of negatives of a key without a past")
    prior_share_weight: PositiveFloat = Field(10, description="stories which that belief is worth")
    age_weight: NonNegativeFloat = Field(
        1.0, le=1, description="how much of the time before a key was first seen counts as time without a story"
    )
    share: bool = Field(True, description="whether an excess counts only where the share of negatives is unusual too")
    season: bool = Field(True, description="whether the hours of the week are expected to differ")
    warmup_days: NonNegativeFloat = Field(7, description="days after the first bucket in which nothing fires")

    @model_validator(mode="after")
    def _check_horizons(self) -> Self:
        if not self.horizons_min or list(self.horizons_min) != sorted(set(self.horizons_min)):
            raise ValueError("horizons_min: expected one or more numbers of minutes, ascending")
        if self.slow_horizon_min is not None and self.slow_horizon_min <= self.horizons_min[-1]:
            raise ValueError("slow_horizon_min: expected more than the last of horizons_min")
        if any(minutes <= 0 or minutes * 60 % BUCKET_S for minutes in self.all_horizons_min):
            raise ValueError(f"horizons_min: expected multiples of {BUCKET_S // 60} minutes")
        return self

    @property
    def all_horizons_min(self) -> tuple[int, ...]:
        """The slow one last, if there is one."""
        return self.horizons_min if self.slow_horizon_min is None else (*self.horizons_min, self.slow_horizon_min)

    @classmethod
    def example(cls, *, secret: str = "example") -> Self:  # noqa: ARG003  # it has no secret
        return cls()

    @classmethod
    def dense(cls) -> Self:
        """For series that count many things in every bucket, rather than stories now and then."""
        return cls(
            horizons_min=(5, 15),
            slow_horizon_min=None,
            half_life_days=5,
            prior_per_day=0.1 * PER_DAY,
            share=False,
            season=False,
        )


class _Best(NamedTuple):
    """The most surprising horizon: its score, index, negatives and stories; and what the key is used to."""

    value: float
    horizon: int
    negative: int
    stories: int
    level: Level


class GammaPoisson:
    """How many more negative stories a key drew over some horizon than its own level explains.

    Score: a signed square root of twice a log-likelihood ratio, about a standard normal where nothing happens: the
        count against a negative binomial around the expectation, an excess scaled down to nothing where the share of
        negatives among all stories is no more than usual for the key. Busy is not bad, and neither is always gloomy.
    Learning: a bucket is learned when it leaves the longest horizon, and no more of it than four standard deviations
        above the usual: so no spike hides in its own baseline. Nothing is computed for keys that draw no story.
    Fires: at a score of `theta` that the key reaches by itself no more than `per_week` times a week.
    Source: gamma-Poisson mixture as in Noufaily et al., Statistics in Medicine 32(7), 2013; the deviance residual of
        Pierce and Schafer, JASA 81, 1986; peaks over a threshold of Davison and Smith, JRSS B 52(3), 1990.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._steps = [minutes * 60 // BUCKET_S for minutes in config.all_horizons_min]
        self._slow = None if config.slow_horizon_min is None else len(self._steps) - 1
        self._longest = self._steps[-1]
        changed = config.model_dump(exclude={"kind"}, exclude_defaults=True)
        settings = ", ".join(f"{name}={value}" for name, value in changed.items())
        self.version = f"gamma_poisson-1({settings})" if settings else "gamma_poisson-1"
        beliefs = Beliefs(
            config.prior_per_day / PER_DAY, config.prior_weight, config.prior_share, config.prior_share_weight
        )
        self._past = Past(
            beliefs, half_life_days=config.half_life_days, age_weight=config.age_weight, needs_share=config.share
        )
        self._episodes = Episodes()
        self._season = Season()
        self._keys: dict[Hashable, array[float]] = {}
        self._due: dict[int, list[Hashable]] = {}
        self._silent: dict[int, frozenset[Hashable]] = {}
        self._volumes: dict[int, int] = {}
        self._now: int | None = None
        self._first = 0
        self._observed = 0.0
        self._theta: float = config.theta
        # Of the buckets of the longest horizon, oldest first, the current one last: expected volume, observed share.
        self._factors: deque[float] = deque(maxlen=self._longest)
        self._heard: deque[float] = deque(maxlen=self._longest)
        self._set_exposures()

    # Time goes on.

    def advance(
        self, bucket: int, *, observed: float = 1.0, silent: Collection[Hashable] = ()
    ) -> list[tuple[Hashable, int]]:
        if self._now is None:
            self._start(bucket)
        ended: list[tuple[Hashable, int]] = []
        unheard = frozenset(silent)
        while self._now is not None and self._now < bucket:
            ended += self._episodes.close(
                self._now, self._value, threshold=self._theta, observed=observed, silent=unheard
            )
            self._heard[-1] = observed
            if unheard:
                self._silent[self._now] = unheard
            self._learn(self._now + 1 - self._longest)
            self._now += 1
            self._enter(self._now)
        return ended

    def _start(self, bucket: int) -> None:
        self._now = self._first = bucket
        self._past.until = bucket - self._longest
        # Before the first bucket nothing was observed.
        self._factors.extend([1.0] * self._longest)
        self._heard.extend([0.0] * self._longest)
        self._set_exposures()

    def _enter(self, bucket: int) -> None:
        is_new_hour = bucket % PER_HOUR == 0
        self._factors.append(self._season.factor(bucket) if self._config.season and is_new_hour else self._factors[-1])
        self._heard.append(1.0)
        self._set_exposures()
        if bucket % PER_DAY == 0:
            self._tidy()

    def _set_exposures(self) -> None:
        """Of each horizon: that which ends now, and that which began with the oldest bucket.

        As much as if everything had been observed: an outage must not make what came through it a surprise.
        """
        factors = list(self._factors)
        self._back = [sum(factors[-steps:]) for steps in self._steps]
        self._ahead = [sum(factors[:steps]) for steps in self._steps]

    def _learn(self, bucket: int) -> None:
        """The bucket leaves the longest horizon."""
        observed, factor = self._heard[0], self._factors[0]
        silent = self._silent.pop(bucket, frozenset())
        self._past.begin(bucket)
        for key in silent:
            state = self._keys.get(key)
            if state is not None:
                self._past.missed(state, factor, observed)
        for key in self._due.pop(bucket, ()):
            state = self._keys[key]
            negative, stories = state[HEAD + 1], state[HEAD + 2]
            # Ahead from the bucket that is learned: what lies before it is not kept.
            best = self._best(state, ahead_of=bucket) if negative else None
            del state[HEAD : HEAD + 3]
            if observed > 0 and key not in silent:
                self._past.learn(state, factor, negative, stories, best and best.value)
        self._past.end(factor, observed)
        self._observed += observed
        self._season.learn(bucket, self._volumes.pop(bucket, 0), observed)

    def _tidy(self) -> None:
        """Once a day: drops the keys that are as good as new, and turns the budget into a threshold."""
        for key, state in list(self._keys.items()):
            if self._past.is_forgotten(state) and key not in self._episodes:
                del self._keys[key]
        if self._config.alert_budget_per_week is not None and self._is_warm():
            self._theta = self._past.reached(self._keys.values(), self._config.alert_budget_per_week)

    def _is_warm(self) -> bool:
        if self._now is None:
            return False
        buckets = self._config.warmup_days * PER_DAY
        # Half of them: a daemon that was switched off for a while has still seen each hour of the day.
        return self._now - self._first >= buckets and self._observed >= buckets / 2 - self._longest

    # Stories come in.

    def hear(self, bucket: int, observed: float) -> None:
        back = (self._now or 0) - bucket
        if 0 < back < self._longest:
            self._heard[-1 - back] = min(self._heard[-1 - back], observed)

    def volume(self, bucket: int, stories: int) -> None:
        bucket = self._slot(bucket)
        if bucket >= 0:
            self._volumes[bucket] = self._volumes.get(bucket, 0) + stories

    def take(self, key: Hashable, bucket: int, negative: int, stories: int) -> None:
        bucket = self._slot(bucket)
        if bucket < 0 or not (negative or stories):
            return
        state = self._keys.get(key)
        if state is None:
            self._keys[key] = state = self._past.new()
        # From the newest back: it is the current bucket that grows.
        place = len(state)
        while place > HEAD and state[place - 3] > bucket:
            place -= 3
        if place > HEAD and state[place - 3] == bucket:
            state[place - 2] += negative
            state[place - 1] += stories
        else:
            state[place:place] = array("d", (bucket, negative, stories))
            self._due.setdefault(bucket, []).append(key)

    def _slot(self, bucket: int) -> int:
        """The bucket that takes it in; -1 if that is learned already."""
        if self._now is None:
            raise ValueError("advance the detector to its first bucket, then let it take stories in")
        return min(bucket, self._now) if bucket > self._now - self._longest else -1

    # Questions.

    def score(self, key: Hashable) -> Score | None:
        state = self._keys.get(key)
        best = None if state is None else self._best(state)
        return None if state is None or best is None else self._told(state, best)

    def judge(self, key: Hashable) -> Finding | None:
        state = self._keys.get(key)
        best = None if state is None else self._best(state)
        if state is None or best is None or self._now is None or best.value < self._theta:
            return None
        bar = self.bar(key)
        if bar.held or best.value < bar.score:
            return None
        opens = self._episodes.fired(key, best.value, self._now)
        return Finding(key, self._now, self._told(state, best), opens, bar.score)

    def bar(self, key: Hashable) -> Bar:
        now = self._now or 0
        usual = self._past.usual(self._numbers(key), self._config.per_week)
        held: Literal["warming_up", "just_fired"] | None = "just_fired" if self._episodes.rests(key, now) else None
        return Bar(self._theta, usual, self._episodes.bar(key, now), held if self._is_warm() else "warming_up")

    def open_episodes(self) -> list[Hashable]:
        return self._episodes.open()

    def power(self, key: Hashable, horizon_s: int) -> int | None:
        """Raises: ValueError, for a horizon that it does not look back over."""
        horizon = self._horizon(horizon_s)
        level = self._past.level(self._numbers(key))
        if self._is_too_bad(level, horizon, self._back[horizon]):
            return None
        needed = self.bar(key).score

        def fires(stories: int) -> bool:
            return self._past.weigh(level, stories, stories, self._back[horizon]) >= needed

        return least(fires, self._config.min_stories)

    @property
    def horizons_s(self) -> list[int]:
        return [step * BUCKET_S for step in self._steps]

    def expected(self, key: Hashable, horizon_s: int) -> tuple[float, float, float]:
        """Raises: ValueError, for a horizon that it does not look back over."""
        level = self._past.level(self._numbers(key))
        expected = level.rate * self._back[self._horizon(horizon_s)]
        return expected, *interval(expected, level.size)

    def _numbers(self, key: Hashable) -> "array[float]":
        state = self._keys.get(key)
        return self._past.new() if state is None else state

    def _horizon(self, horizon_s: int) -> int:
        if horizon_s not in self.horizons_s:
            raise ValueError(f"expected a horizon of {' or '.join(map(str, self.horizons_s))} s")
        return self.horizons_s.index(horizon_s)

    def _value(self, key: Hashable) -> float:
        state = self._keys.get(key)
        best = None if state is None else self._best(state)
        return 0.0 if best is None else best.value

    def _best(self, state: "array[float]", *, ahead_of: int | None = None) -> _Best | None:
        """Over the horizons that end now; or over those that begin with the oldest bucket."""
        if ahead_of is None:
            place, end, step = len(state) - 3, HEAD - 3, -3
        else:
            place, end, step = HEAD, len(state), 3
        now = self._now or 0
        negative = stories = weighed = 0
        best: _Best | None = None
        level: Level | None = None
        for horizon, steps in enumerate(self._steps):
            while place != end:
                bucket = state[place]
                if bucket <= now - steps if ahead_of is None else bucket >= ahead_of + steps:
                    break
                negative += int(state[place + 1])
                stories += int(state[place + 2])
                place += step
            if negative < self._config.min_stories or negative == weighed:
                continue  # the same stories over a longer time surprise less
            weighed = negative
            exposure = self._back[horizon] if ahead_of is None else self._ahead[horizon]
            if level is None:
                level = self._past.level(state)
            if self._is_too_bad(level, horizon, exposure):
                continue
            value = self._past.weigh(level, negative, stories, exposure)
            if best is None or value > best.value:
                best = _Best(value, horizon, negative, stories, level)
        return best

    def _is_too_bad(self, level: Level, horizon: int, exposure: float) -> bool:
        """Whether the key has bad news too often to be looked at over the slow horizon: there chance gathers enough."""
        return horizon == self._slow and level.rate * exposure >= self._config.slow_below

    def _told(self, state: "array[float]", best: _Best) -> Score:
        expected = best.level.rate * self._back[best.horizon]
        low, high = interval(expected, best.level.size)
        horizon_s = self._steps[best.horizon] * BUCKET_S
        per_week = self._past.per_week(state, best.value)
        return Score(best.value, horizon_s, best.negative, best.stories, expected, low, high, per_week)

    # Memory.

    def dump(self) -> bytes:
        shared = {
            "now": self._now,
            "first": self._first,
            "observed": self._observed,
            "theta": self._theta,
            "past": [self._past.until, self._past.exposure, self._past.weeks],
            "factors": list(self._factors),
            "heard": list(self._heard),
            "season": self._season.dump(),
            "volumes": list(self._volumes.items()),
            "silent": [[bucket, sorted(map(name_of, keys), key=str)] for bucket, keys in self._silent.items()],
            "episodes": self._episodes.dump(),
        }
        return pack(self.version, shared, self._keys)

    def load(self, state: bytes) -> None:
        shared, self._keys = unpack(self.version, state)
        self._now, self._first = shared["now"], shared["first"]
        self._observed, self._theta = shared["observed"], shared["theta"]
        self._past.until, self._past.exposure, self._past.weeks = shared["past"]
        self._factors = deque(shared["factors"], self._longest)
        self._heard = deque(shared["heard"], self._longest)
        self._season.load(shared["season"])
        self._volumes = dict(shared["volumes"])
        self._silent = {bucket: frozenset(map(key_of, names)) for bucket, names in shared["silent"]}
        self._episodes.load(shared["episodes"])
        self._due = {}
        for key, numbers in self._keys.items():
            for place in range(HEAD, len(numbers), 3):
                self._due.setdefault(int(numbers[place]), []).append(key)
        self._set_exposures()


def build(config: Config) -> Detector:
    return GammaPoisson(config)
