"""Clocks: what they tell, and whom they wake."""

import asyncio
from datetime import UTC, timedelta

from monitor.clock import ManualClock, ScaledClock, SystemClock
from monitor.domain.record import utc

START = utc(2023, 3, 10)


async def test_the_system_clock_tells_utc() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    await clock.sleep(0)


async def test_a_scaled_clock_runs_ahead() -> None:
    clock = ScaledClock(START, 1_000_000)
    before = clock.now()
    await clock.sleep(10_000)  # ten milliseconds
    assert before >= START
    assert clock.now() - before >= timedelta(seconds=9_000)


async def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(START)
    woken: list[int] = []

    async def sleeper(seconds: int) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (30, 10, 20):
            group.create_task(sleeper(seconds))
        await asyncio.sleep(0)
        await clock.advance(9)
        assert (clock.now(), woken) == (START + timedelta(seconds=9), [])
        await clock.advance(11)
        await _turns()
        assert sorted(woken) == [10, 20]
        await clock.advance(3600)
    assert sorted(woken) == [10, 20, 30]


async def test_a_manual_clock_can_be_set() -> None:
    clock = ManualClock(START)
    clock.set(START + timedelta(days=1))
    assert clock.now() == START + timedelta(days=1)
    await clock.sleep(0)


async def _turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
