"""Episodes of bad news that people wrote down, and how well alarms tell of them.

The file is CSV with a header. Columns: `name`; `start` and `end`, ISO 8601, UTC unless they name a zone, the end not
included; and, all three optional, `key`, a pattern such as `topic:Financials`, `entity:*` or `all` (empty: any key),
`match`, a regular expression of RE2 looked for in titles without regard to case (empty: any title), and `severity`.
"""

import csv
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from monitor.backtest.facts import Alarm, Negative, Played
from monitor.domain.matchers import compiled
from monitor.domain.spikes import Severity, Spike
from monitor.domain.windows import Key
from monitor.errors import DatasetError

COLUMNS = ("name", "key", "start", "end", "match", "severity")
_NEEDED = frozenset({"name", "start", "end"})
_LEAST_TITLES = 2
_SEED = 20230310
_RESAMPLES = 2000


class TitlePattern:
    """A regular expression that is looked for in titles, without regard to case.

    RE2 runs it in time linear in the title: no expression makes a backtest hang. It knows neither look-around nor
    back-references.

    Raises: ValueError, if RE2 does not know the expression.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._expression = compiled(pattern, case_sensitive=False)

    def is_in(self, title: str) -> bool:
        # RE2 reads UTF-8; half a surrogate pair, which a feed may contain, has no form in it.
        return self._expression.search(title.encode("utf-8", "replace").decode()) is not None


class Episode(NamedTuple):
    """One row: from `start` to `end`, the end not included."""

    name: str
    start: datetime
    end: datetime
    key: str = ""
    match: TitlePattern | None = None
    severity: Severity | None = None

    def is_told_by(self, spike: Spike) -> bool:
        """Whether the spike fired within the episode, on one of its keys, and because of its stories.

        Of these, two titles have to match, or one where only one is known: any big day has one by chance.
        """
        if not self.start <= spike.detected_at < self.end or not self._has(spike.key):
            return False
        if self.match is None:
            return True
        hits = sum(1 for story in spike.stories if self.match.is_in(story.title))
        return hits >= min(_LEAST_TITLES, max(1, len(spike.stories)))

    def holds(self, article: Negative) -> bool:
        """Whether a negative article belongs to it."""
        if not self.start <= article.published_at < self.end:
            return False
        if self.match is not None:
            return self.match.is_in(article.title)
        return any(self._has(key) for key in article.keys)

    def _has(self, key: Key) -> bool:
        return not self.key or fnmatchcase(str(key).casefold(), self.key.casefold())


class Share(NamedTuple):
    """`hits` of `total`, with the 95 % interval. Source: E. B. Wilson, JASA 22, 1927. None where the total is 0."""

    hits: int
    total: int
    value: float | None
    low: float | None
    high: float | None


class Median(NamedTuple):
    """Of `n` delays, in minutes, with the 95 % bootstrap interval; None where there are none."""

    n: int
    value: float | None
    low: float | None
    high: float | None


class Heard(NamedTuple):
    """What became of one episode. `first`: the first alarm that told of it, `alarms`: how many did.

    `third_at`, `fourth_at`: when the third and the fourth of its distinct negative stories came in.
    Units: delays in minutes: from the episode's start, and from these two moments, below 0 if the alarm came before.
    """

    episode: Episode
    in_span: bool
    stories: int
    alarms: int
    first: Spike | None
    delay_min: float | None
    third_at: datetime | None
    after_third_min: float | None
    fourth_at: datetime | None
    after_fourth_min: float | None


class Figures(NamedTuple):
    """Alarms that tell of some episode, episodes that are told of, and how soon."""

    precision: Share
    recall: Share
    delay: Median


class Verdict(NamedTuple):
    """`by_severity`: precision by the alarms' severity; recall and delay by that of the episodes.

    `told`: of each alarm, in order, the names of the episodes it tells of.
    """

    overall: Figures
    by_severity: dict[Severity, Figures]
    episodes: tuple[Heard, ...]
    told: tuple[tuple[str, ...], ...]


def read(path: Path) -> list[Episode]:
    """Raises: DatasetError, naming file, line and column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_rows(path, csv.DictReader(file, strict=True)))
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; {_EXPECTED}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: {error}; {_EXPECTED}") from error


_EXPECTED = f"expected CSV with the columns {', '.join(COLUMNS)}, of which key, match and severity may be missing"


def _rows(path: Path, reader: "csv.DictReader[str]") -> Iterator[Episode]:
    header = reader.fieldnames or ()
    columns = set(header)
    unknown, missing = sorted(columns.difference(COLUMNS)), sorted(_NEEDED - columns)
    if unknown or missing:
        wrong = [f"no column {name}" for name in missing] + [f"unknown column {name}" for name in unknown]
        raise DatasetError(f"{path}, line 1: {', '.join(wrong)}; {_EXPECTED}")
    twice = sorted(name for name in columns if header.count(name) > 1)
    if twice:
        raise DatasetError(f"{path}, line 1: {', '.join(twice)} more than once; expected each column once")
    names: set[str] = set()
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise DatasetError(f"{where}: expected {len(header)} fields, as in the header")
        episode = _episode(where, {name: value.strip() for name, value in row.items()})
        if episode.name in names:
            raise DatasetError(f"{where}, column name: {episode.name!r} again; give each episode a name of its own")
        names.add(episode.name)
        yield episode
    if not names:
        raise DatasetError(f"{path}: no episode; expected at least one line below the header")


def _episode(where: str, row: dict[str, str]) -> Episode:
    if not row["name"]:
        raise DatasetError(f"{where}, column name: empty; give each episode a name of its own")
    start, end = _time(where, "start", row["start"]), _time(where, "end", row["end"])
    if end <= start:
        raise DatasetError(f"{where}, column end: expected a time after the start; got {row['end']!r}")
    try:
        match = TitlePattern(row["match"]) if row.get("match") else None
    except ValueError as error:
        raise DatasetError(f"{where}, column match: not a {error}") from None
    try:
        severity = Severity(row["severity"].lower()) if row.get("severity") else None
    except ValueError:
        raise DatasetError(
            f"{where}, column severity: expected one of {', '.join(Severity)}, or nothing; got {row['severity']!r}"
        ) from None
    return Episode(row["name"], start, end, row.get("key", ""), match, severity)


def _time(where: str, column: str, value: str) -> datetime:
    try:
        given = datetime.fromisoformat(value)
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    except (ValueError, OverflowError):
        expected = "expected a time such as 2023-03-10T14:00, UTC unless it ends in a zone such as +01:00"
        raise DatasetError(f"{where}, column {column}: {expected}; got {value!r}") from None


def judge(played: Played, episodes: Sequence[Episode]) -> Verdict:
    """Holds the alarms against the episodes. Those of which nothing was played do not count as missed."""
    heard = [_heard(played, episode) for episode in episodes]
    told = [tuple(e.name for e in episodes if e.is_told_by(alarm.spike)) for alarm in played.alarms]
    in_span = [one for one in heard if one.in_span]
    severities = {alarm.spike.severity for alarm in played.alarms} | {one.episode.severity for one in in_span}
    return Verdict(
        overall=_figures([bool(names) for names in told], in_span),
        by_severity={
            severity: _figures(
                [
                    bool(names)
                    for alarm, names in zip(played.alarms, told, strict=True)
                    if alarm.spike.severity == severity
                ],
                [one for one in in_span if one.episode.severity == severity],
            )
            for severity in Severity
            if severity in severities
        },
        episodes=tuple(heard),
        told=tuple(told),
    )


def _figures(right: Collection[bool], heard: Collection[Heard]) -> Figures:
    return Figures(
        precision=share(sum(right), len(right)),
        recall=share(sum(1 for one in heard if one.alarms), len(heard)),
        delay=median([one.delay_min for one in heard if one.delay_min is not None]),
    )


def _heard(played: Played, episode: Episode) -> Heard:
    first_seen: dict[str, datetime] = {}
    for article in played.negatives:
        if episode.holds(article):
            first_seen[article.story_id] = min(article.seen_at, first_seen.get(article.story_id, article.seen_at))
    came_in = sorted(first_seen.values())
    third, fourth = (came_in[number] if len(came_in) > number else None for number in (2, 3))
    mine = [alarm.spike for alarm in _in_time(played.alarms) if episode.is_told_by(alarm.spike)]
    first = mine[0] if mine else None
    return Heard(
        episode=episode,
        in_span=played.first is not None
        and played.last is not None
        and episode.start <= played.last
        and episode.end > played.first,
        stories=len(came_in),
        alarms=len(mine),
        first=first,
        delay_min=_minutes(first, episode.start),
        third_at=third,
        after_third_min=_minutes(first, third),
        fourth_at=fourth,
        after_fourth_min=_minutes(first, fourth),
    )


def _in_time(alarms: Iterable[Alarm]) -> list[Alarm]:
    return sorted(alarms, key=lambda alarm: (alarm.spike.detected_at, alarm.spike.key, alarm.spike.id))


def _minutes(spike: Spike | None, since: datetime | None) -> float | None:
    if spike is None or since is None:
        return None
    return round((spike.detected_at - since).total_seconds() / 60, 1)


def share(hits: int, total: int) -> Share:
    """Wilson's interval."""
    if not total:
        return Share(hits, total, None, None, None)
    z = NormalDist().inv_cdf(0.975)
    centre = (hits + z * z / 2) / (total + z * z)
    half = z / (total + z * z) * (hits * (total - hits) / total + z * z / 4) ** 0.5
    return Share(
        hits, total, round(hits / total, 4), round(max(0.0, centre - half), 4), round(min(1.0, centre + half), 4)
    )


def median(delays: Sequence[float]) -> Median:
    """The interval is that of medians of resamples, drawn by a fixed seed: equal for equal delays."""
    if not delays:
        return Median(0, None, None, None)
    values = np.sort(np.asarray(delays, np.float64))
    draws = np.random.default_rng(_SEED).choice(values, (_RESAMPLES, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return Median(len(values), round(float(np.median(values)), 1), round(float(low), 1), round(float(high), 1))
