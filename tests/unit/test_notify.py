"""What the service manager is told: no good of a daemon that hangs, nothing bad of one that waits for others."""

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from monitor import stage as stage_module
from monitor.bus.bus import Message, Received
from monitor.bus.embedded import EmbeddedBus
from monitor.bus.streams import Group, Stream
from monitor.clock import ManualClock
from monitor.errors import Reason, StoreError
from monitor.notify import STALL_S, Manager, Watchdog
from monitor.stage import Outcome, Stage, Vital
from tests.factories import NOW

PID = str(os.getpid())


class Ear:
    """A service manager's socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """What was said since the last call."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


class Part:
    """A component that a test moves by hand."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.now_s = 0.0
        self.vital = Vital(ManualClock(NOW), monotonic=lambda: self.now_s)

    async def run(self) -> None:
        raise AssertionError("the watchdog runs nothing")

    async def drain(self) -> None:
        raise AssertionError("the watchdog drains nothing")


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def ear(address: str) -> Iterator[Ear]:
    ear = Ear(address)
    yield ear
    ear.close()


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "2500000"}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": PID}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
    ],
)
def test_the_time_is_the_one_meant_for_this_process(environment: dict[str, str], watchdog_s: float | None) -> None:
    assert Manager.of(environment).watchdog_s == watchdog_s


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_what_it_is_told(abstract: bool, tmp_path: Path) -> None:
    address = f"@news-monitor-test-{PID}" if abstract else str(tmp_path / "notify")
    ear = Ear(address)
    Manager.of({"NOTIFY_SOCKET": address}).tell("READY=1", "STATUS=working")
    assert ear.heard() == ["READY=1\nSTATUS=working"]
    ear.close()


def test_without_a_manager_nobody_is_told() -> None:
    with capture_logs() as logs:
        Manager.of({}).tell("READY=1")
        Manager.of({"NOTIFY_SOCKET": ""}).tell("READY=1")
    assert logs == []


def test_a_manager_that_is_gone_is_told_of_once(address: str) -> None:
    manager = Manager(address)
    with capture_logs() as logs:
        manager.tell("WATCHDOG=1")
        manager.tell("WATCHDOG=1")
    assert [(line["event"], line["socket"]) for line in logs] == [("service_manager_not_told", address)]
    ear = Ear(address)
    manager.tell("WATCHDOG=1")
    assert ear.heard() == ["WATCHDOG=1"]
    ear.close()


def test_a_step_is_timed_until_it_ends() -> None:
    part = Part("p")
    assert part.vital.busy_s() == 0
    with part.vital.step():
        part.now_s = 3
        with part.vital.step():
            part.now_s = 5
            assert part.vital.busy_s() == 5
        assert part.vital.busy_s() == 5
    assert part.vital.busy_s() == 0
    with pytest.raises(ValueError, match="failed"), part.vital.step():
        raise ValueError("failed")
    part.now_s = 99
    assert part.vital.busy_s() == 0


def test_a_component_that_hangs_silences_the_watchdog_and_is_named(ear: Ear, address: str, tmp_path: Path) -> None:
    good, bad, file = Part("ingest"), Part("classify"), tmp_path / "alive" / "classify"
    watchdog = Watchdog([good, bad], Manager(address, watchdog_s=20), alive=[file])
    watchdog.look()
    assert ear.heard() == ["STATUS=working: ingest, classify", "WATCHDOG=1"]
    with capture_logs() as logs:
        with bad.vital.step():
            bad.now_s = 10  # half of the manager's time is not yet too long
            watchdog.look()
            assert ear.heard() == ["WATCHDOG=1"]
            file.unlink()
            bad.now_s = 10.5
            watchdog.look()
            watchdog.look()
            assert ear.heard() == ["STATUS=classify has hung"]
            assert not file.exists()
        watchdog.look()
    assert ear.heard() == ["STATUS=working: ingest, classify", "WATCHDOG=1"]
    assert file.exists()
    assert [(line["event"], line["component"]) for line in logs] == [
        ("component_hung", "classify"),
        ("component_gets_on", "classify"),
    ]


def test_a_component_that_retries_is_told_of_and_the_watchdog_is_fed(ear: Ear, address: str) -> None:
    part = Part("aggregate")
    part.vital.set("retrying", "database: connection refused\nWATCHDOG=trigger")
    watchdog = Watchdog([part], Manager(address, watchdog_s=20))
    part.now_s = 1e6
    watchdog.look()
    assert ear.heard() == [
        "STATUS=aggregate retries: database: connection refused WATCHDOG=trigger",
        "WATCHDOG=1",
    ]


def test_without_a_manager_a_step_has_its_own_limit(tmp_path: Path) -> None:
    part, file = Part("detect"), tmp_path / "alive"
    watchdog = Watchdog([part], Manager(None), alive=[file])
    with part.vital.step(), capture_logs() as logs:
        part.now_s = STALL_S + 1
        watchdog.look()
    assert [line["event"] for line in logs] == ["component_hung"]
    assert not file.exists()


def test_a_health_file_that_cannot_be_touched_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    watchdog = Watchdog([], Manager(None), alive=[tmp_path / "taken" / "file"])
    with capture_logs() as logs:
        watchdog.look()
        watchdog.look()
    assert [line["event"] for line in logs] == ["health_file_not_touched"]


async def test_ready_comes_first_and_the_files_go_at_the_end(ear: Ear, address: str, tmp_path: Path) -> None:
    file = tmp_path / "alive" / "ingest"
    watchdog = Watchdog([Part("ingest")], Manager(address), alive=[file], look_s=0.001)
    running = asyncio.create_task(watchdog.run())
    heard: list[str] = []
    async with asyncio.timeout(10):
        while heard.count("WATCHDOG=1") < 3:
            await asyncio.sleep(0)
            heard += ear.heard()
        assert file.exists()
        await watchdog.drain()
        await running
    assert heard[0] == "READY=1"
    assert not file.exists()
    await watchdog.drain()


class Odd:
    """A processor that fails, or never answers, as it is told."""

    def __init__(self) -> None:
        self.tries = 0
        self.hangs = False
        self.asked = asyncio.Event()

    async def process(self, batch: Sequence[Received]) -> Outcome:
        self.tries += 1
        self.asked.set()
        if self.hangs:
            await asyncio.Event().wait()
        raise StoreError(Reason.STORAGE, "connection refused")


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_stage_that_retries_gets_on_and_one_that_hangs_does_not(
    hangs: bool, ear: Ear, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "_FIRST_RETRY_S", 0.0)
    bus = await EmbeddedBus.open(None, partitions=1, retention=timedelta(hours=1), clock=ManualClock(NOW))
    await bus.publish(Stream.ARTICLES, [Message("key", b"value")])
    odd, now_s = Odd(), 0.0
    odd.hangs = hangs
    stage = Stage(
        "classify", inbox=await bus.subscribe(Group.CLASSIFY), bus=bus, outbox=None, processor=odd,
        clock=ManualClock(NOW), max_batch=10,
    )  # fmt: skip
    stage.vital = Vital(ManualClock(NOW), monotonic=lambda: now_s)
    running = asyncio.create_task(stage.run())
    watchdog = Watchdog([stage], Manager(address, watchdog_s=20))
    async with asyncio.timeout(10):
        await odd.asked.wait()
        now_s = 1000.0
        while not hangs and odd.tries < 5:  # each try begins anew
            odd.asked.clear()
            await odd.asked.wait()
        watchdog.look()
        assert ("WATCHDOG=1" in ear.heard()) is not hangs
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await bus.aclose()
