"""On which keys an article's story counts, and when it is new to them."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from monitor.domain.names import names
from monitor.domain.windows import ALL, Key

MEMORY_S = 86_400.0
"""A story that a key has not had for so long is new to it again."""


def stored_keys(source: str, topic: str | None) -> list[Key]:
    """The keys that an article counts on as soon as it is stored."""
    keys = [ALL, Key("source", source)]
    if topic is not None:
        keys.append(Key("topic", topic))
    return keys


def keys_of(source: str, topic: str | None, title: str, summary: str) -> list[Key]:
    """All keys of an article. What no model has read, for its language, names nobody: capitals differ there."""
    named = [] if topic is None else names(title, summary)
    return [*stored_keys(source, topic), *(Key("entity", name) for name in named)]


_MOST = 400_000
"""Stories on keys that are remembered at most: some hundred megabytes, and more than any desk reads in a day."""


class New(NamedTuple):
    """Whether the story counts, and whether it counts as bad news: each 0 or 1."""

    story: int
    negative: int


class FirstTold:
    """Counts each story on each key once, however many carry it, as long as it is told again within a day.

    A story counts as bad news when its first negative article comes, be that the first of all or a later one.
    What is remembered depends on the last day's articles alone, so it can be filled again from the tables.

    Units: `at_s` seconds since the Unix epoch, not falling by more than what lateness explains.
    """

    def __init__(self) -> None:
        # A plain dict takes the longer to find its oldest entry the more were dropped before it.
        self._told: OrderedDict[tuple[Hashable, str], float] = OrderedDict()
        self._bad: OrderedDict[tuple[Hashable, str], float] = OrderedDict()

    def take(self, key: Hashable, story: str, at_s: float, *, negative: bool) -> New:
        """Takes one article in."""
        is_new = _first(self._told, (key, story), at_s)
        return New(is_new, _first(self._bad, (key, story), at_s) if negative else 0)


def _first(last: OrderedDict[tuple[Hashable, str], float], what: tuple[Hashable, str], at_s: float) -> int:
    before = last.pop(what, None)
    last[what] = at_s if before is None else max(before, at_s)
    while (oldest := next(iter(last.items())))[1] < at_s - MEMORY_S or len(last) > _MOST:
        del last[oldest[0]]
    return int(before is None or at_s - before >= MEMORY_S)
