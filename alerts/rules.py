"""Which spikes are told at all, and which belong together."""

from datetime import datetime, timedelta

from monitor.domain.spikes import Spike
from monitor.settings import AlertSettings


def withheld(spike: Spike, settings: AlertSettings) -> str | None:
    """Why nobody is told of this spike; None if somebody is."""
    if spike.severity.rank < settings.min_severity.rank:
        return f"severity {spike.severity} below alerts.min_severity {settings.min_severity}"
    return None


LIVE = "all"
"""The group key of news: one group, for bad news spreads over keys within minutes."""

REPLAYED = "replayed"
"""The group key of archives that are played without telling anyone."""


def is_news(spike: Spike, now: datetime, settings: AlertSettings) -> bool:
    """Whether a spike, by the machine's own clock, is recent enough to be told."""
    return abs(now - spike.detected_at) <= timedelta(hours=settings.horizon_h)
