"""Numbers and times as a message says them."""

from datetime import datetime, timedelta

from monitor.domain.alerts import Verdict

WEEKS_A_MONTH = 365.25 / 12 / 7
WEEKS_A_YEAR = 365.25 / 7

VERDICTS: dict[Verdict, str] = {
    Verdict.SENT: "told",
    Verdict.WAITING: "waiting for its group",
    Verdict.UNCHANGED: "told before",
    Verdict.SAME_STORIES: "not told: same stories as an alert told before",
    Verdict.ACKNOWLEDGED: "not repeated: acknowledged",
    Verdict.SILENCED: "not told: silenced",
    Verdict.INHIBITED: "not told: another alert stands for it",
    Verdict.QUIET_HOURS: "not told: quiet hours",
    Verdict.BUDGET: "not told: the day's budget was spent",
    Verdict.BELOW_SEVERITY: "not told: below the least severity",
    Verdict.STALE: "not told: too old by then",
    Verdict.NO_RECEIVER: "not told: no receiver",
    Verdict.ENDED_UNTOLD: "not told: over before its turn came",
    Verdict.REPLAYED: "not told: from a replay",
}


def plural(noun: str, count: int) -> str:
    if count == 1:
        return noun
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


def counted(noun: str, count: int) -> str:
    """3 stories, 1 source."""
    return f"{count} {plural(noun, count)}"


def period(length: timedelta) -> str:
    """30 min, 90 min, 12 h."""
    minutes = _minutes(length)
    return f"{minutes // 60} h" if minutes >= 120 and minutes % 60 == 0 else f"{minutes} min"


def lasting(length: timedelta) -> str:
    """How long something took: 40 min, 2 h 10 min, 3 d 4 h."""
    minutes = _minutes(length)
    if minutes < 1:
        return "less than a minute"
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min")] if hours < 48 else [(hours // 24, "d"), (hours % 24, "h")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def amount(expected: float) -> str:
    """2.1; what is tiny is not said to be nothing."""
    return "under 0.1" if 0 < expected < 0.05 else f"{expected:.1f}"


def percent(share: float | None) -> str:
    """Units: `share` in [0, 1]; None where it is not known."""
    return "?" if share is None else f"{share:.0%}"


def rarity(length: timedelta, per_week: float) -> str:
    """such a half hour comes about once in 8 months. Units: `per_week` times a week."""
    minutes = _minutes(length)
    named = {30: "a half hour comes", 60: "an hour comes", 1440: "a day comes"}
    what = named.get(minutes)
    if what is None:
        what = f"{minutes // 60} hours come" if minutes % 60 == 0 else f"{minutes} minutes come"
    return f"such {what} {how_often(per_week)}"


def how_often(per_week: float) -> str:
    """about twice a week, about once in 8 months, less than once in 100 years."""
    if per_week >= 1.5:
        times = round(per_week)
        return f"about {'twice' if times == 2 else f'{times} times'} a week"
    if per_week * 100 * WEEKS_A_YEAR <= 1:
        return "less than once in 100 years"
    weeks = 1 / per_week
    if weeks < 1.5:
        return "about once a week"
    if round(weeks) <= 8:
        return f"about once in {round(weeks)} weeks"
    if round(weeks / WEEKS_A_MONTH) < 24:
        return f"about once in {round(weeks / WEEKS_A_MONTH)} months"
    return f"about once in {round(weeks / WEEKS_A_YEAR)} years"


def minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def since(moment: datetime, now: datetime) -> str:
    """The minute, with its day where that is not today."""
    return f"{moment:%H:%M} UTC" if moment.date() == now.date() else minute(moment)


def window(start: datetime, end: datetime) -> str:
    closing = f"{end:%H:%M}" if end.date() == start.date() else f"{end:%Y-%m-%d %H:%M}"
    return f"{start:%Y-%m-%d %H:%M} to {closing} UTC"


def _minutes(length: timedelta) -> int:
    return round(length.total_seconds() / 60)
