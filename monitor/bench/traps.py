"""What looks like a burst and is none, over days: each beside the same days without it. Nothing is injected here."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from monitor.bench.archive import DAY_S, HOUR_S
from monitor.bench.bursts import Stream, label
from monitor.bench.following import Gap, base_events
from monitor.bench.scoring import Alert, Event

OUTAGE_S: Final = 6 * HOUR_S
AHEAD_S: Final = HOUR_S
FLIPPED: Final = 0.3
_RAISED: Final = 0.35

Run = Callable[[Sequence[Event], Gap | None], list[Alert]]


class Trap(NamedTuple):
    """Events in which something went wrong within [start, end), and what is known of it."""

    name: str
    events: Sequence[Event]
    start: int
    end: int
    keys: frozenset[str]
    gap: Gap | None = None


def traps(stream: Stream, stories: Sequence[str]) -> list[Trap]:
    """All of them, for one seed."""
    rng = np.random.default_rng([stream.seed, 4])
    quiet = base_events(stream, stories)
    everyone = frozenset(stream.keys)
    # In the middle of traffic: where some article is, and so more often when there are many.
    during = [event.at for event in quiet if stream.judged_from + DAY_S <= event.at < stream.judged_until - 2 * DAY_S]
    begin = during[int(rng.integers(len(during)))] - OUTAGE_S // 2
    end = begin + OUTAGE_S
    backlog = [event._replace(arrives=end) if begin <= event.at < end else event for event in quiet]
    unstamped = [event._replace(at=event.arrives) for event in backlog]
    ahead = [event._replace(at=event.at + AHEAD_S) if begin <= event.at < end else event for event in quiet]
    both = [event._replace(arrives=event.at) for event in ahead]
    drifting = frozenset(name for name in sorted(stream.keys) if rng.random() < 0.5)
    shares = {name: stream.keys[name].share(stream.judged_from, stream.archive.start) for name in drifting}
    raised = {name: min(0.9, share + _RAISED) for name, share in shares.items()}
    drifted = label(stream.archive, stream.keys, np.random.default_rng([stream.seed, 2]), raised=raised)
    told: dict[tuple[str, str], bool] = {}
    flipped = [
        event._replace(negative=event.negative or told.setdefault((event.key, event.story), rng.random() < FLIPPED))
        if begin <= event.at < begin + DAY_S
        else event
        for event in quiet
    ]
    after, gap = end + DAY_S, Gap(begin, end)
    return [
        Trap("outage of 6 h, known; backlog with its own times", backlog, begin, after, everyone, gap),
        Trap("outage of 6 h, not known; backlog with its own times", backlog, begin, after, everyone),
        Trap("outage of 6 h, known; backlog stamped with its arrival", unstamped, begin, after, everyone, gap),
        Trap("stamps 1 h ahead for 6 h", ahead, begin, after, everyone),
        Trap("stamps and clock 1 h ahead for 6 h", both, begin, after, everyone),
        Trap("a day mislabelled, 30 % turned negative", flipped, begin, begin + DAY_S, everyone),
        Trap(
            f"share drifts up by {_RAISED} until the end",
            base_events(stream, stories, drifted),
            stream.judged_from,
            stream.judged_until,
            drifting,
        ),
    ]


def try_all(stream: Stream, stories: Sequence[str], run: Run, quiet: Sequence[Alert]) -> dict[str, dict[str, Any]]:
    """Alerts on the keys of each trap while it lasts and a day after, and in the same time without it."""
    found = {}
    for trap in traps(stream, stories):
        inside = [
            sum(trap.start <= alert.at < trap.end and alert.key in trap.keys for alert in alerts)
            for alerts in (run(trap.events, trap.gap), quiet)
        ]
        weeks = len(trap.keys) * (trap.end - trap.start) / (7 * DAY_S)
        found[trap.name] = {"alerts": inside[0], "without": inside[1], "key_weeks": weeks}
    return found
