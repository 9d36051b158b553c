"""Why a webhook or a mail server was not reached: said in a few words, with host and port, and without a secret."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from pydantic import SecretStr

from alerts.channel import ChannelConfig, Deps
from alerts.channels._answers import place, unreached
from monitor.errors import Reason
from tests import receivers
from tests.receivers import SECRET, config_at, failure_of

KINDS = ("email", "webhook")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@pytest.fixture
async def deps() -> AsyncIterator[Deps]:
    async with receivers.dependencies() as deps:
        yield deps


async def _farewell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@asynccontextmanager
async def _listening(tls: ssl.SSLContext | None = None, serve: Serve = _farewell) -> AsyncIterator[int]:
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]


def _with_tls(kind: str, port: int, host: str = "127.0.0.1") -> ChannelConfig:
    """A channel that is encrypted from the start, with a token and a password in the URL."""
    if kind == "email":
        return config_at(kind, port).model_copy(update={"host": host, "security": "tls"})
    url = SecretStr(f"https://{SECRET}:{SECRET}@{host}:{port}/{SECRET}?token={SECRET}")
    return config_at(kind, port).model_copy(update={"url": url})


def _certificate(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    offered = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(offered)
    return offered


@pytest.mark.parametrize("kind", KINDS)
async def test_a_port_that_nobody_listens_on_is_a_refused_connection(kind: str, deps: Deps) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    for config in (config_at(kind, port), _with_tls(kind, port)):
        failure = await failure_of(config, deps)
        assert failure.reason is Reason.UNREACHABLE
        assert failure.detail == f"no connection to 127.0.0.1:{port}: connection refused"


@pytest.mark.parametrize(
    ("code", "told"), [(socket.EAI_NONAME, "name not found"), (socket.EAI_AGAIN, "name could not be looked up")]
)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_name_that_is_none_is_told_from_names_that_nobody_looks_up(
    kind: str, code: int, told: str, deps: Deps, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lookup(*_: Any, **__: Any) -> None:
        raise socket.gaierror(code, SECRET)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", lookup)
    failure = await failure_of(_with_tls(kind, 4443, "hooks.example.com"), deps)
    assert (failure.reason, failure.detail) == (
        Reason.UNREACHABLE,
        f"no connection to hooks.example.com:4443: {told}",
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_a_certificate_is_told_with_what_is_wrong_with_it(kind: str, deps: Deps, tmp_path: Path) -> None:
    authority = trustme.CA()
    own = tmp_path / "own.pem"
    own.write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    self_signed = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    self_signed.load_cert_chain(own)
    for offered, why in (
        (self_signed, "self-signed certificate"),
        (_certificate(authority, "127.0.0.1"), "unable to get local issuer certificate"),
    ):
        async with _listening(offered) as port:
            failure = await failure_of(_with_tls(kind, port), deps)
        assert failure.reason is Reason.UNREACHABLE
        assert failure.detail == f"no connection to 127.0.0.1:{port}: certificate not trusted: {why}"


async def test_a_certificate_of_another_host_says_so(deps: Deps) -> None:
    authority, trusted = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trusted)
    async with _listening(_certificate(authority, "127.0.0.2")) as port, httpx.AsyncClient(verify=trusted) as http:
        failure = await failure_of(_with_tls("webhook", port), deps._replace(http=http))
    assert "certificate not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'" in failure.detail


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_without_tls_is_no_trouble_of_the_certificate(kind: str, deps: Deps) -> None:
    open_ones: list[asyncio.StreamWriter] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(writer)
        writer.write(b"220 ready\r\n" * 3)

    async with _listening(serve=serve) as port:
        failure = await failure_of(_with_tls(kind, port), deps)
        for writer in open_ones:
            writer.close()
    assert failure.detail == f"no connection to 127.0.0.1:{port}: TLS failed: wrong version number"


@pytest.mark.parametrize("kind", KINDS)
async def test_silence_is_told_with_its_length(kind: str, deps: Deps) -> None:
    open_ones: list[asyncio.StreamWriter] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(writer)

    async with _listening(serve=serve) as port:
        failure = await failure_of(config_at(kind, port, timeout_s=0.2), deps)
        for writer in open_ones:
            writer.close()
    assert (failure.reason, failure.detail) == (Reason.TIMEOUT, f"no answer from 127.0.0.1:{port} within 0.2 s")


def test_the_first_cause_is_told_of_several_addresses() -> None:
    refused = ConnectionRefusedError(111, SECRET)
    several = OSError(SECRET)
    several.__cause__ = ExceptionGroup(SECRET, [OSError(SECRET), refused])
    assert unreached(several, "h:1").detail == "no connection to h:1: connection refused"
    assert unreached(OSError(SECRET), "h:1").detail == "no connection to h:1"
    assert unreached(OSError(113, SECRET), "h:1").detail == "no connection to h:1: no route to host"


def test_an_address_with_colons_is_told_from_its_port() -> None:
    assert (place("::1", 25), place("hooks.example.com", 443)) == ("[::1]:25", "hooks.example.com:443")
