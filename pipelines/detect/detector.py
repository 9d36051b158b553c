"""What scores trends."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from monitor.domain.windows import Key


class Counts(NamedTuple):
    """Negative articles of all labelled articles of one key, in one bucket or window."""

    negative: int
    labelled: int


class Score(NamedTuple):
    """How surprising a window is.

    Units: `value` in standard deviations; `expected` negative stories in that window, from the key's own past.
    """

    value: float
    expected: float


class Detector(Protocol):
    """Scores keys against their own past. No I/O, no clock; memory per key is constant.

    `version` names the formula and its parameters; it is stored with every spike.
    """

    @property
    def version(self) -> str: ...

    def learn(self, counts: Mapping[Key, Counts]) -> None:
        """Takes in the next observed bucket, in time order: the keys that drew any article in it.

        Keys not named drew none. A bucket in which nothing at all arrived is not observed, and not passed in.
        """
        ...

    def score(self, key: Key, window: Counts, observed_buckets: int) -> Score:
        """How surprising `window` is: stories counted over `observed_buckets` buckets. Learns nothing."""
        ...
