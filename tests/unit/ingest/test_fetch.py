"""Fetching from servers as they are: forgetful, slow, broken, hostile."""

import asyncio
import gzip
import random
import socket
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from monitor.clock import ManualClock
from monitor.errors import FetchError, Reason
from monitor.http import client, retry_after_s
from monitor.settings import HttpSettings
from pipelines.ingest.fetch import Fetched, Fetcher, Inflating, Validators, bounded
from tests.factories import NOW
from tests.servers import Request, Web, answer, head, raw, web

BODY = b"<rss>" + bytes(range(256)) * 300
NONE = Validators()


@pytest.fixture
async def server() -> AsyncIterator[Web]:
    async with web() as server:
        yield server


async def _fetch(url: str, validators: Validators = NONE, *, guarded: bool = False, **overrides: Any) -> bytes | None:
    fetched = await _fetched(url, validators, guarded=guarded, **overrides)
    return fetched.body


async def _fetched(url: str, validators: Validators = NONE, *, guarded: bool = False, **overrides: Any) -> Fetched:
    settings = HttpSettings.model_validate({"max_body_bytes": 100_000, "timeout_s": 5, **overrides})
    async with client(allow_private_addresses=not guarded, user_agent="test") as http:
        return await Fetcher(http, settings, ManualClock(NOW)).fetch(url, validators)


async def _failure(url: str, *, guarded: bool = False, **overrides: Any) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await _fetch(url, guarded=guarded, **overrides)
    assert "\n" not in caught.value.detail
    return caught.value


async def test_a_body_comes_with_its_validators(server: Web) -> None:
    url = server.put("/a", answer(200, BODY, ETag='W/"1"', Last_Modified="then", Cache_Control="public, max-age=60"))
    fetched = await _fetched(url)
    assert fetched.body == BODY
    assert (fetched.validators, fetched.max_age_s) == (Validators('W/"1"', "then"), 60.0)
    assert (fetched.moved_to, fetched.url) == (None, url)
    assert "if-none-match" not in server.requests[0].headers


async def test_an_unchanged_body_is_not_sent_again_and_its_validators_hold(server: Web) -> None:
    async def unchanged(request: Request, writer: asyncio.StreamWriter) -> None:
        same = request.headers.get("if-none-match") == '"1"' and request.headers.get("if-modified-since") == "then"
        await answer(304 if same else 500)(request, writer)

    fetched = await _fetched(server.put("/a", unchanged), Validators('"1"', "then"))
    assert (fetched.body, fetched.validators) == (None, Validators('"1"', "then"))


async def test_newer_validators_replace_the_old_ones(server: Web) -> None:
    url = server.put("/a", answer(304, ETag='"2"'))
    assert (await _fetched(url, Validators('"1"', "then"))).validators == Validators('"2"', "then")
    url = server.put("/b", answer(200, BODY))
    assert (await _fetched(url, Validators('"1"', "then"))).validators == NONE


async def test_validators_that_no_header_can_hold_are_not_sent(server: Web) -> None:
    url = server.put("/a", answer(200, BODY, ETag='"é"', Last_Modified="día"))
    fetched = await _fetched(url)
    assert (await _fetched(url, fetched.validators)).body == BODY
    assert "if-none-match" not in server.requests[1].headers


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        ("gzip", gzip.compress(BODY[:500]) + gzip.compress(BODY[500:])),
        ("gzip", gzip.compress(BODY) + b"\0" * 512),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY, wbits=-15)),
        ("identity", BODY),
        ("identity", gzip.compress(BODY)),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_a_compressed_body_is_unpacked(encoding: str, packed: bytes, step: int, server: Web) -> None:
    parts = [packed[start : start + step] for start in range(0, len(packed), step)]
    told = head(200, Content_Encoding=encoding, Content_Length=str(len(packed)))
    assert await _fetch(server.put("/a", raw([told, *parts]))) == BODY


@pytest.mark.parametrize("step", [1, 2, 3, 50])
@pytest.mark.parametrize("wbits", [15, 31, -15])
def test_inflating_does_not_depend_on_how_the_stream_is_cut(wbits: int, step: int) -> None:
    packed = zlib.compress(BODY, wbits=wbits)
    inflating = Inflating(100_000)
    assert b"".join(inflating.feed(packed[at : at + step]) for at in range(0, len(packed), step)) == BODY
    assert inflating.feed(b"") == b""


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x"])
async def test_an_encoding_not_asked_for_is_refused(encoding: str, server: Web) -> None:
    failure = await _failure(server.put("/a", answer(200, BODY, Content_Encoding=encoding)))
    assert failure.reason is Reason.PROTOCOL
    assert server.requests[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_broken_compressed_body_is_refused(encoding: str, server: Web) -> None:
    noise = b"\x1f\x8b" + random.Random(1).randbytes(5000)
    failure = await _failure(server.put("/a", answer(200, noise, Content_Encoding=encoding)))
    assert failure.reason is Reason.PROTOCOL
    with pytest.raises(FetchError, match="broken gzip"):
        bounded(noise, 100_000)


def _bomb() -> Iterator[bytes]:
    """A gigabyte of zeros, a megabyte on the wire."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    for _ in range(64):
        yield packer.compress(bytes(16_000_000))
    yield packer.flush()


async def test_a_bomb_is_cut_before_it_goes_off(server: Web) -> None:
    packed = zlib.compress(zlib.compress(bytes(50_000_000)), wbits=31)  # small, and small again
    url = server.put("/a", answer(200, packed, Content_Encoding="gzip"))
    assert len(await _fetch(url) or b"") < 100_000  # one encoding was named: one is taken off
    bomb = b"".join(_bomb())
    assert len(bomb) < 1_100_000
    for path, headers in (("/b", {"Content_Encoding": "gzip"}), ("/c", {})):
        server.put(path, answer(200, bomb, **headers))
        tracemalloc.start()
        try:
            failure = await _failure(f"{server.base}{path}", max_body_bytes=2_000_000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert failure.reason is Reason.TOO_LARGE
        assert peak < 20_000_000


async def test_a_body_over_the_limit_is_not_read_to_its_end(server: Web) -> None:
    sent = 0

    async def endless(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head(200, Content_Length="20000000"))
        for _ in range(200):
            writer.write(bytes(100_000))
            await writer.drain()
            sent += 100_000

    failure = await _failure(server.put("/a", endless))
    assert failure.reason is Reason.TOO_LARGE
    assert "http.max_body_bytes" in failure.detail
    assert sent < 20_000_000


async def test_a_body_at_the_limit_is_whole(server: Web) -> None:
    for body in (bytes(100_000), gzip.compress(bytes(100_000))):
        assert await _fetch(server.put("/a", answer(200, body))) == bytes(100_000)
    for body in (bytes(100_001), gzip.compress(bytes(100_001))):
        assert (await _failure(server.put("/a", answer(200, body)))).reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("statuses", "moved_to"),
    [((302,), None), ((307, 301), None), ((301,), "/1"), ((308, 301), "/2"), ((301, 302), "/1")],
)
async def test_only_a_permanent_redirect_moves_a_feed(statuses: tuple[int, ...], moved_to: str, server: Web) -> None:
    for index, status in enumerate(statuses):
        server.put(f"/{index}", answer(status, Location=f"/{index + 1}"))
    server.put(f"/{len(statuses)}", answer(200, BODY))
    fetched = await _fetched(f"{server.base}/0")
    assert fetched.body == BODY
    assert fetched.moved_to == (moved_to and f"{server.base}{moved_to}")


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/a", Reason.REDIRECT_LOOP),
        ("file:///etc/passwd", Reason.CLIENT_ERROR),
        ("gopher://127.0.0.1/", Reason.CLIENT_ERROR),
        ("http://127.0.0.1:99999999/", Reason.CLIENT_ERROR),
    ],
)
async def test_a_redirect_to_nowhere_is_named(location: str, reason: Reason, server: Web) -> None:
    server.put("/", answer(302, Location="/"))
    assert (await _failure(server.put("/a", answer(302, Location=location)))).reason is reason


async def test_a_redirect_without_a_place_is_refused(server: Web) -> None:
    assert (await _failure(server.put("/a", answer(302)))).reason is Reason.CLIENT_ERROR


async def test_private_addresses_are_refused_unless_allowed(server: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.put("/a", answer(200, BODY))
    failure = await _failure(url, guarded=True)
    assert failure.reason is Reason.REFUSED_ADDRESS
    assert not server.requests
    assert not failure.retryable
    assert await _fetch(url) == BODY


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "localhost", "2130706433", "0x7f.1"]
)
async def test_a_private_address_is_refused_however_it_is_written(host: str, server: Web) -> None:
    failure = await _failure(f"http://{host}:{server.base.rpartition(':')[2]}/a", guarded=True)
    assert failure.reason in (Reason.REFUSED_ADDRESS, Reason.UNREACHABLE)  # the latter where nothing listens there
    assert not server.requests


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, Reason.CLIENT_ERROR),
        (401, Reason.AUTH),
        (403, Reason.AUTH),
        (404, Reason.CLIENT_ERROR),
        (408, Reason.TIMEOUT),
        (410, Reason.GONE),
        (429, Reason.RATE_LIMITED),
        (500, Reason.SERVER_ERROR),
        (503, Reason.SERVER_ERROR),
    ],
)
@pytest.mark.parametrize(
    ("retry_after", "after_s"),
    [
        ("120", 120.0),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), 300.0),
        (format_datetime(NOW - timedelta(minutes=5), usegmt=True), 0.0),
        ("soon", None),
        ("9" * 500, 86_400.0),
    ],
)
async def test_a_refusal_has_its_reason(
    status: int, reason: Reason, retry_after: str, after_s: float | None, server: Web
) -> None:
    failure = await _failure(server.put("/a", answer(status, Retry_After=retry_after)))
    assert (failure.reason, failure.retry_after_s) == (reason, after_s)
    assert f"HTTP {status}" in failure.detail


@pytest.mark.parametrize("value", ["", "-1", "1.5", "٣", "Mon, 99 Foo", "Wed, 04 Mar 2026 11:00:30 +9999", "\0"])
def test_a_retry_after_that_says_nothing_is_passed_over(value: str) -> None:
    assert retry_after_s({"retry-after": value}, NOW) is None


async def test_silence_is_a_timeout(server: Web) -> None:
    async def silent(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    failure = await _failure(server.put("/a", silent), timeout_s=0.1)
    assert failure.reason is Reason.TIMEOUT


async def test_a_trickle_is_a_timeout(server: Web) -> None:
    """Each read succeeds in time; the whole does not."""

    async def trickle(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, Content_Length="100000"))
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    assert (await _failure(server.put("/a", trickle), timeout_s=0.2)).reason is Reason.TIMEOUT


async def test_nobody_listening_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert (await _failure(f"http://127.0.0.1:{port}/")).reason is Reason.UNREACHABLE


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 -\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nZZ\r\n",
        b"HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFF\r\nabc",
        b"220 mail.example.com ESMTP\r\n",
        b"HTTP/1.1 200 -\r\nX: " + b"x" * 300_000 + b"\r\n\r\n",
    ],
)
async def test_broken_http_is_named(sent: bytes, server: Web) -> None:
    failure = await _failure(server.put("/a", raw([sent])))
    assert failure.reason in (Reason.PROTOCOL, Reason.UNREACHABLE)
    assert failure.retryable


@pytest.mark.parametrize("url", ["http://", "nonsense", "http://[::1", "http://127.0.0.1:port/"])
async def test_what_is_no_address_is_named(url: str) -> None:
    assert (await _failure(url)).reason is Reason.CLIENT_ERROR


async def test_no_host_meets_more_than_its_share(server: Web) -> None:
    busy = most = 0
    full = asyncio.Event()

    async def slow(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        if busy == 2:
            full.set()
        async with asyncio.timeout(30):
            await full.wait()
        busy -= 1
        await answer(200, BODY)(request, writer)

    url = server.put("/a", slow)
    settings = HttpSettings(per_host=2)
    async with client(allow_private_addresses=True, user_agent="test") as http:
        fetcher = Fetcher(http, settings, ManualClock(NOW))
        fetched = await asyncio.gather(*(fetcher.fetch(url, NONE) for _ in range(10)))
    assert [one.body for one in fetched] == [BODY] * 10
    assert most == 2


async def test_the_body_of_a_redirect_is_not_read(server: Web) -> None:
    """It may be a bomb as well as any other body; what counts is where it leads."""
    end = server.put("/end", answer(200, b"<rss/>"))
    bomb = gzip.compress(bytes(300_000_000))
    url = server.put("/bomb", answer(302, bomb, Location=end, Content_Encoding="gzip"))
    tracemalloc.start()
    try:
        assert await _fetch(url) == b"<rss/>"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000


def test_a_gzip_file_of_countless_parts_is_refused() -> None:
    many = gzip.compress(b"") * 50_000
    with pytest.raises(FetchError, match="parts") as caught:
        bounded(many, 100_000_000)
    assert caught.value.reason is Reason.MALFORMED
    assert bounded(gzip.compress(b"a") * 100, 10_000) == b"a" * 100


async def test_no_cookie_is_kept(server: Web) -> None:
    url = server.put("/feed", answer(200, b"<rss/>", Set_Cookie="session=1; Path=/"))
    async with client(allow_private_addresses=True, user_agent="test") as http:
        fetcher = Fetcher(http, HttpSettings(), ManualClock(NOW))
        for _ in range(2):
            await fetcher.fetch(url, NONE)
    assert ["cookie" in request.headers for request in server.requests] == [False, False]
