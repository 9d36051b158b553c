"""Fetches one body over HTTP: bounded in time and size, conditional, polite to hosts."""

import asyncio
import zlib
from collections import defaultdict
from typing import NamedTuple

import httpx

from monitor.clock import Clock
from monitor.errors import FetchError, Reason
from monitor.http import max_age_s, retry_after_s
from monitor.settings import HttpSettings

_PERMANENT = frozenset({301, 308})
_MAX_MEMBERS = 100
GZIP_MAGIC = b"\x1f\x8b"
_ACCEPT = (
    "application/atom+xml, application/rss+xml, application/rdf+xml, application/feed+json,"
    " application/xml;q=0.9, text/xml;q=0.9, application/json;q=0.9, */*;q=0.5"
)


class Validators(NamedTuple):
    """What a server gave to ask for a body only if it changed (RFC 9110, 8.8)."""

    etag: str | None = None
    last_modified: str | None = None


class Fetched(NamedTuple):
    """A response. `body` None: not modified. `moved_to`: where permanent redirects led. Units: `max_age_s` seconds."""

    body: bytes | None
    url: str
    content_type: str
    validators: Validators
    max_age_s: float | None
    moved_to: str | None


class Fetcher:
    """Shares one client, and its limits, among all feeds of a process."""

    def __init__(self, http: httpx.AsyncClient, settings: HttpSettings, clock: Clock) -> None:
        self._http = http
        self._settings = settings
        self._clock = clock
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._host_slots: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(settings.per_host))

    async def fetch(self, url: str, validators: Validators) -> Fetched:
        """Raises: FetchError."""
        try:
            host = httpx.URL(url).host
        except httpx.InvalidURL as error:
            raise FetchError(Reason.CLIENT_ERROR, f"not a URL: {error}") from error
        async with self._host_slots[host], self._slots:
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    return await self._fetch(url, validators)
            except (TimeoutError, httpx.TimeoutException) as error:
                raise FetchError(Reason.TIMEOUT, f"no whole answer within {self._settings.timeout_s:g} s") from error
            except httpx.UnsupportedProtocol as error:
                raise FetchError(Reason.CLIENT_ERROR, f"expected an http or https URL: {error}") from error
            except (httpx.RemoteProtocolError, httpx.DecodingError, zlib.error) as error:
                raise FetchError(Reason.PROTOCOL, str(error)) from error
            except httpx.TransportError as error:
                raise FetchError(Reason.UNREACHABLE, str(error) or type(error).__name__) from error

    async def _fetch(self, url: str, validators: Validators) -> Fetched:
        headers = {"Accept": _ACCEPT, "Accept-Encoding": "gzip, deflate"}
        # HTTP's headers are ASCII. A server whose validators are not cannot be asked whether the body changed.
        if validators.etag and validators.etag.isascii():
            headers["If-None-Match"] = validators.etag
        if validators.last_modified and validators.last_modified.isascii():
            headers["If-Modified-Since"] = validators.last_modified
        request = self._http.build_request("GET", url, headers=headers, timeout=self._settings.timeout_s)
        moved_to: str | None = None
        permanent = True
        for _ in range(self._settings.max_redirects + 1):
            response = await self._http.send(request, stream=True, follow_redirects=False)
            try:
                if response.next_request is None:
                    return await self._take(response, validators, moved_to)
            finally:
                await response.aclose()  # of a redirect, unread: its body says nothing, and may be a bomb
            # A chain is permanent up to its first temporary step.
            permanent = permanent and response.status_code in _PERMANENT
            request = response.next_request
            moved_to = str(request.url) if permanent else moved_to
        raise FetchError(Reason.REDIRECT_LOOP, f"more than {self._settings.max_redirects} redirects")

    async def _take(self, response: httpx.Response, validators: Validators, moved_to: str | None) -> Fetched:
        if response.status_code != httpx.codes.NOT_MODIFIED:
            self._refuse_status(response)
        body = None if response.status_code == httpx.codes.NOT_MODIFIED else await self._read(response)
        return Fetched(
            body=body,
            url=str(response.url),
            content_type=response.headers.get("content-type", ""),
            # A 304 may carry newer validators, or none: then the old ones still hold (RFC 9111, 4.3.4).
            validators=Validators(
                response.headers.get("etag") or (validators.etag if body is None else None),
                response.headers.get("last-modified") or (validators.last_modified if body is None else None),
            ),
            max_age_s=max_age_s(response.headers),
            moved_to=moved_to,
        )

    def _refuse_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if response.is_success:
            return
        reason = {
            401: Reason.AUTH,
            403: Reason.AUTH,
            407: Reason.AUTH,
            408: Reason.TIMEOUT,
            410: Reason.GONE,
            429: Reason.RATE_LIMITED,
        }.get(status, Reason.SERVER_ERROR if response.is_server_error else Reason.CLIENT_ERROR)
        after_s = retry_after_s(response.headers, self._clock.now())
        raise FetchError(reason, f"HTTP {status} {response.reason_phrase}".strip(), retry_after_s=after_s)

    async def _read(self, response: httpx.Response) -> bytes:
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise FetchError(Reason.PROTOCOL, f"content-encoding {encoding!r}, which was not asked for")
        body = Inflating(self._settings.max_body_bytes) if encoding not in ("", "identity") else None
        plain = bytearray()
        async for chunk in response.aiter_raw():
            plain += chunk if body is None else body.feed(chunk)
            if len(plain) > self._settings.max_body_bytes:
                raise _too_large(self._settings.max_body_bytes)
        return bounded(bytes(plain), self._settings.max_body_bytes)


def bounded(body: bytes, limit: int) -> bytes:
    """A body within `limit` bytes, decompressed if it is a gzip file served as such.

    Raises: FetchError, if it is larger or broken.
    """
    if len(body) > limit:
        raise _too_large(limit)
    if not body.startswith(GZIP_MAGIC):
        return body
    try:
        return Inflating(limit).feed(body)
    except zlib.error as error:
        raise FetchError(Reason.MALFORMED, f"broken gzip file: {error}") from error


class Inflating:
    """Decompresses gzip, zlib or raw deflate, never beyond `limit` bytes: a bomb is cut before it goes off.

    Raises: FetchError, if there is more; zlib.error, if it is none of these.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        self._head = b""
        self._members = 1

    def feed(self, chunk: bytes) -> bytes:
        if len(self._head) < 2:  # what kind of stream it is shows in its first two bytes
            self._head += chunk
            if len(self._head) < 2:
                return b""
            chunk = self._head
            if not _is_wrapped(chunk):
                # "deflate" means zlib by the standard, but some servers send the bare stream.
                self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        plain = self._decompress(chunk)
        # A gzip file may be several, one after the other (RFC 1952, 2.2); what else follows is padding.
        while self._inflate.eof and (rest := self._inflate.unused_data).startswith(GZIP_MAGIC):
            self._members += 1
            if self._members > _MAX_MEMBERS:  # each costs a copy of the rest: thousands would take minutes
                raise FetchError(Reason.MALFORMED, f"a gzip file of more than {_MAX_MEMBERS} parts")
            self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            plain += self._decompress(rest)
        return plain

    def _decompress(self, chunk: bytes) -> bytes:
        plain = self._inflate.decompress(chunk, self._limit - self._size + 1)
        self._size += len(plain)
        if self._size > self._limit:
            raise _too_large(self._limit)
        return plain


def _is_wrapped(head: bytes) -> bool:
    """Whether a stream starts like gzip, or like zlib (RFC 1950, 2.2)."""
    return head.startswith(GZIP_MAGIC) or (head[0] & 0x0F == 8 and (head[0] << 8 | head[1]) % 31 == 0)


def _too_large(limit: int) -> FetchError:
    return FetchError(Reason.TOO_LARGE, f"more than {limit} bytes; http.max_body_bytes allows more")
