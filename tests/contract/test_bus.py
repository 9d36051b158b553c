"""What every bus keeps to: nothing is lost, order within a key, groups that resume where they committed."""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.bus.bus import Bus, Consumer, Message, Received
from monitor.bus.embedded import EmbeddedBus
from monitor.bus.streams import READS, Group, Stream, partition_of
from monitor.clock import ManualClock
from monitor.errors import BusError, ConfigError, Reason
from tests.factories import NOW

PARTITIONS = 4
RETENTION = timedelta(hours=1)

Reopen = Callable[[], Awaitable[Bus]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture(params=["memory", "file"])
async def bus(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Bus]:
    """An empty bus of each kind."""
    path = None if request.param == "memory" else tmp_path / "bus.sqlite3"
    bus = await EmbeddedBus.open(path, partitions=PARTITIONS, retention=RETENTION, clock=clock)
    try:
        yield bus
    finally:
        await bus.aclose()


@pytest.fixture(params=["file"])
async def reopen(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Reopen]:
    """Opens one and the same durable bus, as often as it is called."""
    opened: list[Bus] = []

    async def open_again() -> Bus:
        bus = await EmbeddedBus.open(
            tmp_path / "log" / "bus.sqlite3", partitions=PARTITIONS, retention=RETENTION, clock=clock
        )
        opened.append(bus)
        return bus

    yield open_again
    for bus in opened:
        await bus.aclose()


def _messages(count: int, keys: int = 7) -> list[Message]:
    return [Message(f"key {number % keys}", b"%d" % number) for number in range(count)]


def _by_key(received: Sequence[Message | Received]) -> dict[str, list[bytes]]:
    values: dict[str, list[bytes]] = defaultdict(list)
    for message in received:
        values[message.key].append(message.value)
    return dict(values)


async def _all(consumer: Consumer, max_records: int = 10) -> list[Received]:
    received: list[Received] = []
    while batch := await consumer.poll(max_records, timeout_s=0):
        assert len(batch) <= max_records
        received.extend(batch)
    return received


@pytest.mark.parametrize("max_records", [1, 3, 1000])
async def test_every_message_arrives_in_the_order_of_its_key(max_records: int, bus: Bus) -> None:
    messages = _messages(50)
    for start in range(0, 50, 5):
        await bus.publish(Stream.ARTICLES, messages[start : start + 5])
    received = await _all(await bus.subscribe(Group.CLASSIFY), max_records)
    assert _by_key(received) == _by_key(messages)
    assert {message.stream for message in received} == {Stream.ARTICLES}
    places = [(message.partition, message.offset) for message in received]
    assert len(set(places)) == 50
    assert {partition for partition, _ in places} == {partition_of(f"key {n}", PARTITIONS) for n in range(7)}


async def test_a_key_stays_on_its_partition(bus: Bus) -> None:
    await bus.publish(Stream.ARTICLES, _messages(40))
    partitions = defaultdict(set)
    for message in await _all(await bus.subscribe(Group.CLASSIFY)):
        partitions[message.key].add(message.partition)
    assert all(len(found) == 1 for found in partitions.values())
    # As every process, on every machine and version, must answer: records on disk lie where this once put them.
    assert [partition_of(key, 4) for key in ("", "all", "topic:Financials", "żółć")] == [0, 1, 2, 3]


async def test_values_are_bytes_of_any_kind_and_length(bus: Bus) -> None:
    messages = [Message("k", value) for value in (b"", b"\0", bytes(range(256)), b"\xff" * 1_000_000)]
    await bus.publish(Stream.DEAD_LETTERS, [*messages, Message("", b"no key")])
    received = await _all(await bus.subscribe(Group.DEAD_LETTERS))
    assert _by_key(received) == _by_key([*messages, Message("", b"no key")])


async def test_publishing_nothing_is_nothing(bus: Bus) -> None:
    await bus.publish(Stream.ARTICLES, [])
    assert await bus.lag(Group.CLASSIFY) == 0
    assert await _all(await bus.subscribe(Group.CLASSIFY)) == []


async def test_streams_do_not_mix(bus: Bus) -> None:
    for stream in Stream:
        await bus.publish(stream, [Message("k", stream.encode())])
    for group, stream in READS.items():
        assert [message.value for message in await _all(await bus.subscribe(group))] == [stream.encode()]


async def test_what_was_not_committed_comes_again_on_rewind(bus: Bus) -> None:
    await bus.publish(Stream.ARTICLES, _messages(6))
    consumer = await bus.subscribe(Group.CLASSIFY)
    await consumer.rewind()
    first = await consumer.poll(2, timeout_s=0)
    await consumer.commit()
    second = await _all(consumer)
    await consumer.rewind()
    assert sorted(await _all(consumer)) == sorted(second)
    await consumer.commit()
    await consumer.rewind()
    assert await _all(consumer) == []
    assert len(first) + len(second) == 6


async def test_lag_is_what_the_group_has_not_committed(bus: Bus) -> None:
    await bus.publish(Stream.ARTICLES, _messages(6))
    assert await bus.lag(Group.CLASSIFY) == 6
    consumer = await bus.subscribe(Group.CLASSIFY)
    await consumer.poll(4, timeout_s=0)
    assert await bus.lag(Group.CLASSIFY) == 6
    await consumer.commit()
    assert await bus.lag(Group.CLASSIFY) == 2
    assert await bus.lag(Group.AGGREGATE) == 0


async def test_trim_keeps_what_is_young_and_what_is_unread(bus: Bus, clock: ManualClock) -> None:
    await bus.publish(Stream.ARTICLES, _messages(6))
    await bus.publish(Stream.LABELLED, _messages(3))
    consumer = await bus.subscribe(Group.CLASSIFY)
    done = await consumer.poll(4, timeout_s=0)
    await consumer.commit()
    assert await bus.trim() == 0
    clock.set(NOW + 2 * RETENTION)
    assert await bus.trim() == len(done)
    assert await bus.trim() == 0
    await bus.publish(Stream.ARTICLES, [Message("key 0", b"new")])
    await consumer.rewind()
    assert len(await _all(consumer)) == 3
    assert len(await _all(await bus.subscribe(Group.AGGREGATE))) == 3


async def test_offsets_go_on_after_everything_was_trimmed(reopen: Reopen, clock: ManualClock) -> None:
    bus = await reopen()
    await bus.publish(Stream.ARTICLES, _messages(20))
    consumer = await bus.subscribe(Group.CLASSIFY)
    places = {(message.partition, message.offset) for message in await _all(consumer)}
    await consumer.commit()
    clock.set(NOW + 2 * RETENTION)
    assert await bus.trim() == 20
    bus = await reopen()
    await bus.publish(Stream.ARTICLES, _messages(20))
    later = {(message.partition, message.offset) for message in await _all(await bus.subscribe(Group.CLASSIFY))}
    assert len(later) == 20
    assert not later & places


async def test_a_group_resumes_where_it_committed(reopen: Reopen) -> None:
    bus = await reopen()
    await bus.publish(Stream.ARTICLES, _messages(10))
    consumer = await bus.subscribe(Group.CLASSIFY)
    done = await consumer.poll(3, timeout_s=0)
    await consumer.commit()
    await consumer.poll(3, timeout_s=0)
    await bus.aclose()

    bus = await reopen()
    assert await bus.lag(Group.CLASSIFY) == 7
    rest = await _all(await bus.subscribe(Group.CLASSIFY))
    assert sorted(message.value for message in [*done, *rest]) == [b"%d" % number for number in range(10)]


async def test_two_on_one_log_hear_of_each_other(reopen: Reopen) -> None:
    """The reader already waits when the other one writes."""
    reader, writer = await reopen(), await reopen()
    consumer = await reader.subscribe(Group.CLASSIFY)
    waiting = asyncio.ensure_future(consumer.poll(10, timeout_s=30))
    await writer.publish(Stream.ARTICLES, _messages(1))
    async with asyncio.timeout(5):
        assert [message.value for message in await waiting] == [b"0"]


async def test_a_reader_wakes_when_its_own_bus_is_written_to(bus: Bus) -> None:
    consumer = await bus.subscribe(Group.CLASSIFY)
    waiting = asyncio.ensure_future(consumer.poll(10, timeout_s=30))
    await bus.lag(Group.CLASSIFY)  # one worker thread: the poll has looked by now
    await bus.publish(Stream.ARTICLES, _messages(1))
    async with asyncio.timeout(5):
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
    received = await _all(await buses[0].subscribe(Group.CLASSIFY))
    assert _by_key(received) == {str(index): [b"%d" % n for n in range(20)] for index in range(3)}


async def test_a_poll_that_was_cancelled_loses_nothing(bus: Bus) -> None:
    consumer = await bus.subscribe(Group.CLASSIFY)
    await bus.publish(Stream.ARTICLES, _messages(5))
    polling = asyncio.ensure_future(consumer.poll(5, timeout_s=30))
    await asyncio.sleep(0)  # until it has begun
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    assert len(await _all(consumer)) == (5 if polling.cancelled() else 0)


async def test_publishing_is_all_or_nothing(bus: Bus) -> None:
    await bus.publish(Stream.ARTICLES, _messages(1))
    broken = [*_messages(2), Message("key 0", None)]  # type: ignore[arg-type]  # what no bus can write
    with pytest.raises((BusError, TypeError)):
        await bus.publish(Stream.ARTICLES, broken)
    assert await bus.lag(Group.CLASSIFY) == 1
    await bus.publish(Stream.ARTICLES, _messages(2))
    assert len(await _all(await bus.subscribe(Group.CLASSIFY))) == 3


async def test_another_number_of_partitions_is_a_mistake(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "bus.sqlite3"
    await (await EmbeddedBus.open(path, partitions=4, retention=RETENTION, clock=clock)).aclose()
    with pytest.raises(ConfigError, match=r"bus\.partitions: expected 4"):
        await EmbeddedBus.open(path, partitions=5, retention=RETENTION, clock=clock)
    await (await EmbeddedBus.open(path, partitions=4, retention=RETENTION, clock=clock)).aclose()


@pytest.mark.parametrize("kind", ["not a log", "a folder", "below a file"])
async def test_an_unusable_file_is_named(kind: str, tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "bus.sqlite3"
    if kind == "a folder":
        path.mkdir()
    else:
        path.write_bytes(b"This is a letter to my aunt. " * 200)
    path = path / "bus.sqlite3" if kind == "below a file" else path
    with pytest.raises(BusError, match=r"bus\.sqlite3") as caught:
        await EmbeddedBus.open(path, partitions=4, retention=RETENTION, clock=clock)
    assert caught.value.reason is Reason.STORAGE


async def test_a_full_disk_says_so_and_leaves_no_half(reopen: Reopen, tmp_path: Path) -> None:
    bus = await reopen()
    assert isinstance(bus, EmbeddedBus)
    await bus.call(lambda: bus.db.execute("PRAGMA max_page_count = 30").fetchall())
    with pytest.raises(BusError, match="free some space") as caught:
        await bus.publish(Stream.ARTICLES, [Message("k", b"x" * 50_000)] * 10)
    assert caught.value.reason is Reason.STORAGE_FULL
    assert await bus.lag(Group.CLASSIFY) == 0
    await bus.publish(Stream.ARTICLES, _messages(1))
    assert await bus.lag(Group.CLASSIFY) == 1


async def test_a_log_locked_by_another_process_waits_for_it(reopen: Reopen, tmp_path: Path) -> None:
    bus = await reopen()
    other = sqlite3.connect(tmp_path / "log" / "bus.sqlite3", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        publishing = asyncio.ensure_future(bus.publish(Stream.ARTICLES, _messages(1)))
        await asyncio.sleep(0)  # until it has begun
        other.execute("ROLLBACK")
        await publishing
    finally:
        other.close()
    assert await bus.lag(Group.CLASSIFY) == 1


_steps = st.lists(
    st.one_of(
        st.lists(st.sampled_from("abcdef"), max_size=6),  # keys to publish
        st.integers(1, 5),  # poll so many
        st.sampled_from(["commit", "rewind", "resubscribe"]),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_steps)
async def test_any_interleaving_delivers_everything_in_order(
    steps: list[list[str] | int | str], clock: ManualClock
) -> None:
    """At least once: a key's messages never skip one, and never come out of order but after going back."""
    bus = await EmbeddedBus.open(None, partitions=3, retention=RETENTION, clock=clock)
    try:
        consumer: Consumer = await bus.subscribe(Group.CLASSIFY)
        published: dict[str, int] = defaultdict(int)
        polled: dict[str, int] = defaultdict(int)
        committed: dict[str, int] = defaultdict(int)
        for step in [*steps, "rewind", 1000]:
            if isinstance(step, list):
                messages = []
                for key in step:
                    messages.append(Message(key, b"%d" % published[key]))
                    published[key] += 1
                await bus.publish(Stream.ARTICLES, messages)
            elif isinstance(step, int):
                for message in await consumer.poll(step, timeout_s=0):
                    assert int(message.value) == polled[message.key]
                    polled[message.key] += 1
            elif step == "commit":
                await consumer.commit()
                committed = polled.copy()
            else:
                if step == "resubscribe":
                    consumer = await bus.subscribe(Group.CLASSIFY)
                await consumer.rewind()
                polled = committed.copy()
            assert await bus.lag(Group.CLASSIFY) == sum(published.values()) - sum(committed.values())
        assert {key: count for key, count in polled.items() if count} == published
    finally:
        await bus.aclose()
