"""What is told to whom: an alert groups spikes; a notification carries it to one recipient."""

from typing import Annotated

from pydantic import Field

from monitor.domain.record import Record, UtcDatetime
from monitor.domain.spikes import Severity, Spike


class Alert(Record):
    """Spikes that belong together, strongest first.

    `id` is a hash of the group key and the first spike.
    """

    id: str
    group_key: str
    opened_at: UtcDatetime
    spikes: Annotated[tuple[Spike, ...], Field(min_length=1)]

    @property
    def severity(self) -> Severity:
        return max((spike.severity for spike in self.spikes), key=lambda severity: severity.rank)


class Notification(Record):
    """One alert for one recipient of one channel.

    `id` is a hash of alert, channel and recipient: the same on every retry, so receivers can drop repeats. It is the
    `webhook-id` of a webhook and the Message-ID of a mail.
    """

    id: str
    channel: str
    recipient: str
    alert: Alert
    created_at: UtcDatetime
