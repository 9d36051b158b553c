"""What the bus in one file keeps to besides: retention, disks that are full, files that are none of its own."""

import asyncio
import sqlite3
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.bus.bus import Bus, Consumer, Message
from monitor.bus.embedded import EmbeddedBus
from monitor.bus.streams import Group, Stream
from monitor.clock import ManualClock
from monitor.errors import BusError, ConfigError, Reason
from tests.factories import NOW
from tests.messages import RETENTION, Reopen, messages, read_all


@pytest.fixture(params=["memory", "file"])
def bus_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["file"])
def durable_bus_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_trim_keeps_what_is_young_and_what_is_unread(bus: Bus, clock: ManualClock) -> None:
    await bus.publish(Stream.ARTICLES, messages(6))
    await bus.publish(Stream.LABELLED, messages(3))
    consumer = await bus.subscribe(Group.CLASSIFY)
    done = await consumer.poll(4, timeout_s=0)
    await consumer.commit()
    assert await bus.trim() == 0
    clock.set(NOW + 2 * RETENTION)
    assert await bus.trim() == len(done)
    assert await bus.trim() == 0
    await bus.publish(Stream.ARTICLES, [Message("key 0", b"new")])
    await consumer.rewind()
    assert len(await read_all(consumer)) == 3
    assert len(await read_all(await bus.subscribe(Group.AGGREGATE))) == 3


async def test_offsets_go_on_after_everything_was_trimmed(reopen: Reopen, clock: ManualClock) -> None:
    bus = await reopen()
    await bus.publish(Stream.ARTICLES, messages(20))
    consumer = await bus.subscribe(Group.CLASSIFY)
    places = {(message.partition, message.offset) for message in await read_all(consumer)}
    await consumer.commit()
    clock.set(NOW + 2 * RETENTION)
    assert await bus.trim() == 20
    bus = await reopen()
    await bus.publish(Stream.ARTICLES, messages(20))
    later = {(message.partition, message.offset) for message in await read_all(await bus.subscribe(Group.CLASSIFY))}
    assert len(later) == 20
    assert not later & places


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
    await bus.publish(Stream.ARTICLES, messages(1))
    assert await bus.lag(Group.CLASSIFY) == 1


async def test_a_log_locked_by_another_process_waits_for_it(reopen: Reopen, tmp_path: Path) -> None:
    bus = await reopen()
    other = sqlite3.connect(tmp_path / "log" / "bus.sqlite3", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        publishing = asyncio.ensure_future(bus.publish(Stream.ARTICLES, messages(1)))
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
