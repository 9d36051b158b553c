"""Streams in which every true burst is known: real arrivals, labels drawn anew, bursts and decoys put in between.

The negative flags owe nothing to the volume, so the injected bursts are the only true ones, and precision is exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple

import numpy as np

from monitor.bench.archive import DAY_S, HOUR_S, LEAST_PER_DAY, WEEK_S, Archive, Item, hour_of_week, words_of
from monitor.errors import ConfigError, Mistake
from pipelines.ingest.normalise import story_text

WARM_UP_S: Final = WEEK_S  # the detector's own: nothing is injected, nothing judged
PER_WEEK: Final = 2
SPACING_S: Final = 18 * HOUR_S  # from onset to onset
SPANS_S: Final = {"flash": 2 * HOUR_S, "hump": 3 * HOUR_S, "slow": 6 * HOUR_S, "copies": HOUR_S // 2}
_FLASH_TAU_S: Final = 1200.0
_FEWEST, _MOST = 50, 100  # names watched
_STRATA: Final = (("thin", 0.0, 3.0), ("middle", 3.0, 8.0), ("busy", 8.0, float("inf")))
_SHARES: Final = ((0.15, 0.7), (0.35, 0.2), (0.65, 0.1))
_CLUSTERING: Final = 10.0  # of the beta that an hour's share is drawn from: correlation 1 / (1 + 10) within an hour
_DRIFT_PER_DAY: Final = 0.12  # standard deviation of a day's step of the share's logit
_FAR_S: Final = 4 * DAY_S  # a title is borrowed from further away than any story lasts
_ALIKE: Final = 0.5  # words in common, at which two borrowed titles might be one story
_OUTLETS: Final = ("Daily Ledger", "Market Courier", "The Harbour Post", "Morning Bulletin", "North Star Wire")

Kind = Literal["burst", "volume", "syndicated"]
Shape = Literal["flash", "hump", "slow", "copies"]
Strength = Literal["weak", "middle", "strong"]


class Injection(NamedTuple):
    """What was put in: `items` articles on `key` within [start, end), `negative` of them so.

    `size` is the drawn number before what the key's own traffic adds to it, in [6, 30]; times in Unix seconds.
    """

    key: str
    kind: Kind
    shape: Shape
    start: int
    end: int
    items: int
    negative: int
    size: float

    @property
    def strength(self) -> Strength:
        """By thirds of the range of sizes, on its logarithmic scale."""
        return "weak" if self.size < 6 * 5 ** (1 / 3) else "middle" if self.size < 6 * 5 ** (2 / 3) else "strong"


class Arrival(NamedTuple):
    """An item and what it says of each watched key it speaks of: whether that is negative.

    `place` is where it stands in the archive; None for an injected one.
    """

    item: Item
    labels: tuple[tuple[str, bool], ...]
    place: int | None = None


@dataclass(frozen=True)
class Watch:
    """A key, its stories a day, and the share of them that is negative: a logit at each day of the archive."""

    name: str
    per_day: float
    density: str
    logits: np.ndarray

    def share(self, at: float, start: int) -> float:
        """In [0, 1], drifting slowly."""
        days = np.arange(len(self.logits))
        return float(1 / (1 + np.exp(-np.interp((at - start) / DAY_S, days, self.logits))))


@dataclass(frozen=True)
class Stream:
    """One seed's arrivals, in time order, without and with what was injected."""

    seed: int
    archive: Archive
    keys: Mapping[str, Watch]
    base: Sequence[Arrival]
    injected: Sequence[Arrival] = field(default=())
    injections: Sequence[Injection] = field(default=())

    @property
    def judged_from(self) -> int:
        return self.archive.start + WARM_UP_S

    @property
    def weeks(self) -> int:
        """Weeks judged: those after the first, the last of them if nearly whole."""
        return int((self.archive.end - self.judged_from) / WEEK_S + 0.05)

    @property
    def judged_until(self) -> int:
        return min(self.archive.end, self.judged_from + self.weeks * WEEK_S)


def generate(archive: Archive, seed: int) -> Stream:
    """The stream of a seed: the same for the same archive and seed.

    Raises: ConfigError, if its titles speak of no name often enough.
    """
    keys = choose(archive, np.random.default_rng([seed, 1]))
    if not keys or not archive.quotable:
        problem = f"expected titles that speak of some name {LEAST_PER_DAY} times a day; {archive.name} has none"
        raise ConfigError("command line", [Mistake("ARCHIVE", problem)])
    stream = Stream(seed, archive, keys, label(archive, keys, np.random.default_rng([seed, 2])))
    injections, arrivals = _inject(stream, np.random.default_rng([seed, 3]))
    return replace(stream, injections=injections, injected=arrivals)


def choose(archive: Archive, rng: np.random.Generator) -> dict[str, Watch]:
    """The watched names: a third thin (under 3 stories a day), a third busy (8 and more), as far as there are such.

    No two share a word.
    """
    rates = archive.per_day
    wanted = int(rng.integers(_FEWEST, _MOST + 1))
    names = list(rates)
    drawn = [names[index] for index in rng.permutation(len(names))]
    chosen: list[str] = []
    words: set[str] = set()
    parts = [(low, high, round(wanted / len(_STRATA))) for _, low, high in _STRATA]
    for low, high, most in (*parts, (0.0, np.inf, wanted)):  # and last whoever is left, where a part has too few
        enough = min(wanted, len(chosen) + most)
        for name in drawn:
            if len(chosen) >= enough:
                break
            if low <= rates[name] < high and words.isdisjoint(name.split()):
                words.update(name.split())
                chosen.append(name)
    return {
        name: Watch(
            name,
            rates[name],
            next(density for density, low, high in _STRATA if low <= rates[name] < high),
            _shares(archive, rng),
        )
        for name in sorted(chosen)
    }


def _shares(archive: Archive, rng: np.random.Generator) -> np.ndarray:
    around = _SHARES[int(rng.choice(len(_SHARES), p=[part for _, part in _SHARES]))][0]
    level = float(np.clip(rng.normal(around, 0.2 * around), 0.03, 0.9))
    steps = rng.normal(0.0, _DRIFT_PER_DAY, int(archive.days) + 2)
    return np.asarray(np.log(level / (1 - level)) + np.cumsum(steps))


def label(
    archive: Archive,
    keys: Mapping[str, Watch],
    rng: np.random.Generator,
    *,
    raised: Mapping[str, float] | None = None,
) -> list[Arrival]:
    """The archive's items that speak of a key, with flags drawn by its share, the hours of a key alike within.

    The same title has the same flag all along. `raised`: to what share a key's own has risen at the end, having begun
    to with the first judged day.
    """
    said: dict[int, list[tuple[str, bool]]] = {}
    begin = archive.start + WARM_UP_S
    # Each key has draws of its own, so that a raised share changes no other's.
    for (name, watch), own in zip(keys.items(), rng.spawn(len(keys)), strict=True):
        hours: dict[int, float] = {}
        flags: dict[str, bool] = {}
        for place in archive.names[name]:
            item = archive.items[place]
            text, hour = story_text(item.title), item.at // HOUR_S
            share = watch.share(item.at, archive.start)
            if raised and name in raised and item.at > begin:
                share += max(0.0, raised[name] - share) * (item.at - begin) / (archive.end - begin)
            if hour not in hours:
                hours[hour] = float(own.beta(_CLUSTERING * share, _CLUSTERING * (1 - share)))
            if text not in flags:
                flags[text] = float(own.random()) < hours[hour]
            said.setdefault(int(place), []).append((name, flags[text]))
    return [Arrival(archive.items[place], tuple(said[place]), place) for place in sorted(said)]


def _inject(stream: Stream, rng: np.random.Generator) -> tuple[list[Injection], list[Arrival]]:
    injections: list[Injection] = []
    arrivals: list[Arrival] = []
    for watch in stream.keys.values():
        quoted: set[str] = set()
        last = -SPACING_S
        for week in range(stream.weeks):
            drawn = [_kind_and_shape(rng) for _ in range(PER_WEEK)]
            begin = stream.judged_from + week * WEEK_S
            onsets = _onsets(rng, begin, min(begin + WEEK_S, stream.judged_until), last)
            last = onsets[-1]
            for (kind, shape), onset in zip(drawn, onsets, strict=True):
                injection, told = _one(stream, watch, kind, shape, onset, quoted, rng)
                injections.append(injection)
                arrivals += told
    return injections, sorted(arrivals, key=lambda arrival: arrival.item.at)


def _kind_and_shape(rng: np.random.Generator) -> tuple[Kind, Shape]:
    drawn = float(rng.random())
    shape: Shape = ("flash", "hump", "slow")[int(rng.integers(3))]
    if drawn < 0.5:
        return "burst", shape
    return ("volume", shape) if drawn < 0.8 else ("syndicated", "copies")


def _onsets(rng: np.random.Generator, begin: int, end: int, last: int) -> list[int]:
    latest = end - max(SPANS_S.values())
    while True:
        onsets = sorted(int(at) for at in rng.integers(begin, latest, PER_WEEK))
        if all(b - a >= SPACING_S for a, b in zip([last, *onsets], onsets, strict=False)):
            return onsets


def _one(
    stream: Stream,
    watch: Watch,
    kind: Kind,
    shape: Shape,
    onset: int,
    quoted: set[str],
    rng: np.random.Generator,
) -> tuple[Injection, list[Arrival]]:
    span = SPANS_S[shape]
    season = float(np.mean([stream.archive.season[hour_of_week(at)] for at in range(onset, onset + span, 900)]))
    expected = watch.per_day * span / DAY_S * season
    size = float(np.exp(rng.uniform(np.log(6), np.log(30))))
    count = round(size + 3 * expected**0.5)
    share = watch.share(onset, stream.archive.start)
    if kind == "burst":
        share += (1 - share) * float(rng.uniform(0.45, 0.95))
    flags = rng.random(count) < (1.0 if kind == "syndicated" else share)  # the story that goes round is a bad one
    offsets = np.sort(_offsets(shape, count, rng).astype(int))
    if kind == "syndicated":
        items = _copies(stream, watch.name, onset, offsets, quoted, rng)
    else:
        among: list[set[str]] = []
        items = [Item(onset + int(at), *quote(stream.archive, watch.name, onset, quoted, rng, among)) for at in offsets]
    told = [Arrival(item, ((watch.name, bool(flag)),)) for item, flag in zip(items, flags, strict=True)]
    injection = Injection(watch.name, kind, shape, onset, onset + span, count, int(flags.sum()), size)
    return injection, told


def _offsets(shape: Shape, count: int, rng: np.random.Generator) -> np.ndarray:
    """Seconds after the onset, below the span of the shape."""
    span = SPANS_S[shape]
    if shape == "flash":  # exponential, what lies past the span drawn again: by the inverse of the cut distribution
        return np.asarray(-_FLASH_TAU_S * np.log1p(-rng.random(count) * -np.expm1(-span / _FLASH_TAU_S)))
    return rng.triangular(0, span / 2, span, count) if shape == "hump" else rng.uniform(0, span, count)


def quote(
    archive: Archive, name: str, at: int, quoted: set[str], rng: np.random.Generator, among: list[set[str]]
) -> tuple[str, str]:
    """Title and summary of a real item of another time, said of `name`; unlike all in `among`, to which it is added.

    `quoted` holds what was said of this name before. From an archive that is too small it takes what is least alike.
    """
    pool = archive.quotable
    best: tuple[float, str, str, set[str]] | None = None
    for index in rng.integers(0, len(pool), 60):
        place, other = pool[int(index)]
        item = archive.items[place]
        title = item.title.replace(other, name)
        if abs(item.at - at) < _FAR_S or title in quoted:
            continue
        words = {word.lower() for word in words_of(title)} - {word.lower() for word in name.split()}
        alike = max((len(words & told) / max(1, len(words | told)) for told in among), default=0.0)
        if best is None or alike < best[0]:
            best = alike, title, item.summary.replace(other, name), words
        if alike < _ALIKE:
            break
    if best is None:
        place, other = pool[int(rng.integers(len(pool)))]
        item = archive.items[place]
        best = 1.0, item.title.replace(other, name), item.summary.replace(other, name), set(words_of(item.title))
    quoted.add(best[1])
    among.append(best[3])
    return best[1], best[2]


def _copies(
    stream: Stream, name: str, onset: int, offsets: np.ndarray, quoted: set[str], rng: np.random.Generator
) -> list[Item]:
    """One story at many outlets: as it is; with marks and outlets' names; or under other titles with the same text."""
    among: list[set[str]] = []
    titles = [quote(stream.archive, name, onset, quoted, rng, among)[0] for _ in range(6)]
    text = ". ".join([titles[0], *titles[3:]]) + "."
    way = int(rng.integers(3))
    items = []
    for number, offset in enumerate(offsets):
        title, summary = titles[0], text
        if way == 1 and number:
            outlet = _OUTLETS[int(rng.integers(len(_OUTLETS)))]
            title = (f"{title} - {outlet}", f"{title} | {outlet}", f"UPDATE {number}-{title}")[int(rng.integers(3))]
            summary = ("", text, text[: len(text) * 2 // 3].rsplit(" ", 1)[0] + "…")[int(rng.integers(3))]
        elif way == 2 and number % 2:
            title = titles[int(rng.integers(3))]
        items.append(Item(onset + int(offset), title, summary))
    return items
