"""What a backtest found, read from the tables it filled."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from monitor import app
from monitor.domain.alerts import Event, Verdict
from monitor.domain.spikes import Spike
from monitor.domain.stories import keys_of
from monitor.domain.windows import Key
from monitor.settings import Settings
from monitor.storage.alerts import LIVE
from monitor.storage.groups import DecisionRow, MessageRow
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
        rows = await store.alerts.latest(limit=_ALL, origin=LIVE)
        messages = await store.groups.messages(LIVE)
        decisions = await store.groups.decisions([row.alert.id for row in rows])
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
    alert_of = {spike.id: row.alert.id for row in rows for spike in row.alert.spikes}
    alarms = [_alarm(spike, alert_of.get(spike.id), messages, decisions) for spike in spikes]
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


def _alarm(
    spike: Spike, alert_id: str | None, messages: Sequence[MessageRow], decisions: Sequence[DecisionRow]
) -> Alarm:
    """The first message that would have told of a spike, or the first reason why none would have."""
    for message in messages:
        is_news = message.event in (Event.FIRING, Event.UPDATED)
        if message.alert_id == alert_id and is_news and message.created_at >= spike.detected_at:
            return Alarm(spike, message.id, None)
    mine = [one for one in decisions if one.alert_id == alert_id and one.decided_at >= spike.detected_at]
    for one in mine:
        if one.verdict not in (Verdict.WAITING, Verdict.SENT):
            return Alarm(spike, None, f"{one.verdict}: {one.detail}" if one.detail else str(one.verdict))
    return Alarm(spike, None, f"{Verdict.UNCHANGED}: it joined an alert that had been told")


def keys_that_fired(alarms: Collection[Alarm]) -> list[Key]:
    """Each once; those with the strongest alarm first."""
    best: dict[Key, float] = {}
    for alarm in alarms:
        best[alarm.spike.key] = max(alarm.spike.score, best.get(alarm.spike.key, 0.0))
    return sorted(best, key=lambda key: (-best[key], key))
