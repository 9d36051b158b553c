"""Of several copies of a component one acts: the one that holds its lease. The others stand by."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable

import structlog

from monitor.clock import Clock
from monitor.errors import LeaseError, Reason, StoreError
from monitor.stage import Worker
from monitor.storage.leases import Leases, Term

log = structlog.get_logger(__name__)

TTL_S = 10.0
_RENEW_S = 3.0
_TRY_S = 1.0
_LOOK_S = 0.25


def this_process() -> str:
    """HOST:PID"""
    return f"{socket.gethostname()}:{os.getpid()}"


class Lead:
    """The right to act, as this copy knows it: asked for, then renewed, by `keep`.

    `monotonic` tells real seconds, whatever clock the component runs on.
    """

    def __init__(
        self,
        leases: Leases,
        name: str,
        owner: str,
        *,
        ttl_s: float = TTL_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.standby = "standby; nobody acts yet"
        self._leases = leases
        self._owner = owner
        self._ttl_s = ttl_s
        self._monotonic = monotonic
        self._term: Term | None = None
        self._good_until = 0.0
        self._not_before = 0.0
        self._looking = asyncio.Lock()
        self._leaving = asyncio.Event()

    @property
    def term(self) -> Term | None:
        """The term under which this copy acts; None: it does not, or cannot know whether it still may."""
        return self._term if self._monotonic() < self._good_until else None

    async def keep(self) -> None:
        """Asks for the lease, renews it, asks again once it is lost; until `release`."""
        while not self._leaving.is_set():
            async with self._looking:
                await self.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TRY_S if self.term is None else _RENEW_S):
                    await self._leaving.wait()

    async def look(self) -> None:
        """Renews the lease, or asks for it."""
        asked_at = self._monotonic()
        try:
            if self._term is not None and not await self._leases.renew(self._term, self._ttl_s):
                self.lose(self._term)
            if self._term is None and asked_at >= self._not_before:
                self._term = await self._leases.acquire(self.name, self._owner, self._ttl_s)
                if self._term is not None:
                    log.info("lease_taken", lease=self.name, term=self._term.number)
            if self._term is None:
                self.standby = f"standby; {await self._leases.holder(self.name) or 'nobody'} acts"
            else:
                self._good_until = asked_at + self._ttl_s
        except StoreError as error:
            # The holder is as likely cut off as this copy: it comes back first, knowing what it has sent already.
            self._not_before = self._monotonic() + self._ttl_s
            self.standby = f"standby; {error}"
            log.warning("lease_not_renewed", lease=self.name, error=str(error))

    def lose(self, term: Term | None) -> None:
        """Another copy acts: a write refused under this term tells it sooner than the next renewal."""
        if term is not None and term == self._term:
            log.warning("lease_lost", lease=self.name, term=term.number)
            self._term = None

    async def release(self) -> None:
        """Lets another copy act at once, and asks no more."""
        self._leaving.set()
        async with self._looking:
            term, self._term = self._term, None
            if term is not None:
                try:
                    await self._leases.release(term)
                except StoreError as error:
                    log.warning("lease_not_released", lease=self.name, error=str(error))
                else:
                    log.info("lease_released", lease=self.name, term=term.number)


class Led(Worker):
    """A worker that acts while it leads; without a `lead` there are no other copies, and it always does."""

    def __init__(self, clock: Clock, lead: Lead | None = None) -> None:
        super().__init__(clock)
        self._lead = lead

    async def run(self) -> None:
        if self._lead is None:
            await super().run()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lead.keep(), name=f"lease {self._lead.name}")
            await super().run()

    async def _round(self) -> None:
        if self._lead is None or self._lead.term is not None:
            await self._act()
            return
        self.vital.set("ok", self._lead.standby)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await self._draining.wait()

    async def _last_round(self) -> None:
        if self._leads:
            await self._finish()
        if self._lead is not None:
            await self._lead.release()

    async def _act(self) -> None:
        """One round of the copy that acts."""
        raise NotImplementedError

    async def _finish(self) -> None:
        """What the copy that acts has left to do before the end."""
        raise NotImplementedError

    @property
    def _leads(self) -> bool:
        return self._lead is None or self._lead.term is not None

    def _term(self) -> Term | None:
        """The term to write under; None: nobody else is there to write.

        Raises: LeaseError, if this copy does not lead.
        """
        if self._lead is None:
            return None
        term = self._lead.term
        if term is None:
            raise LeaseError(Reason.STORAGE, f"the lease {self._lead.name} was not renewed in time")
        return term

    def _lost(self, term: Term | None) -> None:
        """The database refused what was written under this term."""
        if self._lead is not None:
            self._lead.lose(term)
