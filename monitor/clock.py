"""Time as a value: whoever needs `now` is handed a clock."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time, always aware and in UTC, and waits."""

    def now(self) -> datetime: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ScaledClock:
    """Starts at `start` and runs `speed` times as fast as the machine's clock.

    Units: `speed` in seconds of this clock per real second, above 0.
    """

    def __init__(self, start: datetime, speed: float) -> None:
        self._start = start
        self._speed = speed
        self._origin = asyncio.get_running_loop().time()

    def now(self) -> datetime:
        elapsed_s = asyncio.get_running_loop().time() - self._origin
        return self._start + timedelta(seconds=elapsed_s * self._speed)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._speed)


class ManualClock:
    """Stands still until it is set: an archive's replay drives it, and so do the tests.

    `sleep` returns once the clock has been set to, or past, the moment waited for.
    """

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._moved = asyncio.Condition()

    def now(self) -> datetime:
        return self._now

    def set(self, now: datetime) -> None:
        """Moves the clock; for use where nobody sleeps on it."""
        self._now = now

    async def advance(self, seconds: float) -> None:
        """Moves the clock forward and wakes whoever was due."""
        self._now += timedelta(seconds=seconds)
        async with self._moved:
            self._moved.notify_all()

    async def sleep(self, seconds: float) -> None:
        due = self._now + timedelta(seconds=seconds)
        async with self._moved:
            await self._moved.wait_for(lambda: self._now >= due)
