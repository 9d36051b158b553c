"""What a backtest found, as a document: for programs as it is, for people as HTML."""

import base64
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from alerts.cleaning import clean, safe_url
from monitor.backtest.archive import Survey
from monitor.backtest.episodes import Figures, Heard, Verdict
from monitor.backtest.facts import Alarm, Played, keys_that_fired
from monitor.domain.spikes import Severity
from monitor.domain.windows import Key

FIRST_STORIES = 3
_MAX_TITLE = 200
_APART = timedelta(hours=2)


class Change(NamedTuple):
    """What a second configuration tells that the first does not, and the other way round."""

    kept: int
    gained: list[Alarm]
    lost: list[Alarm]


def compare(before: Sequence[Alarm], after: Sequence[Alarm]) -> Change:
    """Pairs the alarms of two runs in the order of their time: those of one key whose episodes overlap.

    The episode of an alarm reaches from the start of its window until two hours after it fired.
    """
    lost: list[Alarm] = []
    rest = list(after)
    for alarm in before:
        partner = next((other for other in rest if _overlap(alarm, other)), None)
        if partner is None:
            lost.append(alarm)
        else:
            rest.remove(partner)
    return Change(len(before) - len(lost), rest, lost)


def _overlap(one: Alarm, other: Alarm) -> bool:
    a, b = one.spike, other.spike
    return a.key == b.key and a.start < b.detected_at + _APART and b.start < a.detected_at + _APART


def document(
    past: str, played: Played, seen: Survey | None, verdict: Verdict | None, change: tuple[str, Change] | None
) -> dict[str, Any]:
    """Everything the report says. Equal runs give equal documents.

    `past`: what was played, in words. `change`: the name of the other configuration, and what differs.
    Units: delays in minutes; `per_week` how often a week the key by itself scores as high.
    """
    alarms = played.alarms
    told = [alarm for alarm in alarms if alarm.why_not is None]
    names = verdict.told if verdict else ((),) * len(alarms)
    found: dict[str, Any] = {
        "past": past,
        "from": played.first,
        "to": played.last,
        "days": round(played.days, 3),
        "articles": played.articles,
        "labelled": played.labelled,
        "unreadable_lines": 0 if seen is None else seen.unreadable,
        "first_unreadable": None if seen is None else seen.first_unreadable,
        "detector": played.detector,
        "alerts": len(alarms),
        "alerts_per_day": _per_day(len(alarms), played),
        "messages": len({alarm.message for alarm in told}),
        "messages_per_day": _per_day(len({alarm.message for alarm in told}), played),
        "by_severity": {str(s): n for s in Severity if (n := sum(1 for a in alarms if a.spike.severity == s))},
        "by_kind": dict(sorted(Counter(alarm.spike.key.kind for alarm in alarms).items())),
        "keys": [_key(key, alarms) for key in keys_that_fired(alarms)],
        "fired": [_alarm(alarm, mine) for alarm, mine in zip(alarms, names, strict=True)],
    }
    if verdict is not None:
        found["judged"] = {
            "overall": _figures(verdict.overall),
            "by_severity": {str(severity): _figures(figures) for severity, figures in verdict.by_severity.items()},
            "episodes": [_heard(heard) for heard in verdict.episodes],
        }
    if change is not None:
        other, difference = change
        found["diff"] = {
            "against": other,
            "kept": difference.kept,
            "gained": [_alarm(alarm) for alarm in difference.gained],
            "lost": [_alarm(alarm) for alarm in difference.lost],
        }
    return found


def _per_day(count: int, played: Played) -> float | None:
    return round(count / played.days, 3) if played.days else None


def _key(key: Key, alarms: Sequence[Alarm]) -> dict[str, Any]:
    mine = [alarm.spike for alarm in alarms if alarm.spike.key == key]
    return {
        "key": str(key),
        "alerts": len(mine),
        "score": round(max(spike.score for spike in mine), 2),
        "first_at": min(spike.detected_at for spike in mine),
        "last_at": max(spike.detected_at for spike in mine),
    }


def _alarm(alarm: Alarm, episodes: Sequence[str] = ()) -> dict[str, Any]:
    spike = alarm.spike
    return {
        "id": spike.id,
        "at": spike.detected_at,
        "key": str(spike.key),
        "severity": str(spike.severity),
        "observed": spike.observed,
        "total": spike.total,
        "expected": round(spike.expected, 3),
        "low": _rounded(spike.low),
        "high": _rounded(spike.high),
        "score": round(spike.score, 2),
        "per_week": _rounded(spike.per_week),
        "start": spike.start,
        "end": spike.end,
        "sources": spike.sources,
        "message": alarm.message,
        "why_not": alarm.why_not,
        "episodes": list(episodes),
        "stories": [
            {
                "title": clean(story.title, _MAX_TITLE) or "(no title)",
                "source": clean(story.source, _MAX_TITLE),
                "url": safe_url(story.url),
                "published_at": story.published_at,
            }
            for story in spike.stories[:FIRST_STORIES]
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _figures(figures: Figures) -> dict[str, Any]:
    return {name: part._asdict() for name, part in figures._asdict().items()}


def _heard(heard: Heard) -> dict[str, Any]:
    episode, first = heard.episode, heard.first
    return {
        "name": episode.name,
        "key": episode.key or None,
        "match": None if episode.match is None else episode.match.pattern,
        "severity": None if episode.severity is None else str(episode.severity),
        "start": episode.start,
        "end": episode.end,
        "in_span": heard.in_span,
        "stories": heard.stories,
        "alerts": heard.alarms,
        "first_at": None if first is None else first.detected_at,
        "first_key": None if first is None else str(first.key),
        "delay_min": heard.delay_min,
        "third_at": heard.third_at,
        "after_third_min": heard.after_third_min,
        "fourth_at": heard.fourth_at,
        "after_fourth_min": heard.after_fourth_min,
    }


def page(document: dict[str, Any], pictures: dict[str, bytes]) -> str:
    """One HTML document that fetches nothing; all outside text in it is escaped.

    `pictures`: by key, as PNG.
    """
    inlined = {key: base64.b64encode(png).decode("ascii") for key, png in pictures.items()}
    anchors = {key: f"key-{number}" for number, key in enumerate(pictures, start=1)}
    return _TEMPLATES.get_template("report.html.j2").render(report=document, pictures=inlined, anchors=anchors)


def minute(moment: datetime | None) -> str:
    """In UTC; a dash where there is none."""
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def percent(share: dict[str, Any]) -> str:
    """A share with its interval, in per cent."""
    if share["value"] is None:
        return "-"
    return f"{100 * share['value']:.0f} % ({100 * share['low']:.0f} to {100 * share['high']:.0f})"


def delay(found: dict[str, Any]) -> str:
    """A median with its interval, in minutes, or in hours where it is long."""
    if found["value"] is None:
        return "-"
    unit, size = ("min", 1) if found["high"] < 600 else ("h", 60)
    value, low, high = (f"{found[name] / size:.0f}" for name in ("value", "low", "high"))
    return f"{value} {unit} ({low} to {high})"


def few(stories: float) -> str:
    """An expected number of stories: to a tenth, and two digits where it is below one."""
    return f"{stories:.1f}" if stories >= 0.95 else f"{stories:.2g}"


_TEMPLATES = Environment(
    loader=PackageLoader("monitor.backtest"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(few=few, minute=minute, percent=percent, delay=delay)
