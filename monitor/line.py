"""The stages behind the tables, driven bucket by bucket on a clock that is set: for archives played at full speed."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from alerts.dispatch import Dispatch
from monitor.clock import ManualClock
from monitor.domain.windows import BUCKET_S, bucket_start
from monitor.settings import Settings
from monitor.stage import Stage
from monitor.storage.alerts import LIVE, REPLAYED
from monitor.storage.store import Store
from pipelines.detect.stage import Detect

_BUCKET = timedelta(seconds=BUCKET_S)


class Line:
    """Detect, alerts and dispatch, as the daemon has them; each acts when its time comes."""

    def __init__(
        self,
        detect: Detect,
        alerts: Stage,
        dispatch: Dispatch,
        *,
        store: Store,
        clock: ManualClock,
        settings: Settings,
        deliver: bool = True,
    ) -> None:
        self.detect = detect
        self._alerts = alerts
        self._dispatch = dispatch
        self._store = store
        self._origin = LIVE if deliver else REPLAYED
        self._deliver = deliver
        self._clock = clock
        self._negative_from = settings.detect.negative_from
        self._wait = timedelta(seconds=settings.alerts.group_wait_s + settings.alerts.group_interval_s)
        self._has_looked = False
        self._sent_at: datetime | None = None

    async def look(self, starts: Iterable[datetime], *, last: bool) -> None:
        """Looks at what came, at the end of each of these buckets that holds bad news: without it no score rises.

        `last`: they are the last of all, and the latest of them is looked at anyway.
        """
        starts = set(starts)
        if not starts:
            return
        bad = await self._store.sightings.bad_news(min(starts), max(starts) + _BUCKET, self._negative_from)
        for start in sorted(({bucket_start(moment) for moment in bad} & starts) | ({max(starts)} if last else set())):
            end = start + _BUCKET
            await self._send_until(end)
            self._clock.set(end)
            await self._tick(end)

    async def finish(self) -> None:
        """Sends what is still waiting, and saves what was learned."""
        await self._send_until(self._clock.now() + self._wait + _BUCKET)
        await self.detect.keep()

    async def _send_until(self, end: datetime) -> None:
        """Lets the clock go to each bucket's end by which something is due, or may be over, and the stages do it.

        Bucket by bucket, as what is due came about: so it is sent at one time whether this process stated it, or one
        that was killed.
        """
        before = None
        while (moment := await self._next_moment()) is not None and moment != before and moment <= end:
            self._clock.set(moment)
            await self._tick(moment)  # what has ended by then is not to be told as if it fired
            await self._dispatch.dispatch_once()
            before = self._sent_at = moment

    async def _tick(self, moment: datetime) -> None:
        published = self.detect.published
        await self.detect.tick(moment, complete=True)
        # The first time also for what an earlier process has stated and not told.
        if self.detect.published > published or not self._has_looked:
            await self._alerts.catch_up()
            self._has_looked = True

    async def _next_moment(self) -> datetime | None:
        """The bucket's end at which something is due, or at which a spike that fires may be over; not before now."""
        now = self._clock.now()
        ends = []
        if (due := await self._store.groups.next_due(self._origin)) is not None:
            ends.append(bucket_start(due) + _BUCKET)
        if self._deliver and (due := await self._store.deliveries.next_attempt()) is not None:
            # Made at a bucket's end by a process that was killed before it sent it: it goes at the time at which it
            # would have gone.
            is_left = due == bucket_start(due) != self._sent_at
            ends.append(due if is_left else bucket_start(due) + _BUCKET)
        if (since := await self._store.spikes.firing_since()) is not None:
            ends.append(bucket_start(max(since, now)) + _BUCKET)
        return max(now, min(ends)) if ends else None
