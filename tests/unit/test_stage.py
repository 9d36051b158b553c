"""The loop that every stage runs: nothing is lost, one bad record stops nothing, the commit is last."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from monitor import stage as module
from monitor.bus.bus import Message, Received
from monitor.bus.embedded import EmbeddedBus
from monitor.bus.streams import Group, Stream
from monitor.clock import ManualClock
from monitor.domain.dead_letters import DeadLetter
from monitor.domain.record import decode
from monitor.errors import BusError, InvariantError, Reason, RecordError, StoreError
from monitor.stage import Outcome, Rejected, Stage
from tests.factories import NOW


class Bus(EmbeddedBus):
    """Notes what is published, and fails as often as it is told."""

    fail = 0
    said: list[str]

    async def publish(self, stream: Stream, messages: Sequence[Message]) -> None:
        if self.fail:
            self.fail -= 1
            raise BusError(Reason.STORAGE_FULL, "full")
        self.said.append(stream)
        await super().publish(stream, messages)


class Echo:
    """Passes records on; what it does with some of them is told by their value."""

    def __init__(self, bus: Bus) -> None:
        self.batches: list[list[bytes]] = []
        self.failures = 0
        self.failed_twice = asyncio.Event()
        self._bus = bus

    async def process(self, batch: Sequence[Received]) -> Outcome:
        self._bus.said.append("process")
        self.batches.append([message.value for message in batch])
        if self.failures:
            self.failures -= 1
            if len(self.batches) == 2:
                self.failed_twice.set()
            raise StoreError(Reason.STORAGE, "locked")
        for message in batch:
            if message.value == b"poison":
                raise KeyError("half \ud800 a pair\0")
            if message.value == b"refused":
                raise RecordError(Reason.MALFORMED, "as told")
            if message.value == b"bug":
                raise InvariantError("this is a bug")
        rejected = [Rejected(m, RecordError(Reason.NO_TEXT, "no text")) for m in batch if m.value == b"reject"]
        return Outcome([Message(m.key, m.value) for m in batch if m.value != b"reject"], rejected)


@pytest.fixture
async def bus(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bus]:
    monkeypatch.setattr(module, "_FIRST_RETRY_S", 0.0)
    monkeypatch.setattr(module, "_POLL_S", 0.01)
    bus = Bus(None, partitions=3, retention=timedelta(hours=1), clock=ManualClock(NOW))
    bus.said = []
    await bus.call(bus._open)
    yield bus
    await bus.aclose()


async def _stage(bus: Bus, echo: Echo, max_batch: int = 100, *, leaves_rest: bool = False) -> Stage:
    inbox = await bus.subscribe(Group.CLASSIFY)
    return Stage(
        "classify", inbox=inbox, bus=bus, outbox=Stream.LABELLED, processor=echo, clock=ManualClock(NOW),
        max_batch=max_batch, leaves_rest=leaves_rest,
    )  # fmt: skip


async def _put(bus: Bus, *values: bytes) -> None:
    await bus.publish(Stream.ARTICLES, [Message(f"key {n}", value) for n, value in enumerate(values)])
    bus.said.clear()


async def _out(bus: Bus) -> list[bytes]:
    consumer = await bus.subscribe(Group.AGGREGATE)
    return sorted(message.value for message in await consumer.poll(1000, timeout_s=0))


async def _letters(bus: Bus) -> list[DeadLetter]:
    consumer = await bus.subscribe(Group.DEAD_LETTERS)
    return [decode(DeadLetter, message.value) for message in await consumer.poll(1000, timeout_s=0)]


@pytest.mark.parametrize("max_batch", [1, 2, 100])
async def test_poison_goes_to_the_dead_letters_and_the_others_pass(max_batch: int, bus: Bus) -> None:
    await _put(bus, b"a", b"poison", b"b", b"reject", b"c", b"refused", b"poison")
    stage = await _stage(bus, Echo(bus), max_batch)
    await stage.catch_up()
    assert await _out(bus) == [b"a", b"b", b"c"]
    letters = await _letters(bus)
    assert sorted((letter.value, letter.reason) for letter in letters) == [
        (b"poison", Reason.INVALID), (b"poison", Reason.INVALID),
        (b"refused", Reason.MALFORMED), (b"reject", Reason.NO_TEXT),
    ]  # fmt: skip
    assert len({letter.id for letter in letters}) == 4
    assert {(letter.stage, letter.stream, letter.failed_at) for letter in letters} == {("classify", "articles", NOW)}
    assert stage.rejected == 4
    assert await bus.lag(Group.CLASSIFY) == 0


async def test_the_commit_comes_last(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    write = bus.write_committed

    def noted(group: Group, positions: dict[int, int]) -> None:
        bus.said.append("commit")
        write(group, positions)

    monkeypatch.setattr(bus, "write_committed", noted)
    await _put(bus, b"a", b"reject")
    await (await _stage(bus, Echo(bus))).catch_up()
    assert bus.said == ["process", "labelled", "dead-letters", "commit"]


async def test_a_failure_of_the_other_side_is_waited_out(bus: Bus) -> None:
    await _put(bus, b"a", b"b")
    echo = Echo(bus)
    echo.failures, bus.fail = 3, 2
    stage = await _stage(bus, echo)
    await stage.catch_up()
    assert len(echo.batches) == 6
    assert len({tuple(batch) for batch in echo.batches}) == 1
    assert await _out(bus) == [b"a", b"b"]
    assert await _letters(bus) == []
    assert stage.vital.state == "ok"


async def test_a_failure_is_shown_until_it_is_over(bus: Bus) -> None:
    await _put(bus, b"a")
    echo = Echo(bus)
    echo.failures = 10**9
    stage = await _stage(bus, echo)
    running = asyncio.ensure_future(stage.run())
    async with asyncio.timeout(30):
        await echo.failed_twice.wait()
    assert "locked" in (stage.vital.detail or "")
    echo.failures = 0
    await stage.drain()
    await running
    assert (stage.vital.state, await _out(bus)) == ("ok", [b"a"])


async def test_our_own_fault_is_nobody_elses(bus: Bus) -> None:
    await _put(bus, b"a", b"bug")
    stage = await _stage(bus, Echo(bus))
    with pytest.raises(InvariantError):
        await stage.run()
    assert await bus.lag(Group.CLASSIFY) == 2
    assert await _letters(bus) == []
    await stage.drain()


async def test_draining_empties_the_stream_and_may_be_repeated(bus: Bus) -> None:
    stage = await _stage(bus, Echo(bus), max_batch=2)
    running = asyncio.ensure_future(stage.run())
    await _put(bus, *[b"%d" % n for n in range(9)])
    await asyncio.gather(stage.drain(), stage.drain())
    await running
    await stage.drain()
    assert len(await _out(bus)) == 9
    assert await bus.lag(Group.CLASSIFY) == 0


async def test_where_others_read_on_draining_leaves_them_the_rest(bus: Bus) -> None:
    await _put(bus, *[b"%d" % n for n in range(9)])
    stage = await _stage(bus, Echo(bus), max_batch=2, leaves_rest=True)
    await stage.drain()
    async with asyncio.timeout(30):
        await stage.run()
    assert await _out(bus) == []
    assert await bus.lag(Group.CLASSIFY) == 9


async def test_draining_may_come_before_running(bus: Bus) -> None:
    await _put(bus, b"a")
    stage = await _stage(bus, Echo(bus))
    await stage.drain()
    async with asyncio.timeout(30):
        await stage.run()
    assert await _out(bus) == [b"a"]


async def test_a_stage_cancelled_halfway_does_its_batch_again(bus: Bus) -> None:
    await _put(bus, b"a")
    echo = Echo(bus)
    echo.failures = 10**9
    running = asyncio.ensure_future((await _stage(bus, echo)).run())
    async with asyncio.timeout(30):
        await echo.failed_twice.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await (await _stage(bus, Echo(bus))).catch_up()
    assert await _out(bus) == [b"a"]
