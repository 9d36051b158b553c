"""Which spikes are told at all, and which belong together."""

from monitor.domain.spikes import Spike
from monitor.settings import AlertSettings


def withheld(spike: Spike, settings: AlertSettings) -> str | None:
    """Why nobody is told of this spike; None if somebody is."""
    if spike.severity.rank < settings.min_severity.rank:
        return f"severity {spike.severity} below alerts.min_severity {settings.min_severity}"
    return None


def group_key(spike: Spike) -> str:  # noqa: ARG001  # routes that group by labels will look at it
    """Spikes with the same group key share a message. There is one group: bad news spreads over keys within minutes."""
    return "all"
