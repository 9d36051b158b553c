"""What a run's alerts are worth against what was injected.

A burst is hit by an alert of its key within [start, end + 2 h]; two hours are the longest horizon. Further alerts there
count neither way. An alert within a decoy's time is that decoy's, once; any other is false. Precision counts decoys:
hits / (hits + decoys alerted + false alerts).
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from monitor.bench.archive import HOUR_S, WEEK_S
from monitor.bench.bursts import Injection, Stream
from monitor.domain.stories import FirstTold

GRACE_S: Final = 2 * HOUR_S
LEAST_STORIES: Final = 4  # distinct negative ones, without which nothing may be said
_RESAMPLES: Final = 400


class Event(NamedTuple):
    """An article of a story on a key. `arrives` is when it was heard of; times in Unix seconds."""

    at: int
    key: str
    negative: bool
    story: str
    arrives: int


class Told(NamedTuple):
    """What an event adds to its key's counts: at least one of the two."""

    event: Event
    negative: int
    stories: int


class Alert(NamedTuple):
    at: int
    key: str
    score: float = 0.0


class Outcome(NamedTuple):
    """One injection, and the first alert on it.

    Units: seconds from the onset, to the alert and to the fourth distinct negative story on the key; None: never, the
        latter within the time in which an alert counts.
    `in_reach`: whether there was a moment at which four such stories were within two hours.
    """

    injection: Injection
    density: str
    after_s: int | None
    fourth_s: int | None
    in_reach: bool

    @property
    def waited_s(self) -> int | None:
        """From that story to the alert. Where stories from before the onset sufficed, nothing was waited for."""
        if self.after_s is None:
            return None
        return 0 if self.fourth_s is None else max(0, self.after_s - self.fourth_s)


class Cell(NamedTuple):
    """One key of one seed."""

    seed: int
    key: str
    density: str
    key_weeks: float
    outcomes: tuple[Outcome, ...]
    false_alerts: tuple[Alert, ...]


def told(events: Iterable[Event]) -> list[Told]:
    """The events that change a count, by the daemon's own rule: a story counts on a key once a day."""
    first = FirstTold()
    found = []
    for event in events:
        new = first.take(event.key, event.story, event.arrives, negative=event.negative)
        if new.story or new.negative:
            found.append(Told(event, new.negative, new.story))
    return found


def judge(stream: Stream, events: Sequence[Event], alerts: Iterable[Alert]) -> list[Cell]:
    """One cell for each key; alerts of the warm-up, or past the last whole week, are left out."""
    bad: defaultdict[str, list[int]] = defaultdict(list)
    for one in told(events):
        if one.negative:
            bad[one.event.key].append(one.event.at)
    fired: defaultdict[str, list[Alert]] = defaultdict(list)
    for alert in sorted(alerts):
        if stream.judged_from <= alert.at < stream.judged_until + GRACE_S:
            fired[alert.key].append(alert)
    of_key: defaultdict[str, list[Injection]] = defaultdict(list)
    for injection in stream.injections:
        of_key[injection.key].append(injection)
    cells = []
    for name, watch in stream.keys.items():
        outcomes = []
        free = fired[name]
        for injection in of_key[name]:
            inside = [alert for alert in free if injection.start <= alert.at <= injection.end + GRACE_S]
            free = [alert for alert in free if alert not in inside]
            outcomes.append(_outcome(injection, watch.density, inside[0].at if inside else None, bad[name]))
        weeks = (stream.judged_until - stream.judged_from) / WEEK_S
        cells.append(Cell(stream.seed, name, watch.density, weeks, tuple(outcomes), tuple(free)))
    return cells


def _outcome(injection: Injection, density: str, alert_at: int | None, bad: Sequence[int]) -> Outcome:
    """`bad`: the times of the key's new negative stories, ascending."""
    first = bisect_left(bad, injection.start)
    past = bisect_right(bad, injection.end + GRACE_S)
    fourth = first + LEAST_STORIES - 1
    return Outcome(
        injection,
        density,
        None if alert_at is None else alert_at - injection.start,
        bad[fourth] - injection.start if fourth < past else None,
        any(
            bad[place] - bad[place - LEAST_STORIES + 1] < GRACE_S
            for place in range(max(first, LEAST_STORIES - 1), past)
        ),
    )


def summary(cells: Sequence[Cell]) -> dict[str, Any]:
    """Every figure over these cells; delays in minutes, of the bursts that were hit; None where nothing is counted."""
    bursts = [outcome for cell in cells for outcome in cell.outcomes if outcome.injection.kind == "burst"]
    hits = [outcome for outcome in bursts if outcome.after_s is not None]
    decoys = {
        kind: [
            outcome.after_s is not None for cell in cells for outcome in cell.outcomes if outcome.injection.kind == kind
        ]
        for kind in ("volume", "syndicated")
    }
    false = sum(len(cell.false_alerts) for cell in cells)
    fooled = sum(decoys["volume"]) + sum(decoys["syndicated"])
    precision = _ratio(len(hits), len(hits) + fooled + false)
    recall = _ratio(len(hits), len(bursts))
    strong = [outcome.after_s is not None for outcome in bursts if outcome.injection.strength == "strong"]
    after = [outcome.after_s / 60 for outcome in hits if outcome.after_s is not None]
    waited = [outcome.waited_s / 60 for outcome in hits if outcome.waited_s is not None]
    fourth = [outcome.fourth_s / 60 for outcome in hits if outcome.fourth_s is not None]
    return {
        "f1": _f1(precision, recall),
        "precision": precision,
        "recall": recall,
        "strong_recall": _ratio(sum(strong), len(strong)),
        "false_per_key_week": _ratio(false, sum(cell.key_weeks for cell in cells)),
        "volume_decoys_alerted": _ratio(sum(decoys["volume"]), len(decoys["volume"])),
        "syndicated_decoys_alerted": _ratio(sum(decoys["syndicated"]), len(decoys["syndicated"])),
        "delay_median_min": _quantile(after, 0.5),
        "delay_p90_min": _quantile(after, 0.9),
        "after_fourth_median_min": _quantile(waited, 0.5),
        "after_fourth_p90_min": _quantile(waited, 0.9),
        "fourth_story_median_min": _quantile(fourth, 0.5),
        "in_reach": _ratio(sum(outcome.in_reach for outcome in bursts), len(bursts)),
        "bursts": len(bursts),
        "hits": len(hits),
        "false_alerts": false,
    }


def intervals(cells: Sequence[Cell], seed: int = 0) -> dict[str, tuple[float, float]]:
    """Central 95 % of each figure when the keys of all seeds are drawn again with replacement (bootstrap)."""
    rng = np.random.default_rng(seed)
    drawn: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(_RESAMPLES):
        for name, value in summary([cells[index] for index in rng.integers(0, len(cells), len(cells))]).items():
            if value is not None and name not in ("bursts", "hits", "false_alerts"):
                drawn[name].append(value)
    found = {}
    for name, values in drawn.items():
        low, high = np.quantile(values, (0.025, 0.975))
        found[name] = round(float(low), 3), round(float(high), 3)
    return found


def breakdown(cells: Sequence[Cell]) -> dict[str, dict[str, dict[str, Any]]]:
    """Recall and delay of the bursts by strength, shape and density of the key; alerted decoys by density as well."""
    ways: Mapping[str, Callable[[Outcome], str]] = {
        "strength": lambda outcome: outcome.injection.strength,
        "shape": lambda outcome: outcome.injection.shape,
        "density": lambda outcome: outcome.density,
    }
    outcomes = [outcome for cell in cells for outcome in cell.outcomes]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for way, part_of in ways.items():
        found[way] = {}
        for part in sorted({part_of(outcome) for outcome in outcomes if outcome.injection.kind == "burst"}):
            bursts = [o for o in outcomes if part_of(o) == part and o.injection.kind == "burst"]
            decoys = [o for o in outcomes if part_of(o) == part and o.injection.kind == "volume"]
            after = [o.after_s / 60 for o in bursts if o.after_s is not None]
            found[way][part] = {
                "bursts": len(bursts),
                "recall": _ratio(len(after), len(bursts)),
                "in_reach": _ratio(sum(o.in_reach for o in bursts), len(bursts)),
                "delay_median_min": _quantile(after, 0.5),
                "volume_decoys_alerted": _ratio(sum(o.after_s is not None for o in decoys), len(decoys)),
            }
    for density, facts in found["density"].items():
        of_it = [cell for cell in cells if cell.density == density]
        facts["false_per_key_week"] = _ratio(
            sum(len(cell.false_alerts) for cell in of_it), sum(cell.key_weeks for cell in of_it)
        )
    return found


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _f1(precision: float | None, recall: float | None) -> float | None:
    if precision is None or recall is None:
        return None if recall is None else 0.0
    return round(2 * precision * recall / (precision + recall), 4) if precision + recall else 0.0


def _quantile(values: Sequence[float], share: float) -> float | None:
    return round(float(np.quantile(values, share)), 1) if values else None
