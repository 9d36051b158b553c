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
    """One member of a group, reading that group's stream, or its share of it where the group has several members.

    Shares change hands as members come and go: what a member has polled and not committed by then is read again by
    another, so whatever is done with a message must be done right when it is done twice.
    """

    async def poll(self, max_records: int, *, timeout_s: float) -> Sequence[Received]:
        """The next messages, at most `max_records`; none, if none came within `timeout_s`.

        With `timeout_s` 0 the answer is none only if the log holds none now, however long it takes to ask.
        Raises: BusError.
        """
        ...

    async def commit(self) -> None:
        """Remembers everything polled so far as done. What was polled but not committed comes again after a restart.

        What another member reads by now is left to it, without an error.
        Raises: BusError.
        """
        ...

    async def rewind(self) -> None:
        """Goes back to what was last committed: the next poll returns the same messages again."""
        ...


class Bus(Protocol):
    """Streams of messages, kept for the retention time; on the embedded bus also until every group has read them."""

    async def publish(self, stream: Stream, messages: Sequence[Message]) -> None:
        """Appends all messages; they are durable on return.

        After an error the embedded bus has appended none of them. Kafka may have appended some, or all of them later:
        a caller that tries again repeats those, and whoever reads them has to make one of the two.
        Raises: BusError.
        """
        ...

    async def subscribe(self, group: Group) -> Consumer:
        """A consumer at the group's committed offsets; a group never seen starts at the oldest message."""
        ...

    async def lag(self, group: Group) -> int:
        """How many messages the group has not committed yet.

        Raises: BusError.
        """
        ...

    async def trim(self) -> int:
        """Deletes what every group has read and the retention time has passed for; tells how many messages."""
        ...

    async def aclose(self) -> None:
        """Lets go of the log. Consumers leave their groups; what they have not committed comes again."""
        ...
