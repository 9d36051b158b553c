"""What arrived, when: the items of an archive, or made-up ones, and the names that their titles speak of."""

import calendar
import csv
import gzip
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from monitor.errors import ConfigError, Mistake
from pipelines.ingest.normalise import parse_time, plain_text, story_text
from pipelines.ingest.source import Entry
from pipelines.ingest.sources.replay import read

HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S
WEEK_S: Final = 7 * DAY_S
LEAST_PER_DAY: Final = 0.3  # stories a day that a name needs to be worth watching
_MOST_PER_DAY: Final = 100.0  # beyond it stand words such as "shares", not names
_EASTERN: Final = ZoneInfo("America/New_York")
_WORD: Final = re.compile(r"[^\W_]+(?:[.&'’][^\W_]+)*")
_POSSESSIVE: Final = re.compile(r"['’]s$")
_PROPER: Final = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)*|[A-Z](?:\.?[A-Z]){1,4}")
_COMMON: Final = frozenset(
    ["CEO", "CFO", "COO", "CTO", "IPO", "ETF", "GDP", "CPI", "FX", "TV", "EPS", "PM", "AM", "OTC"]
)
_CALENDAR: Final = frozenset({*calendar.month_name, *calendar.month_abbr, *calendar.day_name, "Sept"})
_FORMULA: Final = re.compile(r"^\s*(?:[A-Z]{3,}\b|RPT|UPDATE|Research and Markets|\W|Following Is)")
_MADE_UP: Final = "no archive: made-up arrivals with daily and weekly seasons"


class Item(NamedTuple):
    """One article as it arrived. `at` in seconds since the Unix epoch."""

    at: int
    title: str
    summary: str = ""


@dataclass(frozen=True)
class Archive:
    """Items in time order."""

    name: str
    items: Sequence[Item]

    @property
    def start(self) -> int:
        return self.items[0].at

    @property
    def end(self) -> int:
        return self.items[-1].at + 1

    @property
    def days(self) -> float:
        return (self.end - self.start) / DAY_S

    @cached_property
    def names(self) -> Mapping[str, np.ndarray]:
        """The names in its titles, each with the positions of the items that speak of it; in alphabetic order.

        A name: one to three capitalised words or abbreviations on end, inside of a title whose other words are mostly
        small, none of them a word that is often written small; such titles are at least a sixth of those with it.
        """
        return _names(self.items, self.days)

    @cached_property
    def per_day(self) -> Mapping[str, float]:
        """Stories a day of each name, a story told again within the same day counted once."""
        told = {
            name: {(self.items[place].at // DAY_S, story_text(self.items[place].title)) for place in places}
            for name, places in self.names.items()
        }
        return {name: len(stories) / self.days for name, stories in told.items()}

    @cached_property
    def quotable(self) -> Sequence[tuple[int, str]]:
        """Titles that can be said of another name too: the place of the item, and the name in it.

        Titles by formula, of notices and tables, are left out: many of them differ by a number alone.
        """
        return [
            (int(place), name)
            for name, places in self.names.items()
            for place in places
            if len(words_of(self.items[place].title)) >= 5 and not _FORMULA.match(self.items[place].title)
        ]

    @cached_property
    def season(self) -> np.ndarray:
        """Volume of each hour of the week (UTC, Monday first) beside the mean; shape (168,)."""
        hours = np.bincount(np.array([hour_of_week(item.at) for item in self.items]), minlength=168).astype(float)
        spans = np.bincount([hour_of_week(at) for at in range(self.start, self.end, HOUR_S)], minlength=168)
        seen = np.maximum(spans, 1)
        return np.asarray((hours / seen + 1.0) / float((hours / seen + 1.0).mean()))


def hour_of_week(at: float) -> int:
    return int((at // HOUR_S + 72) % 168)  # the epoch was a Thursday


def load(path: Path) -> Archive:
    """An archive: .csv or .csv.gz with `time_us_eastern` and `title`, or .jsonl or .jsonl.gz as replays read it.

    Raises: ConfigError, if it cannot be used; FetchError, if it cannot be read to its end.
    """
    if not path.is_file():
        raise ConfigError("command line", [Mistake("ARCHIVE", f"expected an archive; there is no file {path}")])
    items = _csv(path) if ".csv" in path.suffixes else _lines(path)
    items.sort(key=lambda item: item.at)
    if len(items) < 2 or items[-1].at - items[0].at < 2 * WEEK_S:
        raise ConfigError(
            "command line", [Mistake("ARCHIVE", f"expected two weeks of dated items or more; see {path}")]
        )
    return Archive(path.name, items)


def _csv(path: Path) -> list[Item]:
    items = []
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        rows = csv.DictReader(file)
        if not {"time_us_eastern", "title"} <= set(rows.fieldnames or ()):
            problem = f"expected the columns time_us_eastern and title; {path} has {rows.fieldnames}"
            raise ConfigError("command line", [Mistake("ARCHIVE", problem)])
        for row in rows:
            title = plain_text(row["title"], 500)
            if title:
                moment = datetime.fromisoformat(row["time_us_eastern"]).replace(tzinfo=_EASTERN)
                items.append(Item(int(moment.timestamp()), title))
    return items


def _lines(path: Path) -> list[Item]:
    items = []
    for entry in read(path):
        if not isinstance(entry, Entry) or not (entry.language or "en").lower().startswith("en"):
            continue
        moment, title = parse_time(entry.published), plain_text(entry.title, 500)
        if moment is not None and title:
            items.append(Item(int(moment.timestamp()), title, plain_text(entry.summary, 4000)))
    return items


def made_up(seed: int = 0, *, days: int = 21, per_day: float = 2_000.0, names: int = 300) -> Archive:
    """Arrivals with daily and weekly seasons, titles of made-up words about made-up names, some named much more often.

    The same for the same arguments.
    """
    rng = np.random.default_rng([seed, 20_110_725])
    words = sorted({_word(rng) for _ in range(3_000)})
    called = sorted({_word(rng, least=3).capitalize() for _ in range(2 * names)} - {w.capitalize() for w in words})
    rng.shuffle(called)
    called = called[:names]
    weights = 1 / np.arange(1, len(called) + 1) ** 0.9
    start = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
    items = []
    for hour in range(days * 24):
        at = start + hour * HOUR_S
        daily = 1 + 0.8 * math.sin((hour % 24 - 8) / 24 * 2 * math.pi)
        weekly = 0.35 if hour_of_week(at) >= 5 * 24 else 1.2
        for offset in np.sort(rng.integers(0, HOUR_S, rng.poisson(per_day / 24 * daily * weekly))):
            said = [words[index] for index in rng.integers(0, len(words), 8)]
            said.insert(int(rng.integers(1, 6)), called[int(rng.choice(len(called), p=weights / weights.sum()))])
            items.append(Item(at + int(offset), " ".join([said[0].capitalize(), *said[1:]])))
    return Archive(_MADE_UP, items)


def _word(rng: np.random.Generator, least: int = 1) -> str:
    count = int(rng.integers(least, least + 3))
    return (
        "".join("bdfgklmnprstvz"[rng.integers(14)] + "aeiou"[rng.integers(5)] for _ in range(count))
        + "nrst"[rng.integers(4)]
    )


def words_of(title: str) -> list[str]:
    """The words of a title as names are looked for in it: without punctuation and possessives, case kept."""
    return [_POSSESSIVE.sub("", word) for word in _WORD.findall(title)]


def _names(items: Sequence[Item], days: float) -> dict[str, np.ndarray]:
    titles = [words_of(item.title) for item in items]
    total = Counter(word for words in titles for word in words)
    small = Counter(word for words in titles for word in words if word.islower())
    inside: Counter[str] = Counter()
    for words in titles:
        rest = [word for word in words[1:] if word[0].isalpha()]
        if len(rest) >= 3 and sum(word[0].islower() for word in rest) >= 0.6 * len(rest):
            inside.update(set(_runs(words[1:])))
    known = {
        name
        for name in inside
        if not any(
            word in _CALENDAR or word in _COMMON or small[word.lower()] > 0.05 * total[word] for word in name.split()
        )
    }
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, words in enumerate(titles):
        spoken = {" ".join(words[at : at + n]) for n in (1, 2, 3) for at in range(len(words) - n + 1)}
        for name in spoken & known:
            places[name].append(place)
    found = {}
    for name in sorted(places):
        stories = len({story_text(items[place].title) for place in places[name]})
        if LEAST_PER_DAY <= stories / days <= _MOST_PER_DAY and inside[name] >= max(3, len(places[name]) / 6):
            found[name] = np.array(places[name])
    return found


def _runs(words: Iterable[str]) -> Iterable[str]:
    run: list[str] = []
    for word in (*words, ""):
        if _PROPER.fullmatch(word):
            run.append(word)
            continue
        if 1 <= len(run) <= 3:
            yield " ".join(run)
        run = []
