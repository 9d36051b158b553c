"""What a bus promises: durable streams, read by groups that remember how far they came."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from monitor.bus.streams import Group, Stream


class Message(NamedTuple):
    """What is published: messages of one key keep their order."""

    key: str
    value: bytes


class Received(NamedTuple):
    """What is read: a message and its place in the log."""

    stream: Stream
    partition: int
    offset: int
    key: str
    value: bytes


class Consumer(Protocol):
    """One member of a group, reading that group's stream."""

    async def poll(self, max_records: int, *, timeout_s: float) -> Sequence[Received]:
        """The next messages, at most `max_records`; none, if none came within `timeout_s`.

        Raises: BusError.
        """
        ...

    async def commit(self) -> None:
        """Remembers everything polled so far as done. What was polled but not committed comes again after a restart.

        Raises: BusError.
        """
        ...

    async def rewind(self) -> None:
        """Goes back to what was last committed: the next poll returns the same messages again."""
        ...


class Bus(Protocol):
    """Streams of messages, kept until every group has read them and the retention time has passed."""

    async def publish(self, stream: Stream, messages: Sequence[Message]) -> None:
        """Appends all messages or none; they are durable on return.

        Raises: BusError.
        """
        ...

    async def subscribe(self, group: Group) -> Consumer:
        """A consumer at the group's committed offsets; a group never seen starts at the oldest message."""
        ...

    async def lag(self, group: Group) -> int:
        """How many messages the group has not committed yet."""
        ...

    async def trim(self) -> int:
        """Deletes what every group has read and the retention time has passed for; tells how many messages."""
        ...

    async def aclose(self) -> None: ...
