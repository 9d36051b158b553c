"""What every bus keeps to: nothing is lost, order within a key, groups that resume where they committed."""

import asyncio
from collections import defaultdict

import pytest

from monitor.bus.bus import Bus, Message
from monitor.bus.streams import READS, Group, Stream, partition_of
from monitor.errors import BusError
from tests.messages import PARTITIONS, Reopen, by_key, messages, read_all


@pytest.mark.parametrize("max_records", [1, 3, 1000])
async def test_every_message_arrives_in_the_order_of_its_key(max_records: int, bus: Bus) -> None:
    sent = messages(50)
    for start in range(0, 50, 5):
        await bus.publish(Stream.ARTICLES, sent[start : start + 5])
    received = await read_all(await bus.subscribe(Group.CLASSIFY), max_records)
    assert by_key(received) == by_key(sent)
    assert {message.stream for message in received} == {Stream.ARTICLES}
    places = [(message.partition, message.offset) for message in received]
    assert len(set(places)) == 50
    assert {partition for partition, _ in places} == {partition_of(f"key {n}", PARTITIONS) for n in range(7)}


async def test_a_key_stays_on_its_partition(bus: Bus) -> None:
    await bus.publish(Stream.ARTICLES, messages(40))
    partitions = defaultdict(set)
    for message in await read_all(await bus.subscribe(Group.CLASSIFY)):
        partitions[message.key].add(message.partition)
    assert all(len(found) == 1 for found in partitions.values())
    # As every process, on every machine and version, must answer: records on disk lie where this once put them.
    assert [partition_of(key, 4) for key in ("", "all", "topic:Financials", "żółć")] == [0, 1, 2, 3]


async def test_values_are_bytes_of_any_kind_and_length(bus: Bus) -> None:
    sent = [Message("k", value) for value in (b"", b"\0", bytes(range(256)), b"\xff" * 1_000_000)]
    await bus.publish(Stream.DEAD_LETTERS, [*sent, Message("", b"no key")])
    received = await read_all(await bus.subscribe(Group.DEAD_LETTERS))
    assert by_key(received) == by_key([*sent, Message("", b"no key")])


async def test_publishing_nothing_is_nothing(bus: Bus) -> None:
    await bus.publish(Stream.ARTICLES, [])
    assert await bus.lag(Group.CLASSIFY) == 0
    assert await read_all(await bus.subscribe(Group.CLASSIFY)) == []


async def test_streams_do_not_mix(bus: Bus) -> None:
    for stream in Stream:
        await bus.publish(stream, [Message("k", stream.encode())])
    received = await asyncio.gather(*[read_all(await bus.subscribe(group)) for group in READS])
    for stream, found in zip(READS.values(), received, strict=True):
        assert [message.value for message in found] == [stream.encode()]


async def test_what_was_not_committed_comes_again_on_rewind(bus: Bus) -> None:
    await bus.publish(Stream.ARTICLES, messages(6))
    consumer = await bus.subscribe(Group.CLASSIFY)
    await consumer.rewind()
    first = await consumer.poll(2, timeout_s=0)
    await consumer.commit()
    second = await read_all(consumer)
    await consumer.rewind()
    assert sorted(await read_all(consumer)) == sorted(second)
    await consumer.commit()
    await consumer.rewind()
    assert await read_all(consumer) == []
    assert len(first) + len(second) == 6


async def test_lag_is_what_the_group_has_not_committed(bus: Bus) -> None:
    await bus.publish(Stream.ARTICLES, messages(6))
    assert await bus.lag(Group.CLASSIFY) == 6
    consumer = await bus.subscribe(Group.CLASSIFY)
    await consumer.poll(4, timeout_s=0)
    assert await bus.lag(Group.CLASSIFY) == 6
    await consumer.commit()
    assert await bus.lag(Group.CLASSIFY) == 2
    assert await bus.lag(Group.AGGREGATE) == 0


async def test_a_group_resumes_where_it_committed(reopen: Reopen) -> None:
    bus = await reopen()
    await bus.publish(Stream.ARTICLES, messages(10))
    consumer = await bus.subscribe(Group.CLASSIFY)
    done = await consumer.poll(3, timeout_s=0)
    await consumer.commit()
    await consumer.poll(3, timeout_s=0)
    await bus.aclose()

    bus = await reopen()
    assert await bus.lag(Group.CLASSIFY) == 7
    rest = await read_all(await bus.subscribe(Group.CLASSIFY))
    assert sorted(message.value for message in [*done, *rest]) == [b"%d" % number for number in range(10)]


async def test_two_on_one_log_hear_of_each_other(reopen: Reopen) -> None:
    """The reader already waits when the other one writes."""
    reader, writer = await reopen(), await reopen()
    consumer = await reader.subscribe(Group.CLASSIFY)
    waiting = asyncio.ensure_future(consumer.poll(10, timeout_s=30))
    await writer.publish(Stream.ARTICLES, messages(1))
    async with asyncio.timeout(15):
        assert [message.value for message in await waiting] == [b"0"]


async def test_a_reader_wakes_when_its_own_bus_is_written_to(bus: Bus) -> None:
    consumer = await bus.subscribe(Group.CLASSIFY)
    waiting = asyncio.ensure_future(consumer.poll(10, timeout_s=30))
    await bus.lag(Group.CLASSIFY)  # one worker thread: the poll has looked by now
    await bus.publish(Stream.ARTICLES, messages(1))
    async with asyncio.timeout(15):
        assert [message.value for message in await waiting] == [b"0"]


async def test_writers_at_once_lose_nothing(reopen: Reopen) -> None:
    buses = [await reopen() for _ in range(3)]
    await asyncio.gather(
        *(
            bus.publish(Stream.ARTICLES, [Message(f"{index}", b"%d" % n)])
            for index, bus in enumerate(buses)
            for n in range(20)
        )
    )
    received = await read_all(await buses[0].subscribe(Group.CLASSIFY))
    assert by_key(received) == {str(index): [b"%d" % n for n in range(20)] for index in range(3)}


async def test_a_poll_that_was_cancelled_loses_nothing(bus: Bus) -> None:
    consumer = await bus.subscribe(Group.CLASSIFY)
    await bus.publish(Stream.ARTICLES, messages(5))
    polling = asyncio.ensure_future(consumer.poll(5, timeout_s=30))
    await asyncio.sleep(0)  # until it has begun
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    assert len(await read_all(consumer)) == (5 if polling.cancelled() else 0)


async def test_publishing_is_all_or_nothing(bus: Bus) -> None:
    await bus.publish(Stream.ARTICLES, messages(1))
    broken = [*messages(2), Message("key 0", None)]  # type: ignore[arg-type]  # what no bus can write
    with pytest.raises((BusError, TypeError)):
        await bus.publish(Stream.ARTICLES, broken)
    assert await bus.lag(Group.CLASSIFY) == 1
    await bus.publish(Stream.ARTICLES, messages(2))
    assert len(await read_all(await bus.subscribe(Group.CLASSIFY))) == 3
