"""An invented day of news: four outlets, one bank that fails at its end."""

import json
from datetime import datetime, timedelta
from importlib.resources import files
from typing import NamedTuple


class Item(NamedTuple):
    """One item of an outlet."""

    outlet: str
    guid: str
    title: str
    summary: str
    published_at: datetime


class Day(NamedTuple):
    """The day up to now, what happens next, and what would have happened on a calm day."""

    before: list[Item]
    burst: list[Item]
    calm: list[Item]

    @property
    def outlets(self) -> list[str]:
        return sorted({item.outlet for item in self.before})


def load(now: datetime) -> Day:
    """The day as if it led up to `now`. The items to come are dated one second apart, from `now` on."""
    phases: dict[str, list[Item]] = {"calm": [], "burst": [], "live_calm": []}
    for line in files(__package__).joinpath("newsday.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        items = phases[row["phase"]]
        age = timedelta(minutes=row["minutes_before"]) or timedelta(seconds=-len(items))
        items.append(Item(row["feed"], row["guid"], row["title"], row["summary"], now - age))
    return Day(phases["calm"], phases["burst"], phases["live_calm"])
