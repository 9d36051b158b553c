"""The one loop every stage runs: consume, process, publish, commit."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, ParamSpec, Protocol, TypeVar

import structlog

from monitor.bus.bus import Bus, Consumer, Message, Received
from monitor.bus.streams import Stream
from monitor.clock import Clock
from monitor.domain.dead_letters import DeadLetter
from monitor.domain.record import encode, fingerprint
from monitor.errors import InvariantError, Reason, RecordError, RemoteError

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_POLL_S = 0.25
_FIRST_RETRY_S = 0.5
_LAST_RETRY_S = 30.0


class Vital:
    """How a component fares: written by itself, read by the heartbeat and by the watchdog.

    `monotonic` tells real seconds, whatever clock the component runs on.
    """

    def __init__(self, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._steps: dict[object, float] = {}
        self.state: Literal["ok", "retrying", "stopped"] = "ok"
        self.detail: str | None = None
        self.since: datetime = clock.now()

    def set(self, state: Literal["ok", "retrying", "stopped"], detail: str | None = None) -> None:
        if state != self.state:
            self.since = self._clock.now()
        self.state, self.detail = state, detail

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Around one piece of work that ends, well or badly, in a time of its own: what does not end has hung.

        Waiting for work, or between two attempts, is no step: it may take as long as it likes.
        """
        step = object()
        self._steps[step] = self._monotonic()
        try:
            yield
        finally:
            del self._steps[step]

    def busy_s(self) -> float:
        """For how long the oldest step has been under way; 0 if none is."""
        return self._monotonic() - min(self._steps.values()) if self._steps else 0.0


class Component(Protocol):
    """A part of the daemon. `run` works until cancelled, or until `drain` has let it finish."""

    @property
    def name(self) -> str: ...

    @property
    def vital(self) -> Vital: ...

    async def run(self) -> None: ...

    async def drain(self) -> None:
        """Takes no more work in, and returns when what was taken in is done. May be called twice, or before `run`."""
        ...


class Rejected(NamedTuple):
    """A message that could not be processed, and why."""

    message: Received
    error: RecordError


class Outcome(NamedTuple):
    """What became of a batch: what goes on the next stream, and what could not be processed."""

    results: Sequence[Message] = ()
    rejected: Sequence[Rejected] = ()


class Processor(Protocol):
    """What a stage does with a batch. May be given the same batch twice, and must then change nothing."""

    async def process(self, batch: Sequence[Received]) -> Outcome:
        """Raises: RemoteError, to be given the batch again later."""
        ...


def dead_letter(
    stage: str, error: RecordError, now: datetime, *, key: str, value: bytes, stream: Stream | None = None
) -> DeadLetter:
    """The dead letter of a record; the same record failing again at the same stage has the same id."""
    return DeadLetter(
        id=fingerprint("dead letter", stage, str(stream), key, value.hex()),
        stage=stage,
        stream=stream,
        key=_storable(key),
        value=value,
        reason=error.reason,
        detail=_storable(error.detail[:2000]),
        failed_at=now,
    )


def _storable(text: str) -> str:
    """The text without what neither JSON nor a database takes: an error may quote whatever broke the record."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


class Worker:
    """A component that works in rounds: asked to drain, it ends the round it is in, and does one last one."""

    def __init__(self, clock: Clock) -> None:
        self.vital = Vital(clock)
        self._clock = clock
        self._draining = asyncio.Event()
        self._running = False
        self._idle = asyncio.Event()

    async def run(self) -> None:
        self._running = True
        self._idle.clear()
        try:
            while not self._draining.is_set():
                await self._round()
            await self._last_round()
        finally:
            self._running = False
            self._idle.set()

    async def drain(self) -> None:
        self._draining.set()
        if self._running:
            await self._idle.wait()

    async def _round(self) -> None:
        """One round, waiting included: it should not take long to notice that it was the last but one."""
        raise NotImplementedError

    async def _last_round(self) -> None:
        """What is left to do before the end."""
        raise NotImplementedError


class Stage(Worker):
    """Runs one processor at least once over every message of its group.

    Order: process, publish the results, publish the dead letters, commit; so whatever dies in between, the batch
    comes again. A batch that a remote failure stopped is retried for as long as it takes; nothing overtakes it.
    `leaves_rest`: asked to drain, it finishes the batch in hand, and leaves what is on the log to other members of its
    group; else it works until the log is empty.
    """

    def __init__(
        self,
        name: str,
        *,
        inbox: Consumer,
        bus: Bus,
        outbox: Stream | None,
        processor: Processor,
        clock: Clock,
        max_batch: int,
        leaves_rest: bool = False,
    ) -> None:
        super().__init__(clock)
        self.name = name
        self._inbox = inbox
        self._bus = bus
        self._outbox = outbox
        self._processor = processor
        self._max_batch = max_batch
        self._leaves_rest = leaves_rest
        self.rejected = 0

    async def _round(self) -> None:
        await self._step(_POLL_S)

    async def _last_round(self) -> None:
        if not self._leaves_rest:
            await self.catch_up()

    async def catch_up(self) -> None:
        """Works until its stream holds nothing more for it."""
        while await self._step(timeout_s=0):
            pass

    async def _step(self, timeout_s: float) -> bool:
        """Takes one batch all the way; False if none came."""
        batch = await self._retry(self._inbox.poll, self._max_batch, timeout_s=timeout_s)
        if batch:
            await self._retry(self._finish, batch)
        return bool(batch)

    async def _finish(self, batch: Sequence[Received]) -> None:
        outcome = await self._process(batch)
        if outcome.results and self._outbox is not None:
            await self._bus.publish(self._outbox, outcome.results)
        if outcome.rejected:
            now = self._clock.now()
            letters = [
                dead_letter(
                    self.name, rejected.error, now,
                    key=rejected.message.key, value=rejected.message.value, stream=rejected.message.stream,
                )
                for rejected in outcome.rejected
            ]  # fmt: skip
            await self._bus.publish(Stream.DEAD_LETTERS, [Message(self.name, encode(letter)) for letter in letters])
            self.rejected += len(letters)
            log.warning("records_rejected", stage=self.name, rows=len(letters), reason=str(letters[0].reason))
        await self._inbox.commit()

    async def _process(self, batch: Sequence[Received]) -> Outcome:
        try:
            return await self._processor.process(batch)
        except (RemoteError, InvariantError):
            raise
        except Exception as error:  # a record may break code that expected another one: find it, and go on
            if len(batch) > 1:
                parts = [await self._process([message]) for message in batch]
                return Outcome(
                    [result for part in parts for result in part.results],
                    [rejected for part in parts for rejected in part.rejected],
                )
            if not isinstance(error, RecordError):
                log.exception("record_broke_stage", stage=self.name, key=batch[0].key)
                error = RecordError(Reason.INVALID, f"{type(error).__name__}: {error}")
            return Outcome(rejected=[Rejected(batch[0], error)])

    async def _retry(self, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        pause_s = _FIRST_RETRY_S
        while True:
            try:
                with self.vital.step():
                    result = await call(*args, **kwargs)
            except RemoteError as error:
                self.vital.set("retrying", str(error))
                log.warning("stage_retries", stage=self.name, error=str(error), pause_s=pause_s)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(_LAST_RETRY_S, 2 * pause_s)
            else:
                self.vital.set("ok")
                return result
