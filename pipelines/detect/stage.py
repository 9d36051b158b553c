"""Looks at the trends on every tick, states spikes, and puts them on the bus."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog

from monitor.bus.bus import Bus, Message
from monitor.bus.streams import Stream
from monitor.clock import Clock
from monitor.domain.record import encode, fingerprint
from monitor.domain.spikes import Spike, severity_of
from monitor.domain.windows import ALL, Key, WindowStats, bucket_start, total, window
from monitor.errors import BusError, LeaseError, StoreError
from monitor.leader import Lead, Led
from monitor.settings import DetectSettings
from monitor.storage.leases import Term
from monitor.storage.spikes import Episode
from monitor.storage.store import Store
from pipelines.detect.detector import Counts, Detector
from pipelines.detect.trigger import Trigger

log = structlog.get_logger(__name__)

_LEARN_S = 3600
_CHUNK = timedelta(days=2)
_MAX_STORIES = 50
# One partition for all: an alert is named after the first spike that joined it.
_ONE_ORDER = "spikes"


class Detect(Led):
    """Score first, learn later: buckets are learned once they are older than the longest horizon.

    Everything it remembers it can learn again from the tables, and does at start, and whenever it takes over from
    another copy: `untaught` makes the detector that learns.
    """

    name = "detect"

    def __init__(
        self,
        untaught: Callable[[], Detector],
        *,
        store: Store,
        bus: Bus,
        clock: Clock,
        settings: DetectSettings,
        lead: Lead | None = None,
    ) -> None:
        super().__init__(clock, lead)
        self.stated = 0
        self._untaught = untaught
        self._store = store
        self._bus = bus
        self._settings = settings
        self._horizons = [timedelta(minutes=minutes) for minutes in settings.horizons_min]
        self._forget(None)

    def _forget(self, term: Term | None) -> None:
        """Starts from the tables: they may hold what another copy has stated since."""
        self._since = term
        self._detector = self._untaught()
        self._learned_until: datetime | None = None
        self._trigger: Trigger | None = None
        self._watched_since: datetime | None = None
        self._may_be_unpublished = True

    async def _act(self) -> None:
        await self._try_tick()
        if self._leads:
            await self._pause()

    async def _finish(self) -> None:
        await self._try_tick()  # what the stages before have just stored is looked at before the end

    async def _pause(self) -> None:
        waits = [
            asyncio.ensure_future(self._clock.sleep(self._settings.tick_s)),
            asyncio.ensure_future(self._draining.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()

    async def _try_tick(self) -> None:
        try:
            with self.vital.step():
                await self.tick(self._clock.now())
        except LeaseError as error:
            self._lost(self._since)
            log.warning("tick_refused", error=str(error))
        except (StoreError, BusError) as error:
            self.vital.set("retrying", str(error))
            log.warning("tick_skipped", error=str(error))
        else:
            self.vital.set("ok")

    async def tick(self, now: datetime) -> list[Spike]:
        """Looks at the evidence there is at `now`, and states what it finds. Returns the new spikes.

        Raises: StoreError, BusError; then the next tick makes up for it. LeaseError, if another copy acts.
        """
        term = self._term()
        if term != self._since:
            self._forget(term)
        if self._trigger is None:
            self._trigger = Trigger(self._settings.threshold, await self._store.spikes.episodes(now))
        scores, found = await self._look(now, self._trigger)
        high = self._trigger.high(scores, now)
        resolved = self._trigger.resolve(now)
        new: set[str] = set()
        if found or high or resolved:
            try:
                new = await self._store.spikes.save(found, high, resolved, term)
            except StoreError:
                self._trigger = None  # it knows more than the table now: the next tick starts from the table
                raise
        for spike in found:
            self._trigger.stated(Episode(spike, now))
            if spike.id in new:  # an archive that is played again states them again, and nothing new by it
                _tell(spike)
        self.stated += len(new)
        self._may_be_unpublished |= bool(found)
        if self._may_be_unpublished:
            await self._publish(now)
            self._may_be_unpublished = False
        return found

    async def _learn(self, now: datetime) -> None:
        """Learns the whole hours that have become older than the longest horizon since the last time.

        By the hour, so that what is known at `now` depends on `now` alone, not on when it was last asked.
        """
        until = bucket_start(now - self._horizons[-1], _LEARN_S)
        since = self._learned_until or bucket_start(now - timedelta(days=self._settings.history_days), _LEARN_S)
        while since < until:
            upto = min(until, since + _CHUNK)
            for counts in (await self._buckets(since, upto)).values():
                self._detector.learn(
                    {key: Counts(stats.negative, stats.labelled) for key, stats in counts.items() if self._watched(key)}
                )
            self._learned_until = since = upto  # at once: what is learned is not to be learned again

    async def _buckets(self, start: datetime, end: datetime) -> dict[datetime, dict[Key, WindowStats]]:
        """The stored 5-minute buckets in [start, end), in order; one in which nothing arrived is missing."""
        buckets: dict[datetime, dict[Key, WindowStats]] = defaultdict(dict)
        for stats in await self._store.articles.trends(since=start, until=end, kinds={ALL.kind, *self._settings.keys}):
            buckets[stats.start][stats.key] = stats
        return buckets

    def _watched(self, key: Key) -> bool:
        return key.kind in self._settings.keys

    async def _look(self, now: datetime, trigger: Trigger) -> tuple[dict[Key, float], list[Spike]]:
        """The best score of each key with enough evidence, and the spikes among them."""
        start, end = window(now, self._horizons[-1])
        buckets = await self._buckets(start, end)
        windows = [self._sum(buckets, *window(now, horizon)) for horizon in self._horizons]
        candidates = {stats.key for totals, _ in windows for stats in totals}
        if not candidates or not await self._warmed_up(now):
            return {}, []
        await self._learn(now)
        best: dict[Key, Spike] = {}
        for totals, observed in windows:
            for stats in totals:
                spike = await self._score(stats, observed, now)
                if spike is not None and (stats.key not in best or spike.score > best[stats.key].score):
                    best[stats.key] = spike
        ordered = sorted(best.items(), key=lambda item: (item[0] != ALL, item[0]))
        return (
            {key: spike.score for key, spike in ordered},
            [spike for key, spike in ordered if trigger.fires(key, spike.score, now)],
        )

    def _sum(
        self, buckets: Mapping[datetime, Mapping[Key, WindowStats]], start: datetime, end: datetime
    ) -> tuple[list[WindowStats], int]:
        """Each watched key's counts over [start, end), if negatives enough are among them; and the buckets observed."""
        within = [counts for bucket, counts in buckets.items() if start <= bucket < end]
        rows: dict[Key, list[WindowStats]] = defaultdict(list)
        for counts in within:
            for key, stats in counts.items():
                if self._watched(key):
                    rows[key].append(stats)
        totals = [total(key, start, end, parts) for key, parts in rows.items()]
        return [stats for stats in totals if stats.negative >= self._settings.min_stories], len(within)

    async def _score(self, stats: WindowStats, observed_buckets: int, now: datetime) -> Spike | None:
        """The window as the spike it would be; None if its evidence is too thin."""
        # Articles are at least as many as stories: if even they would not score, the stories need not be asked for.
        most = self._detector.score(stats.key, Counts(stats.negative, stats.labelled), observed_buckets)
        if most.value < self._settings.threshold / 2:
            return None
        stories, sources = await self._store.articles.negative_stories(stats.key, stats.start, stats.end)
        if len(stories) < self._settings.min_stories or sources < self._settings.min_sources:
            return None
        # Copies of one story count once; of the others, neutral and positive, the articles are good enough.
        stories_of_all = stats.labelled - stats.negative + len(stories)
        score = self._detector.score(stats.key, Counts(len(stories), stories_of_all), observed_buckets)
        return Spike(
            # The stories are part of it: two installations that share a receiver state different spikes.
            id=fingerprint("spike", *stats.key, stats.end.isoformat(), *sorted(story.article_id for story in stories)),
            key=stats.key,
            start=stats.start,
            end=stats.end,
            detected_at=now,
            observed=len(stories),
            total=stories_of_all,
            expected=score.expected,
            score=score.value,
            severity=severity_of(score.value),
            sources=sources,
            detector=self._detector.version,
            stories=tuple(stories[:_MAX_STORIES]),
        )

    async def _warmed_up(self, now: datetime) -> bool:
        if self._watched_since is None:
            # What lies further back than it learns from, an old archive say, is no past to compare with.
            history = timedelta(days=self._settings.history_days)
            self._watched_since = await self._store.articles.watched_since(now - history, now)
        since = self._watched_since
        return since is not None and now - since >= timedelta(hours=self._settings.warmup_h)

    async def _publish(self, now: datetime) -> None:
        """Puts on the bus what the table says is not there yet; a crash in between repeats it under the same id."""
        while spikes := await self._store.spikes.unpublished():
            await self._bus.publish(Stream.SPIKES, [Message(_ONE_ORDER, encode(spike)) for spike in spikes])
            await self._store.spikes.mark_published([spike.id for spike in spikes], now)


def _tell(spike: Spike) -> None:
    log.warning(
        "spike",
        key=str(spike.key),
        severity=str(spike.severity),
        observed=spike.observed,
        total=spike.total,
        expected=round(spike.expected, 2),
        score=round(spike.score, 1),
        sources=spike.sources,
    )
