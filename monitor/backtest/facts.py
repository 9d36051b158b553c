"""What a backtest found, read from the tables it filled."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from monitor import app
from monitor.domain.spikes import Spike
from monitor.domain.stories import keys_of
from monitor.domain.windows import Key
from monitor.settings import Settings
from monitor.storage.store import Store
from pipelines.detect.order import in_order

_ALL = 10_000_000


class Alarm(NamedTuple):
    """A key that fired. `message`: id of the message that would have told of it; None: none would.

    `why_not`: why it would not have been told; None if it would.
    """

    spike: Spike
    message: str | None
    why_not: str | None


class Negative(NamedTuple):
    """An article that counts as bad news, and the keys it counts on. `seen_at`: when it was taken in."""

    seen_at: datetime
    published_at: datetime
    story_id: str
    title: str
    keys: tuple[Key, ...]


class Played(NamedTuple):
    """One run. `first`, `last`: when the first and the last article came in; None where there were none.

    Alarms and negatives are in the order of their time. `hours`: for each key that fired, its new negative stories by
    the hour of event time; hours without any are missing.
    """

    articles: int
    labelled: int
    first: datetime | None
    last: datetime | None
    alarms: tuple[Alarm, ...]
    negatives: tuple[Negative, ...]
    hours: Mapping[Key, Mapping[datetime, int]]
    detector: str | None

    @property
    def days(self) -> float:
        return 0.0 if self.first is None or self.last is None else (self.last - self.first).total_seconds() / 86_400


async def gather(settings: Settings) -> Played:
    """Reads the tables of a run that has ended. Raises: StoreError."""
    async with app.open_store(settings) as store:
        spikes = await store.spikes.latest(limit=_ALL)
        messages = await store.alerts.latest(limit=_ALL)
        hours = {key: await _hours(store, key) for key in sorted({spike.key for spike in spikes})}
        articles = labelled = 0
        first = last = None
        negatives = []
        async for article in in_order(store.sightings):
            articles += 1
            labelled += article.topic is not None
            first, last = first or article.fetched_at, article.fetched_at
            if (article.negative or 0.0) >= settings.detect.negative_from:
                negatives.append(
                    Negative(
                        article.fetched_at,
                        article.published_at,
                        article.story_id,
                        article.title,
                        tuple(keys_of(article.source, article.topic, article.title, article.summary)),
                    )
                )
    told = {spike.id: row for row, _ in messages for spike in row.alert.spikes}
    alarms = []
    for spike in spikes:
        row = told.get(spike.id)
        if row is None:
            alarms.append(Alarm(spike, None, f"below alerts.min_severity {settings.alerts.min_severity}"))
        else:
            alarms.append(Alarm(spike, row.alert.id, _why_not(row.outcome)))
    return Played(
        articles=articles,
        labelled=labelled,
        first=first,
        last=last,
        alarms=tuple(sorted(alarms, key=lambda alarm: (alarm.spike.detected_at, alarm.spike.key, alarm.spike.id))),
        negatives=tuple(negatives),
        hours=hours,
        detector=spikes[0].detector if spikes else None,
    )


async def _hours(store: Store, key: Key) -> dict[datetime, int]:
    rows = await store.articles.trends(resolution="1h", kinds=[key.kind], key=key.name)
    return {row.start: row.negative_stories for row in rows if row.negative_stories}


_NOBODY_TO_TELL = "no channel is enabled"


def _why_not(outcome: str | None) -> str | None:
    """Why a message would not have gone out. A backtest has no channels: what fails for that alone would have gone."""
    return None if outcome is None or outcome == _NOBODY_TO_TELL else outcome


def keys_that_fired(alarms: Collection[Alarm]) -> list[Key]:
    """Each once; those with the strongest alarm first."""
    best: dict[Key, float] = {}
    for alarm in alarms:
        best[alarm.spike.key] = max(alarm.spike.score, best.get(alarm.spike.key, 0.0))
    return sorted(best, key=lambda key: (-best[key], key))
