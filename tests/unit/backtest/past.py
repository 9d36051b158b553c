"""Runs to judge, compare and draw: made up, always the same."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from monitor.backtest.facts import Alarm, Negative, Played
from monitor.domain.record import fingerprint, utc
from monitor.domain.windows import Key
from tests.factories import make_spike, make_story_evidence

FIRST = utc(2026, 3, 1)
LAST = utc(2026, 3, 11)
BANKS = Key("topic", "Financials")


def make_alarm(
    at: datetime,
    *titles: str,
    key: Key = BANKS,
    why_not: str | None = None,
    message: str = "message-1",
    **overrides: Any,
) -> Alarm:
    """A key that fired at `at`, for the half hour before, with stories of these titles."""
    fields = {"start": at - timedelta(minutes=30), "end": at, "detected_at": at, **overrides}
    if titles:
        fields["stories"] = tuple(make_story_evidence(title=title) for title in titles)
    return Alarm(make_spike(key=key, **fields), message, why_not)


def make_negative(at: datetime, title: str, key: Key = BANKS) -> Negative:
    """A negative article of a story of its own title."""
    return Negative(at, at, fingerprint(title), title, (Key("all", "all"), key))


def make_played(alarms: Sequence[Alarm] = (), negatives: Sequence[Negative] = (), **overrides: Any) -> Played:
    """Ten days; each key that fired has had one negative story in the hour before."""
    hours = {
        alarm.spike.key: {alarm.spike.detected_at.replace(minute=0, second=0) - timedelta(hours=1): 1}
        for alarm in alarms
    }
    fields: dict[str, Any] = {
        "articles": 100,
        "labelled": 90,
        "first": FIRST,
        "last": LAST,
        "alarms": tuple(alarms),
        "negatives": tuple(negatives),
        "hours": hours,
        "detector": "test-1",
        **overrides,
    }
    return Played(**fields)
