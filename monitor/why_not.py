"""Why a key has not alerted at some moment: what kept it from a spike, or what became of its alert."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from alerts.labels import Labels
from monitor.alert_settings import AlertSettings
from monitor.domain.alerts import Verdict
from monitor.domain.matchers import all_match
from monitor.domain.spikes import Spike
from monitor.domain.stories import keys_of
from monitor.domain.windows import Key, bucket_number
from monitor.settings import DetectSettings
from monitor.storage.alerts import LIVE, AlertRow
from monitor.storage.deliveries import Delivery
from monitor.storage.groups import Group
from monitor.storage.sightings import Sighting
from monitor.storage.silences import Silence
from monitor.storage.store import Store
from pipelines.detect.detector import Bar, Power, Score
from pipelines.detect.order import in_order, looked_at
from pipelines.detect.watch import LOOKS_BACK, Watch, bucket_of

_CHECKPOINT = "detect"
_LATEST = 100


class Cause(StrEnum):
    """What decided, the first that did. ALERT: the key has an alert; what its receivers made of it decides."""

    NOT_WATCHED = "not_watched"
    ALERT = "alert"
    NOT_TAKEN_UP = "not_taken_up"
    NO_BAD_NEWS = "no_bad_news"
    WARMING_UP = "warming_up"
    TOO_FEW = "too_few"
    BELOW_THRESHOLD = "below_threshold"
    JUST_FIRED = "just_fired"
    TOO_FEW_SOURCES = "too_few_sources"
    TOO_OLD = "too_old"
    NOT_JUDGED = "not_judged"


class Heard(NamedTuple):
    """How an alert stood with a receiver. `told_at` None: no message told of it by then.

    `deliveries`: those of that receiver's messages about it, the oldest first.
    """

    group: Group
    verdict: Verdict
    detail: str | None
    since: datetime
    told_at: datetime | None
    deliveries: list[Delivery]


class Evidence(NamedTuple):
    """What came on a key within the longest horizon, in distinct stories.

    `timely`: negative ones of which an article came in within detect.alert_horizon_s of its publication.
    """

    span: timedelta
    stories: int
    negative: int
    timely: int


class Learned(NamedTuple):
    """What the detector makes of a key, from the articles that came in up to `upto`; None: there were none."""

    upto: datetime | None
    score: Score | None
    bar: Bar
    powers: list[Power]
    sources: int


class Answer(NamedTuple):
    """Why `key` has not alerted at `at`. `learned` None: the answer does not hang on it.

    `alert`: the one that fires then, or else the last before; `silence`: what keeps it quiet, told of now alone;
    `spike`: one that fires, and has no alert. `behind`: articles of that time have been stored, and not been looked at
    yet.
    """

    key: Key
    at: datetime
    cause: Cause
    alert: AlertRow | None = None
    heard: Sequence[Heard] = ()
    silence: Silence | None = None
    spike: Spike | None = None
    evidence: Evidence | None = None
    learned: Learned | None = None
    behind: bool = False


async def why_not(
    store: Store,
    key: Key,
    at: datetime,
    *,
    as_it_stands: bool,
    settings: DetectSettings,
    alerts: AlertSettings,
    untaught: Callable[[], Watch],
    progress: Callable[[int], None] = lambda _: None,
) -> Answer:
    """Asks in the order in which bad news becomes a message. `as_it_stands`: `at` is now, and verdicts are the latest.

    Learns from the tables, or on from what the daemon has saved if that is not newer, where the answer hangs on it.
    Raises: StoreError.
    """
    if key.kind not in settings.keys:
        return Answer(key, at, Cause.NOT_WATCHED)
    rows = await store.alerts.latest(limit=_LATEST, key=key, until=at)
    rows.sort(key=lambda row: row.origin != LIVE)  # what readers were told goes before archives
    last = max(rows, key=lambda row: row.alert.opened_at, default=None)
    for row in rows:
        if row.alert.resolved_at is None or at < row.alert.resolved_at + timedelta(seconds=alerts.keep_firing_for_s):
            heard = await heard_of(store, row, None if as_it_stands else at)
            silences = await store.silences.active(at) if as_it_stands else []
            return Answer(key, at, Cause.ALERT, row, heard, silence_of(row, silences, Labels(alerts)))
    for spike in await store.spikes.latest(limit=_LATEST, key=key.name, kinds=[key.kind]):
        goes_on = spike.state == "firing" if spike.resolved_at is None else at < spike.resolved_at
        if spike.detected_at <= at and goes_on:
            return Answer(key, at, Cause.NOT_TAKEN_UP, last, spike=spike)
    watch = await asyncio.to_thread(untaught)
    evidence = await _evidence(store, key, at, settings, watch.looks_back)
    behind = bool(await store.sightings.unseen(at - timedelta(seconds=2 * settings.tick_s), limit=1))
    if not evidence.negative:
        return Answer(key, at, Cause.NO_BAD_NEWS, last, evidence=evidence, behind=behind)
    watch, upto = await _taught(store, at, untaught, progress)
    learned = Learned(upto, watch.score(key), watch.bar(key), watch.power(key), watch.sources(key))
    cause = _cause(learned, evidence, settings)
    return Answer(key, at, cause, last, evidence=evidence, learned=learned, behind=behind)


def _cause(learned: Learned, evidence: Evidence, settings: DetectSettings) -> Cause:
    if learned.bar.held == "warming_up":
        return Cause.WARMING_UP
    if learned.score is None:
        return Cause.TOO_FEW
    if learned.bar.held == "just_fired":
        return Cause.JUST_FIRED
    if learned.score.value < learned.bar.score:
        return Cause.BELOW_THRESHOLD
    if learned.sources < settings.min_sources:
        return Cause.TOO_FEW_SOURCES
    return Cause.NOT_JUDGED if evidence.timely else Cause.TOO_OLD


async def heard_of(store: Store, row: AlertRow, at: datetime | None = None) -> list[Heard]:
    """How an alert stands with each receiver, or stood at a moment. Raises: StoreError."""
    alert_id = row.alert.id
    deliveries = [one for one in await store.deliveries.of_alert(alert_id) if _is_by(one, at)]
    decisions = await store.groups.decisions([alert_id], until=at)
    found = []
    for standing in await store.groups.standings(alert_id):
        group, mine = standing.group, [one for one in decisions if one.group_id == standing.group.id]
        if at is None:
            now = standing.verdict, standing.detail, standing.verdict_at
        elif mine:
            now = mine[-1].verdict, mine[-1].detail, mine[-1].decided_at
        else:
            continue
        # By the receiver: another route may have led to it before.
        told = [one.decided_at for one in decisions if one.receiver == group.receiver and one.verdict is Verdict.SENT]
        found.append(Heard(group, *now, max(told, default=None), _of_group(deliveries, group)))
    return found


def silence_of(row: AlertRow, silences: Sequence[Silence], labels: Labels) -> Silence | None:
    """Of the silences that hold, the one that keeps an alert quiet longest; None too if it does not fire."""
    if row.origin != LIVE or row.closed_at is not None or row.alert.resolved_at is not None:
        return None
    told = labels.of(row.alert.key, row.alert.severity)
    return max((one for one in silences if all_match(one.matchers, told)), key=lambda one: one.ends_at, default=None)


def _is_by(delivery: Delivery, at: datetime | None) -> bool:
    return at is None or delivery.notification.created_at <= at


def _of_group(deliveries: Sequence[Delivery], group: Group) -> list[Delivery]:
    mine = (group.receiver, group.route, group.labels)
    return [
        one for one in deliveries if (one.notification.receiver, one.notification.route, one.notification.group) == mine
    ]


async def _evidence(store: Store, key: Key, at: datetime, settings: DetectSettings, span: timedelta) -> Evidence:
    """Of the buckets that the longest horizon holds at that moment."""
    first = bucket_number(at - span) + 1
    told: set[str] = set()
    bad: set[str] = set()
    timely: set[str] = set()
    async for article in in_order(store.sightings, since=at - span):
        if article.fetched_at > at:
            break
        if bucket_of(article) < first or key not in keys_of(
            article.source, article.topic, article.title, article.summary
        ):
            continue
        told.add(article.story_id)
        if (article.negative or 0.0) >= settings.negative_from:
            bad.add(article.story_id)
            if (article.fetched_at - article.published_at).total_seconds() <= settings.alert_horizon_s:
                timely.add(article.story_id)
    return Evidence(span, len(told), len(bad), len(timely))


async def _taught(
    store: Store, at: datetime, untaught: Callable[[], Watch], progress: Callable[[int], None]
) -> tuple[Watch, datetime | None]:
    """A watch that has looked at what came in up to `at`, and the fetch of the last of it."""
    watch, seen, upto = await _as_saved(store, at, untaught)
    if await store.coverage.bounds() is not None:
        first = await store.sightings.first_fetched_at()
        since = first if upto is None else upto - LOOKS_BACK
        if since is not None:
            watch.hearing.know(await store.coverage.observed(since, at))
    async for articles in _until(store, seen, at):
        watch.take(articles)
        upto = articles[-1].fetched_at
        progress(articles[-1].seen or 0)
    watch.advance(at)
    return watch, upto


async def _as_saved(store: Store, at: datetime, untaught: Callable[[], Watch]) -> tuple[Watch, int, datetime | None]:
    """What the daemon has saved, if these settings made it and it knows nothing newer than `at`; else a new watch."""
    watch = await asyncio.to_thread(untaught)
    kept = await store.sightings.checkpoint(_CHECKPOINT)
    last = [] if kept is None else await store.sightings.seen(after=kept.seen - 1, upto=kept.seen)
    if kept is None or kept.version != watch.version or not last or last[0].fetched_at > at:
        return watch, 0, None
    try:
        watch.load(kept.state)
    except ValueError:
        return await asyncio.to_thread(untaught), 0, None
    async for articles in looked_at(store.sightings, upto=kept.seen, since=last[0].fetched_at - LOOKS_BACK):
        watch.remember(articles)
    return watch, kept.seen, last[0].fetched_at


async def _until(store: Store, after: int, at: datetime) -> AsyncIterator[list[Sighting]]:
    """What was looked at after that number, up to the first that came in later than `at`."""
    async for articles in looked_at(store.sightings, after=after):
        by_then = next((n for n, one in enumerate(articles) if one.fetched_at > at), len(articles))
        if by_then:
            yield articles[:by_then]
        if by_then < len(articles):
            return
