"""A record that could not be processed, kept with its original bytes."""

from monitor.domain.record import Record, UtcDatetime
from monitor.errors import Reason


class DeadLetter(Record):
    """A record that could not be processed: where, why, and its original bytes.

    `stream` None: it was refused before it reached a stream, and cannot be put there again.
    """

    id: str
    stage: str
    stream: str | None
    key: str
    value: bytes
    reason: Reason
    detail: str
    failed_at: UtcDatetime
    replayed_at: UtcDatetime | None = None
