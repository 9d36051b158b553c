"""Which copies of a stage there are, and which of them a piece of work belongs to."""

import asyncio
import hashlib
import secrets

from monitor.leader import TTL_S
from monitor.storage.leases import Leases, Term

_FORGET_AFTER_S = 3600.0


class Members:
    """One copy among those of its group: each holds a lease of its own, and whoever stops renewing it is gone.

    Source: rendezvous hashing (Thaler and Ravishankar, IEEE/ACM Transactions on Networking 6(1), 1998): when a copy
        comes or goes, only its own share of the work changes hands.
    """

    def __init__(self, leases: Leases, group: str, process: str, *, ttl_s: float = TTL_S) -> None:
        self._leases = leases
        self._prefix = f"{group}/"
        self._process = process
        # A process number may come again; this name does not.
        self._name = f"{self._prefix}{process}/{secrets.token_hex(4)}"
        self._ttl_s = ttl_s
        self._term: Term | None = None
        self._names: list[str] = []
        self._left = False
        self._looking = asyncio.Lock()

    @property
    def count(self) -> int:
        """How many copies there were at the last look."""
        return len(self._names)

    async def look(self) -> None:
        """Shows itself to the others, unless it has left, and sees who is there. Raises: StoreError."""
        async with self._looking:
            if self._term is None or not await self._leases.renew(self._term, self._ttl_s):
                await self._leases.forget_ended(self._prefix, _FORGET_AFTER_S)
                self._term = None if self._left else await self._leases.acquire(self._name, self._process, self._ttl_s)
            self._names = await self._leases.held(self._prefix)

    async def leave(self) -> None:
        """Lets the others share out its work at once. Raises: StoreError."""
        self._left = True
        async with self._looking:
            term, self._term = self._term, None
            if term is not None:
                await self._leases.forget(term)

    def owns(self, work: str) -> bool:
        """Whether the work is this copy's, as of the last look."""
        return bool(self._names) and max(self._names, key=lambda name: _weight(name, work)) == self._name


def _weight(name: str, work: str) -> bytes:
    return hashlib.blake2b(f"{name}\n{work}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
