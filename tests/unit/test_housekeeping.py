"""What is reported of the daemon's health, and what is forgotten."""

import asyncio
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from monitor.bus.embedded import EmbeddedBus
from monitor.clock import SystemClock
from monitor.housekeeping import Housekeeping
from monitor.settings import Settings
from monitor.stage import Vital
from monitor.storage.database import MEMORY
from monitor.storage.ops import ComponentHealth
from monitor.storage.store import Store


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
