"""Looks on every tick at the articles that were stored since, states spikes, and puts them on the bus."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import structlog

from monitor.bus.bus import Bus, Message
from monitor.bus.streams import Stream
from monitor.clock import Clock
from monitor.domain.record import encode
from monitor.domain.spikes import Spike
from monitor.errors import BusError, LeaseError, StoreError
from monitor.leader import Lead, Led
from monitor.settings import DetectSettings
from monitor.storage.coverage import Exposure
from monitor.storage.leases import Term
from monitor.storage.sightings import Checkpoint, Looked
from monitor.storage.store import Store
from pipelines.detect.order import looked_at
from pipelines.detect.watch import LOOKS_BACK, Watch

log = structlog.get_logger(__name__)

_NAME = "detect"
_CHECKPOINT_EVERY = 5_000
_RELEARNED_EVERY = 50_000
# While articles come, time is theirs. What was fetched has been stored and seen after so long, in real seconds.
_QUIET_S = 10.0
# And articles are looked at in the order of their fetches: for so long the slower of two may catch up.
_SETTLE_S = 1.0
# One partition for all: an alert is named after the first spike that joined it.
_ONE_ORDER = "spikes"


class Detect(Led):
    """Looks at each stored article once, in one order, and writes down what comes of it in one transaction.

    What it remembers is a function of the articles looked at: kept as a checkpoint now and then, and made again from
    it and the tables at start, and whenever it takes over from another copy. `untaught` makes the watch that looks.
    """

    name = "detect"

    def __init__(
        self,
        untaught: Callable[[], Watch],
        *,
        store: Store,
        bus: Bus,
        clock: Clock,
        settings: DetectSettings,
        lead: Lead | None = None,
    ) -> None:
        super().__init__(clock, lead)
        self.stated = 0
        self.published = 0
        self._untaught = untaught
        self._store = store
        self._bus = bus
        self._settings = settings
        self._forget(None)

    def _forget(self, term: Term | None) -> None:
        """Starts from the tables: they may hold what another copy has made out since."""
        self._since = term
        self._watch: Watch | None = None
        self._kept = 0
        self._quiet: tuple[float, datetime] | None = None
        self._may_be_unpublished = True

    async def _act(self) -> None:
        now = self._clock.now()
        await self._pause(asyncio.sleep(_SETTLE_S))
        if self._draining.is_set():
            return
        await self._try_tick(now)
        if self._leads:
            await self._pause(self._clock.sleep(self._settings.tick_s))

    async def _finish(self) -> None:
        await self._try_tick(self._clock.now())  # what the stages before have just stored is looked at before the end
        try:
            await self.keep()
        except (StoreError, LeaseError) as error:
            log.warning("checkpoint_not_saved", error=str(error))

    async def _pause(self, sleep: Coroutine[Any, Any, None]) -> None:
        waits = [asyncio.ensure_future(sleep), asyncio.ensure_future(self._draining.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()

    async def _try_tick(self, now: datetime) -> None:
        try:
            await self.tick(now)
        except LeaseError as error:
            self._lost(self._since)
            log.warning("tick_refused", error=str(error))
        except (StoreError, BusError) as error:
            self.vital.set("retrying", str(error))
            log.warning("tick_skipped", error=str(error))
        else:
            self.vital.set("ok")

    async def tick(self, now: datetime, *, complete: bool = False) -> list[Spike]:
        """Looks at all that was fetched before `now` and not looked at yet. Returns the new spikes.

        `complete`: nothing more that was fetched before `now` is to come, so that time may go on to it.
        Raises: StoreError, BusError; then the next tick makes up for it. LeaseError, if another copy acts.
        """
        term = self._term()
        if term != self._since:
            self._forget(term)
        watch = self._watch or await self._remember(now, term)
        with self.vital.step():
            watch.hearing.know(await self._polls(now - LOOKS_BACK, now))
        found: list[Spike] = []
        while True:
            with self.vital.step():  # each piece for itself: a backlog may take hours
                articles = await self._store.sightings.unseen(now)
                if not articles:
                    break
                self._quiet = None
                self._watch = None  # it knows more than the tables until they are written: else it is made anew
                found += await self._write(watch.take(articles), term)
                self._watch = watch
                if watch.seen - self._kept >= _CHECKPOINT_EVERY:
                    await self.keep()
        with self.vital.step():
            await self._go_on(watch, self._quiet_since(now) if not complete else now, term)
            self._watch = watch
            if self._may_be_unpublished:
                await self._publish(now)
                self._may_be_unpublished = False
        return found

    async def _polls(self, since: datetime, now: datetime) -> Exposure | None:
        """What the polls have told of the time since then; None where nothing is polled."""
        if await self._store.coverage.bounds() is None:
            return None
        return await self._store.coverage.observed(since, now, now=now)

    def _quiet_since(self, now: datetime) -> datetime | None:
        """Up to when nothing more is to come: what was fetched by then has been stored and seen. None: not yet."""
        tick_at = asyncio.get_running_loop().time()
        if self._quiet is None:
            self._quiet = tick_at, now
        if tick_at - self._quiet[0] < _QUIET_S:
            return None
        upto, self._quiet = self._quiet[1], (tick_at, now)
        return upto

    async def _go_on(self, watch: Watch, upto: datetime | None, term: Term | None) -> None:
        """Lets the time pass in which nothing came, so that episodes end."""
        if upto is None:
            return
        self._watch = None
        if resolved := watch.advance(upto):
            await self._store.sightings.save(Looked([], {}, [], resolved), term)
            self._may_be_unpublished = True

    async def _write(self, looked: Looked, term: Term | None) -> list[Spike]:
        new = await self._store.sightings.save(looked, term)
        for spike in looked.spikes:
            if spike.id in new:  # an archive that is played again states them again, and nothing new by it
                _tell(spike)
        self.stated += len(new)
        self._may_be_unpublished |= bool(looked.spikes or looked.resolved)
        return list(looked.spikes)

    async def _remember(self, now: datetime, term: Term | None) -> Watch:
        """The watch as it was after the article that was looked at last."""
        sightings = self._store.sightings
        watch = self._untaught()
        kept = await sightings.checkpoint(_NAME)
        seen = 0
        if kept is not None and kept.version == watch.version:
            try:
                watch.load(kept.state)
                seen = kept.seen
            except ValueError as error:
                log.warning("checkpoint_not_used", error=str(error))
                watch = self._untaught()
        if seen:
            last = await sightings.seen(after=seen - 1, limit=1)
            since = last[0].fetched_at - LOOKS_BACK if last else None
            async for articles in looked_at(sightings, upto=seen, since=since):
                with self.vital.step():
                    watch.remember(articles)
        self._kept = seen
        if rest := await sightings.seen(after=seen, limit=1):
            watch.hearing.know(await self._polls(rest[0].fetched_at - LOOKS_BACK, now))
        async for articles in looked_at(sightings, after=seen):
            with self.vital.step():
                watch.take(articles)
                if watch.seen - self._kept >= _RELEARNED_EVERY:
                    self._watch = watch
                    await self.keep()
        if watch.seen > seen:
            log.info("looked_again", articles=watch.seen - seen)
        open_ones = watch.open_episodes()
        if over := [(key, now) for key in await self._store.spikes.firing() if key not in open_ones]:
            await sightings.save(Looked([], {}, [], over), term)  # stated by rules that do not hold any more
        return watch

    async def keep(self) -> None:
        """Saves what is remembered, so that the next start need not look at everything again.

        Raises: StoreError; LeaseError, if another copy acts.
        """
        watch = self._watch
        if watch is None or watch.seen == self._kept:
            return
        checkpoint = Checkpoint(watch.version, watch.seen, watch.dump())
        await self._store.sightings.save_checkpoint(_NAME, checkpoint, self._since)
        self._kept = watch.seen

    async def _publish(self, now: datetime) -> None:
        """Puts on the bus what the table says is not there yet; a crash in between repeats it under the same id."""
        while spikes := await self._store.spikes.unpublished():
            await self._bus.publish(Stream.SPIKES, [Message(_ONE_ORDER, encode(spike)) for spike in spikes])
            self.published += len(spikes)
            await self._store.spikes.mark_published(spikes, now)


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
