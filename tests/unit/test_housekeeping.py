"""What is reported of the daemon's health, and what is forgotten."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.bus.embedded import EmbeddedBus
from monitor.clock import ManualClock, SystemClock
from monitor.housekeeping import Housekeeping
from monitor.settings import Settings
from monitor.stage import Vital
from monitor.storage.database import MEMORY
from monitor.storage.ops import ComponentHealth
from monitor.storage.store import Store
from tests.chain import Chain


class Part:
    """A component that does nothing, and says how it fares."""

    name = "part"

    def __init__(self) -> None:
        self.vital = Vital(SystemClock())

    async def run(self) -> None:
        raise AssertionError("housekeeping runs nothing")

    async def drain(self) -> None:
        raise AssertionError("housekeeping drains nothing")


def _dead_process() -> str:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return f"{socket.gethostname()}:{ended.pid}"


async def test_the_dead_are_forgotten_and_the_living_reported(tmp_path: Path) -> None:
    clock = SystemClock()
    store = await Store.open(MEMORY)
    bus = await EmbeddedBus.open(None, partitions=1, retention=timedelta(hours=1), clock=clock)
    settings = Settings.model_validate({"data_dir": tmp_path, "daemon": {"heartbeat_s": 0.05}})
    now = clock.now()
    before = [ComponentHealth(who, "ingest", "ok", None, now, now) for who in (_dead_process(), "elsewhere:1")]
    await store.health.report(before, now - timedelta(days=1))
    part = Part()
    part.vital.set("retrying", "the disk is full")
    housekeeping = Housekeeping([part], store=store, bus=bus, settings=settings, keep=True)
    running = asyncio.create_task(housekeeping.run())
    me = f"{socket.gethostname()}:{os.getpid()}"
    async with asyncio.timeout(10):
        alive = await store.health.all()
        while not any(state.process == me for state in alive):
            alive = await store.health.all()
        await housekeeping.drain()
        await running
    assert {state.process for state in alive} == {me, "elsewhere:1"}
    mine = {state.name: (state.state, state.detail) for state in alive if state.process == me}
    assert mine["part"] == ("retrying", "the disk is full")
    ended = {state.name: state.state for state in await store.health.all() if state.process == me}
    assert ended == {"part": "stopped", "housekeeping": "stopped"}
    await bus.aclose()
    await store.aclose()


async def test_of_several_copies_one_deletes_what_is_past_its_retention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with contextlib.aclosing(await Store.open(MEMORY)) as store:
        bus = await EmbeddedBus.open(None, partitions=1, retention=timedelta(hours=1), clock=SystemClock())
        settings = Settings.model_validate({"data_dir": tmp_path})
        copies = [
            Housekeeping([], store=store, bus=bus, settings=settings, keep=True, is_shared=True) for _ in range(3)
        ]
        trimmed = 0

        async def trim() -> int:
            nonlocal trimmed
            trimmed += 1
            return 0

        monkeypatch.setattr(bus, "trim", trim)
        for copy in copies:
            await copy._trim()
        assert trimmed == 1
        alone = Housekeeping([], store=store, bus=bus, settings=settings, keep=True)
        await alone._trim()
        assert trimmed == 2
        await bus.aclose()


@pytest.mark.parametrize(("days", "gone"), [(0, 0), (400, 0), (30, 1)])
async def test_alerts_go_by_a_retention_of_their_own(
    days: int, gone: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the machine's clock, and whatever becomes of articles; the log tells how many."""
    async with contextlib.aclosing(await Store.open(MEMORY)) as store:
        chain = Chain(store, ManualClock(SystemClock().now() - timedelta(days=100)))
        spike = await chain.fire()
        await chain.wait(minutes=10)
        await chain.end(spike)
        await chain.wait(hours=1)
        bus = await EmbeddedBus.open(None, partitions=1, retention=timedelta(hours=1), clock=SystemClock())
        settings = Settings.model_validate({"data_dir": tmp_path, "database": {"alert_retention_days": days}})
        capsys.readouterr()
        await Housekeeping([], store=store, bus=bus, settings=settings, keep=True)._trim()
        said = capsys.readouterr().out
        assert "retention_done" in said
        assert f"alerts={gone} " in said
        assert f"alert_messages={2 * gone} " in said
        assert len(await store.alerts.latest(limit=9)) == 1 - gone
        await bus.aclose()


async def test_what_is_said_at_the_end_is_said_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A report that is under way when the daemon stops is neither an error nor the last word."""
    async with contextlib.aclosing(await Store.open(MEMORY)) as store:
        bus = await EmbeddedBus.open(None, partitions=1, retention=timedelta(hours=1), clock=SystemClock())
        settings = Settings.model_validate({"data_dir": tmp_path, "daemon": {"heartbeat_s": 0.05}})
        housekeeping = Housekeeping([Part()], store=store, bus=bus, settings=settings, keep=False)
        report, begun, said = store.health.report, asyncio.Event(), []

        async def slow(states: list[ComponentHealth], forget_before: datetime) -> None:
            begun.set()
            try:
                await asyncio.sleep(0.2)
            finally:
                await report(states, forget_before)
                said.append(states[0].state)

        monkeypatch.setattr(store.health, "report", slow)
        running = asyncio.create_task(housekeeping.run())
        async with asyncio.timeout(10):
            await begun.wait()
            await housekeeping.drain()
            await running
        assert said == ["ok", "stopped"]
        assert {state.state for state in await store.health.all()} == {"stopped"}
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []
        await bus.aclose()
