"""Messages for the tests of buses."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from monitor.bus.bus import Bus, Consumer, Message, Received

PARTITIONS = 4
RETENTION = timedelta(hours=1)

Reopen = Callable[[], Awaitable[Bus]]


def messages(count: int, keys: int = 7) -> list[Message]:
    """Numbered messages on so many keys."""
    return [Message(f"key {number % keys}", b"%d" % number) for number in range(count)]


def by_key(received: Sequence[Message | Received]) -> dict[str, list[bytes]]:
    """The values of each key, in their order."""
    values: dict[str, list[bytes]] = defaultdict(list)
    for message in received:
        values[message.key].append(message.value)
    return dict(values)


async def read_all(consumer: Consumer, max_records: int = 10) -> list[Received]:
    """All that the log holds for this consumer now."""
    received: list[Received] = []
    while batch := await consumer.poll(max_records, timeout_s=0):
        assert len(batch) <= max_records
        received.extend(batch)
    return received
