"""Polls the feeds, each in its own rhythm, and hands what they bring to the intake."""

import asyncio
import contextlib
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import anyio.to_thread
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from monitor.clock import Clock
from monitor.errors import BusError, FetchError, Reason, StoreError
from monitor.members import Members
from monitor.settings import IngestSettings
from monitor.stage import Vital
from monitor.storage.feeds import FeedState
from monitor.storage.store import Store
from pipelines.ingest.intake import Arrival, Intake, Taken
from pipelines.ingest.normalise import ambiguous, one_line
from pipelines.ingest.source import Cursor, Poll, Source, SourceConfig

log = structlog.get_logger(__name__)

_FIRST_POLLS_WITHIN_S = 3.0
_STORAGE_RETRY_S = 5.0
_SHARE_S = 2.0
_CHUNK = 500
_DISTRUSTED = "distrusted"
_MAX_DISTRUSTED = 1000
# Of longer gaps than this, and than two polls, what was published in them may be gone from the feed again.
_SHORT_GAP_S = 900.0
_UNHEARD = frozenset({Reason.UNREACHABLE, Reason.TIMEOUT})


class Ingest:
    """One job per feed. A feed that fails backs off alone; a feed that is gone is parked.

    Every poll, good or bad, leaves the feed's health and the time of the next poll in the database: whoever polls the
    feed then, this copy or another, goes on from there. `members`: the copies among whom the feeds are shared out;
    None: there are no others.
    """

    name = "ingest"

    def __init__(
        self,
        feeds: Mapping[str, tuple[SourceConfig, Source]],
        *,
        intake: Intake,
        store: Store,
        clock: Clock,
        settings: IngestSettings,
        members: Members | None = None,
    ) -> None:
        self.vital = Vital(clock)
        self._feeds = feeds
        self._members = members
        self._mine = set(feeds) if members is None else set()
        self._intake = intake
        self._store = store
        self._clock = clock
        self._settings = settings
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._polling: set[asyncio.Task[None]] = set()
        self._states: dict[str, FeedState] = {}
        self._draining = False
        self._told_cut_off = False
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        await self._load_states()
        self._scheduler.start()
        log.info("ingest_started", feeds=len(self._states))
        try:
            if self._members is None:
                self._begin(self._states)
            else:
                await self._share_until_stopped(self._members)
            await self._stopped.wait()
        finally:
            self._scheduler.shutdown(wait=False)
            for task in self._polling:
                task.cancel()
            await asyncio.gather(*self._polling, return_exceptions=True)

    async def drain(self) -> None:
        self._draining = True
        if self._scheduler.running:
            self._scheduler.pause()
        if self._members is not None:
            with contextlib.suppress(StoreError):  # then the others wait until it is plain that this one is gone
                await self._members.leave()
        while self._polling:
            await asyncio.wait(self._polling)
        self._stopped.set()

    async def _load_states(self) -> None:
        while True:
            try:
                saved = await self._store.feeds.all()
                await self._store.coverage.retire(await self._store.coverage.sources() - set(self._feeds))
            except StoreError as error:
                self.vital.set("retrying", str(error))
                await asyncio.sleep(_STORAGE_RETRY_S)
            else:
                break
        self._well()
        self._states = {name: self._state(name, saved) for name in self._feeds}

    def _state(self, name: str, saved: Mapping[str, FeedState]) -> FeedState:
        config, _ = self._feeds[name]
        state = saved.get(name)
        if state is None or state.url != config.address:
            return FeedState(name=name, url=config.address, cursor={})
        return state

    async def _share_until_stopped(self, members: Members) -> None:
        cut_off = False
        while not self._draining:
            try:
                with self.vital.step():
                    await self._share(members)
            except StoreError as error:  # what was this copy's stays so: two that poll one feed do no harm
                cut_off = True
                self.vital.set("retrying", str(error))
                log.warning("feeds_not_shared_out", error=str(error))
            else:
                if cut_off:
                    self._well()
                cut_off = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SHARE_S):
                    await self._stopped.wait()

    async def _share(self, members: Members) -> None:
        """Takes up the feeds that have become this copy's, where the table says they are; lets go of the others."""
        await members.look()
        mine = {name for name in self._feeds if members.owns(name)}
        gained, lost = mine - self._mine, self._mine - mine
        if gained:
            saved = await self._store.feeds.all()
            self._states.update({name: self._state(name, saved) for name in gained})
        self._mine = mine
        for name in lost:
            if self._scheduler.get_job(name) is not None:
                self._scheduler.remove_job(name)
        self._begin(sorted(gained))
        if gained or lost:
            log.info("feeds_shared_out", copies=members.count, mine=len(mine), gained=len(gained), lost=len(lost))
            self._well()

    def _begin(self, names: Iterable[str]) -> None:
        now = self._clock.now()
        for name in names:
            state = self._states[name]
            if state.parked:
                log.warning("feed_parked", feed=name, reason=state.reason, detail=state.detail)
                continue
            # Every feed may be due at once: spread them, so that no host meets a burst.
            soonest = now + timedelta(seconds=random.uniform(0, _FIRST_POLLS_WITHIN_S))
            # A clock that was wrong once must not keep a feed waiting for years.
            latest = now + timedelta(seconds=self._settings.max_interval_s)
            self._schedule(name, min(max(state.next_poll_at or soonest, soonest), latest))

    def _well(self) -> None:
        shared = self._members is not None
        self.vital.set("ok", f"{len(self._mine)} of {len(self._feeds)} feeds are this copy's" if shared else None)

    def _schedule(self, name: str, at: datetime) -> None:
        if not self._draining and name in self._mine:
            self._scheduler.add_job(
                self._start_poll,
                "date",
                run_date=at,
                args=[name],
                id=name,
                replace_existing=True,
                misfire_grace_time=None,
            )

    async def _start_poll(self, name: str) -> None:
        # A task of our own rather than the scheduler's: drain() waits for these.
        task = asyncio.create_task(self._poll(name), name=f"poll {name}")
        self._polling.add(task)
        task.add_done_callback(self._polling.discard)

    async def _poll(self, name: str) -> None:
        with structlog.contextvars.bound_contextvars(feed=name):
            try:
                with self.vital.step():
                    state = await self.poll_once(name)
            except (BusError, StoreError) as error:
                self.vital.set("retrying", str(error))
                log.warning("feed_poll_not_saved", error=str(error))
                # Not much sooner than usual: each try asks the publisher again.
                again_s = max(_STORAGE_RETRY_S, self._settings.min_interval_s)
                self._schedule(name, self._clock.now() + timedelta(seconds=again_s))
                return
            except Exception as error:  # top of a task: one feed's surprise stays that feed's
                log.exception("feed_poll_broke")
                state = await self._save_surprise(name, error)
            if not state.parked:
                self._schedule(name, state.next_poll_at or self._clock.now())

    async def _save_surprise(self, name: str, error: Exception) -> FeedState:
        failure = FetchError(Reason.INVALID, f"{type(error).__name__}: {error}"[:300])
        state = self._failed(self._states[name], failure, self._clock.now())
        self._states[name] = state
        try:
            await self._store.feeds.save(state)
        except StoreError as store_error:
            self.vital.set("retrying", str(store_error))
        return state

    async def poll_once(self, name: str) -> FeedState:
        """One poll of one feed: fetch, hand in, save the state. Returns that state.

        The cursor is saved after the articles are on the bus: what dies in between is fetched again.
        Raises: BusError, StoreError; then the old cursor stands.
        """
        config, source = self._feeds[name]
        before = self._states[name]
        try:
            poll = await source.poll(before.cursor)
        except FetchError as error:
            state = self._failed(before, error, self._clock.now())
            log.warning("feed_failed", reason=error.reason, detail=error.detail, failures=state.failures)
        else:
            state = await self._succeeded(before, config, poll)
        if state.parked:
            await self._store.coverage.retire([name])
        await self._store.feeds.save(state)
        self._states[name] = state
        self._tell_if_cut_off()
        self._well()
        return state

    def _tell_if_cut_off(self) -> None:
        """Says so, once, if no feed at all was ever reached since the start: then it is hardly the feeds' fault."""
        tried = [state for name, state in self._states.items() if name in self._mine and not state.parked]
        if not self._told_cut_off and all(state.failures and state.reason in _UNHEARD for state in tried):
            self._told_cut_off = True
            log.error("no_feed_reachable", hint="check the network, and http.proxy; `monitor demo` needs neither")

    async def _succeeded(self, before: FeedState, config: SourceConfig, poll: Poll) -> FeedState:
        now = self._clock.now()
        shared = await anyio.to_thread.run_sync(ambiguous, poll.entries)
        distrusted = _distrusted(before.cursor, shared)
        taken = Taken(0, 0, 0)
        # In pieces, so that a feed of thousands does not keep the others waiting.
        for start in range(0, max(1, len(poll.entries)), _CHUNK):
            arrivals = [Arrival(e, e.source or before.name, now) for e in poll.entries[start : start + _CHUNK]]
            refused = poll.refused if start == 0 else ()
            taken = taken.plus(await self._intake.take(arrivals, refused, now, distrusted=distrusted))
        if config.is_live:
            await self._store.coverage.heard(before.name, self._heard_since(before, config, poll, now), now)
        if poll.entries:
            log.info("feed_polled", entries=len(poll.entries), new=taken.published, refused=taken.refused)
        reason, detail = (poll.note.reason, one_line(poll.note.detail)) if poll.note else (None, None)
        if not poll.modified and not before.failures:
            reason, detail = before.reason, before.detail
        elif shared:
            reason, detail = Reason.MALFORMED, f"{len(shared)} guids or links stand for several entries; not believed"
        elif taken.refused:
            reason, detail = Reason.NO_TEXT, f"{taken.refused} entries refused; see dead-letters list"
        if poll.moved_to and poll.moved_to != before.moved_to:
            log.warning("feed_moved", to=poll.moved_to)
        return before._replace(
            cursor={**poll.cursor, _DISTRUSTED: [*distrusted]} if distrusted else poll.cursor,
            next_poll_at=self._next_poll_at(config, poll.next_at, now),
            last_polled_at=now,
            last_success_at=now,
            last_new_at=now if taken.published else before.last_new_at,
            failures=0,
            reason=reason,
            detail=detail,
            moved_to=poll.moved_to,
            articles=before.articles + taken.published,
        )

    def _heard_since(self, before: FeedState, config: SourceConfig, poll: Poll, now: datetime) -> datetime:
        """From when on this poll tells what was published: since the last good one, unless that is long ago.

        After an outage a feed still holds some of what it missed, nobody knows how much: that is a backlog, and what
        counts as heard is one interval.
        """
        interval_s = planned_s = self._interval_s(config, poll.next_at, now)
        last = before.last_success_at
        if last is not None and before.next_poll_at is not None and not before.failures:
            planned_s = max(planned_s, (before.next_poll_at - last).total_seconds())
        if last is not None and 0 <= (now - last).total_seconds() <= max(2 * planned_s, _SHORT_GAP_S):
            return last
        return now - timedelta(seconds=interval_s)

    def _next_poll_at(self, config: SourceConfig, asked: datetime | None, now: datetime) -> datetime:
        return now + timedelta(seconds=self._spread(self._interval_s(config, asked, now)))

    def _interval_s(self, config: SourceConfig, asked: datetime | None, now: datetime) -> float:
        wait_s = config.interval_s or self._settings.interval_s
        if asked is not None:
            wait_s = max(wait_s, (asked - now).total_seconds())
        return self._bounded(wait_s)

    def _failed(self, before: FeedState, error: FetchError, now: datetime) -> FeedState:
        config, _ = self._feeds[before.name]
        failures = before.failures + 1
        # Nobody minds being asked again who was not reached; whoever answered with an error is left alone for longer.
        unheard = error.reason in _UNHEARD
        first_s = self._settings.min_interval_s if unheard else 2 * (config.interval_s or self._settings.interval_s)
        wait_s = self._bounded(first_s * 2.0 ** min(failures - 1, 20))
        wait_s = max(wait_s, error.retry_after_s or 0.0)
        return before._replace(
            next_poll_at=now + timedelta(seconds=self._spread(min(wait_s, self._settings.max_interval_s))),
            last_polled_at=now,
            failures=failures,
            reason=error.reason,
            detail=one_line(error.detail[:500]),
            parked=error.reason is Reason.GONE,
        )

    def _bounded(self, wait_s: float) -> float:
        return min(max(wait_s, self._settings.min_interval_s), self._settings.max_interval_s)

    def _spread(self, wait_s: float) -> float:
        # Only ever later: a publisher who names a time means "not before".
        return wait_s * (1 + random.uniform(0, self._settings.jitter))


def _distrusted(cursor: Cursor, shared: set[str]) -> list[str]:
    """The guids and links that did not identify before, or do not now; the latest thousand."""
    before = cursor.get(_DISTRUSTED)
    known = dict.fromkeys(str(name) for name in before) if isinstance(before, list) else {}
    known.update(dict.fromkeys(sorted(shared)))
    return list(known)[-_MAX_DISTRUSTED:]
