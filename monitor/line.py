"""The stages behind the tables, driven bucket by bucket on a clock that is set: for archives played at full speed."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from alerts.dispatch import Dispatch
from monitor.clock import ManualClock
from monitor.domain.windows import BUCKET_S, bucket_start
from monitor.settings import Settings
from monitor.stage import Stage
from monitor.storage.sightings import Sightings
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
        sightings: Sightings,
        clock: ManualClock,
        settings: Settings,
    ) -> None:
        self.detect = detect
        self._alerts = alerts
        self._dispatch = dispatch
        self._sightings = sightings
        self._clock = clock
        self._negative_from = settings.detect.negative_from
        wait_s, interval_s = settings.alerts.group_wait_s, settings.alerts.group_interval_s
        # When alerts that wait for others to join them are due, after the spike that opened them or joined.
        self._waits = [timedelta(seconds=wait_s), timedelta(seconds=wait_s + interval_s)]
        self._due: list[datetime] = []
        self._has_looked = False

    async def look(self, starts: Iterable[datetime], *, last: bool) -> None:
        """Looks at what came, at the end of each of these buckets that holds bad news: without it no score rises.

        `last`: they are the last of all, and the latest of them is looked at anyway.
        """
        starts = set(starts)
        if not starts:
            return
        bad = await self._sightings.bad_news(min(starts), max(starts) + _BUCKET, self._negative_from)
        for start in sorted(({bucket_start(moment) for moment in bad} & starts) | ({max(starts)} if last else set())):
            end = start + _BUCKET
            await self._send_until(end)
            self._clock.set(end)
            # The first time also for what an earlier process has stated and not told.
            if await self.detect.tick(end) or not self._has_looked:
                await self._alerts.catch_up()
                await self._dispatch.dispatch_once()
                self._due = sorted({*self._due, *(end + wait for wait in self._waits)})
                self._has_looked = True

    async def finish(self) -> None:
        """Sends what is still waiting."""
        await self._send_until(None)

    async def _send_until(self, end: datetime | None) -> None:
        while self._due and (end is None or self._due[0] <= end):
            self._clock.set(self._due.pop(0))
            await self._dispatch.dispatch_once()
