"""Takes spikes from the bus into alerts."""

from collections.abc import Sequence
from datetime import timedelta

import structlog

from monitor.alert_settings import AlertSettings
from monitor.bus.bus import Received
from monitor.clock import SystemClock
from monitor.domain.record import decode
from monitor.domain.spikes import Spike
from monitor.errors import RecordError
from monitor.stage import Outcome, Rejected
from monitor.storage.alerts import LIVE, REPLAYED
from monitor.storage.store import Store

log = structlog.get_logger(__name__)

_MACHINE = SystemClock()


class Collect:
    """The processor of the alerts stage: a spike opens its key's alert, joins it, or ends.

    `deliver` False: an archive is played without telling anyone. What the daemon left on the bus is news all the same,
    and waits for the daemon.
    """

    def __init__(self, store: Store, settings: AlertSettings, *, deliver: bool = True) -> None:
        self._store = store
        self._deliver = deliver
        self.reload(settings)

    def reload(self, settings: AlertSettings) -> None:
        """From now on these hold."""
        self._horizon = timedelta(hours=settings.horizon_h)
        self._keep_firing = timedelta(seconds=settings.keep_firing_for_s)

    async def process(self, batch: Sequence[Received]) -> Outcome:
        rejected: list[Rejected] = []
        for message in batch:
            try:
                spike = decode(Spike, message.value)
            except RecordError as error:
                rejected.append(Rejected(message, error))
                continue
            await self._take(spike)
        return Outcome(rejected=rejected)

    async def _take(self, spike: Spike) -> None:
        now = _MACHINE.now()
        origin = LIVE if self._deliver or abs(now - spike.detected_at) <= self._horizon else REPLAYED
        alert_id, is_new = await self._store.alerts.take(spike, origin, self._keep_firing, now=now)
        if is_new:
            log.info("spike_taken", spike=spike.id, state=spike.state, alert=alert_id, key=str(spike.key))
