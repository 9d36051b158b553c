"""What finds spikes in counts of stories."""

from collections.abc import Collection, Hashable, Sequence
from typing import Literal, NamedTuple, Protocol


class Score(NamedTuple):
    """How surprising the evidence of one horizon is, so far.

    Units: `value` in standard deviations (signed root of twice a log-likelihood ratio), scaled by the share of
        negatives; `negative`, `stories`, `expected`, `low` and `high` in distinct stories within the horizon, `low`
        to `high` being the central 95 % of what the key's past lets expect there; `per_week`: how often a week this
        key by itself reaches such a score.
    """

    value: float
    horizon_s: int
    negative: int
    stories: int
    expected: float
    low: float
    high: float
    per_week: float


class Finding(NamedTuple):
    """A spike: an episode `opens`, or one that is open has clearly grown. `bucket` in units of 300 s since 1970.

    `threshold`: the score from which the key fired.
    """

    key: Hashable
    bucket: int
    score: Score
    opens: bool
    threshold: float


class Bar(NamedTuple):
    """What a key's score has to reach to fire, in standard deviations: the highest of three.

    `of_all`: what every key has to reach; `usual`: what this one reaches by itself as often as it may fire; `again`:
    what it takes so soon after it has fired, 0 where it has not. `held`: it does not fire now, whatever its score.
    """

    of_all: float
    usual: float
    again: float
    held: Literal["warming_up", "just_fired"] | None

    @property
    def score(self) -> float:
        return max(self.of_all, self.usual, self.again)


class Power(NamedTuple):
    """What it would take to fire on a key over one horizon.

    Units: `needed` the least number of negative stories there, None where the key is not looked at over that horizon;
        `expected`, `low` and `high` as in a score.
    """

    horizon_s: int
    needed: int | None
    expected: float
    low: float
    high: float


class Detector(Protocol):
    """Scores keys against their own past. No I/O, no clock; memory per key is constant.

    A key is any hashable thing; `dump` knows Key and str. A bucket is unix_s // 300. `version` names the formula and
    its parameters; it is stored with every spike.
    """

    @property
    def version(self) -> str: ...

    @property
    def horizons_s(self) -> Sequence[int]:
        """How far it looks back, in seconds, ascending."""
        ...

    def advance(
        self, bucket: int, *, observed: float = 1.0, silent: Collection[Hashable] = ()
    ) -> list[tuple[Hashable, int]]:
        """Time goes on to `bucket`, never back. Buckets that leave the longest horizon are learned.

        `observed`, in [0, 1], is the share of the usual sources that were heard in the buckets passed since the last
        call; at 0 nothing is learned and no episode ends. `silent` names keys whose own feeds were not heard.
        Returns the episodes that ended: the key, and the bucket of the end.
        """
        ...

    def hear(self, bucket: int, observed: float) -> None:
        """It has turned out that no more than this share was heard in a past bucket; ignored once that is learned."""
        ...

    def volume(self, bucket: int, stories: int) -> None:
        """So many stories arrived in all: what the season of the week is learned from."""
        ...

    def take(self, key: Hashable, bucket: int, negative: int, stories: int) -> None:
        """So many new stories on a key. A past bucket is amended while it is within the longest horizon, and ignored
        later; a future one counts in the current."""
        ...

    def score(self, key: Hashable) -> Score | None:
        """The best over the horizons, on the evidence so far; None where it is too thin. Changes nothing."""
        ...

    def judge(self, key: Hashable) -> Finding | None:
        """Fires once in an episode, and again only if that clearly grows; remembers that it did.

        To be asked when a key has received a negative story, after all events of the same instant were taken.
        """
        ...

    def bar(self, key: Hashable) -> Bar:
        """What it would take to fire on a key now."""
        ...

    def open_episodes(self) -> Collection[Hashable]:
        """The keys that have fired and have not been low for long enough since."""
        ...

    def power(self, key: Hashable, horizon_s: int) -> int | None:
        """The least number of negative stories in that horizon, none other beside them, that would fire now.

        None: the key is not looked at over that horizon.
        """
        ...

    def expected(self, key: Hashable, horizon_s: int) -> tuple[float, float, float]:
        """How many negative stories the key's past lets expect in that horizon, and the central 95 % of it."""
        ...

    def dump(self) -> bytes:
        """All that it knows; a detector that loads it goes on exactly as this one."""
        ...

    def load(self, state: bytes) -> None:
        """Takes over what another has dumped.

        Raises: ValueError, if another version has dumped it.
        """
        ...
