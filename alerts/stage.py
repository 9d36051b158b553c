"""Takes spikes from the bus into the alerts that wait to be sent."""

from collections.abc import Sequence
from datetime import timedelta

import structlog

from alerts.rules import LIVE, REPLAYED, is_news, withheld
from monitor.bus.bus import Received
from monitor.clock import SystemClock
from monitor.domain.record import decode
from monitor.domain.spikes import Spike
from monitor.errors import RecordError
from monitor.settings import AlertSettings
from monitor.stage import Outcome, Rejected
from monitor.storage.store import Store

log = structlog.get_logger(__name__)

_MACHINE = SystemClock()


class Group:
    """The processor of the alerts stage: rules first, then the group.

    `deliver` False: an archive is played without telling anyone. What the daemon left on the bus is news all the same,
    and waits for the daemon.
    """

    def __init__(self, store: Store, settings: AlertSettings, *, deliver: bool = True) -> None:
        self._store = store
        self._settings = settings
        self._deliver = deliver

    async def process(self, batch: Sequence[Received]) -> Outcome:
        rejected: list[Rejected] = []
        for message in batch:
            try:
                spike = decode(Spike, message.value)
            except RecordError as error:
                rejected.append(Rejected(message, error))
                continue
            if (why := withheld(spike, self._settings)) is not None:
                log.info("spike_withheld", spike=spike.id, why=why)
                continue
            await self._join(spike)
        return Outcome(rejected=rejected)

    async def _join(self, spike: Spike) -> None:
        is_live = self._deliver or is_news(spike, _MACHINE.now(), self._settings)
        # It waits since it was detected, whenever it is read: after a restart it joins what it would have joined.
        now = min(spike.detected_at, _MACHINE.now())
        group = LIVE if is_live else REPLAYED
        due_at = now + timedelta(seconds=self._settings.group_wait_s)
        last = await self._store.alerts.last_sent_at(group)
        # A clock that was wrong once must not hold alerts back for years.
        if last is not None and last - now <= timedelta(hours=self._settings.horizon_h):
            due_at = max(due_at, last + timedelta(seconds=self._settings.group_interval_s))
        alert_id = await self._store.alerts.join(spike, group, now, due_at)
        if alert_id is not None:
            log.info("spike_joined_alert", spike=spike.id, alert=alert_id, key=str(spike.key))
