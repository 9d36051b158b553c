"""What notifications are sent to in tests: a web and a mail server on loopback, and the settings that lead there."""

import asyncio
import contextlib
import io
import logging
import ssl
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import httpx
import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from pydantic import SecretStr

from alerts.channel import Channel, ChannelConfig, Deps
from alerts.render import Renderer
from monitor import logs
from monitor.clock import SystemClock
from monitor.domain.alerts import Notification
from monitor.errors import DeliveryError
from monitor.plugins import load
from tests.factories import make_notification

SECRET = "hunter2"


class Endpoint:
    """A web server that keeps what it is sent and answers as it is told; with status 0 it never answers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 204
        self.headers: dict[str, str] = {}
        self.port = 0
        self.connections: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> SecretStr:
        return SecretStr(f"http://127.0.0.1:{self.port}/{SECRET}")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # the client left
            line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (header.partition(": ") for header in rest)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.requests.append((line, headers, body))
            if self.status:
                told = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
                writer.write(f"HTTP/1.1 {self.status} -\r\n{told}Content-Length: 0\r\n\r\n".encode())
            await reader.read()  # until the client leaves
        writer.close()


class Mailbox:
    """A mail server that keeps what it is sent and refuses as it is told."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.logins: list[Any] = []
        self.refusal: str | None = None
        self.port = 0

    def authenticate(self, server: SMTP, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        self.logins.append(given)
        return AuthResult(success=True)

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, _: Any) -> str:  # noqa: N802
        envelope.rcpt_tos.append(address)
        return self.refusal or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.contents.append(envelope.content)
        self.mails.append((envelope.rcpt_tos, mail))
        return "250 accepted"


@asynccontextmanager
async def endpoint() -> AsyncIterator[Endpoint]:
    served = Endpoint()
    async with await asyncio.start_server(served.serve, "127.0.0.1", 0) as server:
        served.port = server.sockets[0].getsockname()[1]
        yield served
        for connection in served.connections:  # whoever gave up has not always left
            connection.close()
            with contextlib.suppress(ConnectionError):
                await connection.wait_closed()


@asynccontextmanager
async def mailbox(tls: ssl.SSLContext | None = None) -> AsyncIterator[Mailbox]:
    """A mail server; with `tls` it takes nothing but by STARTTLS and after a login."""
    served = Mailbox()
    loop = asyncio.get_running_loop()

    def connected() -> SMTP:
        return SMTP(
            served,
            hostname="localhost",
            loop=loop,
            authenticator=served.authenticate,
            auth_require_tls=tls is not None,
            auth_required=tls is not None,
            tls_context=tls,
            require_starttls=tls is not None,
        )

    async with await loop.create_server(connected, "127.0.0.1", 0) as server:
        served.port = server.sockets[0].getsockname()[1]
        yield served


@asynccontextmanager
async def dependencies() -> AsyncIterator[Deps]:
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as http:
        yield Deps(http, SystemClock(), Renderer())


@contextmanager
def daemon_log() -> Iterator[io.StringIO]:
    """Everything that is logged as the daemon logs, at its most talkative."""
    root, written, stderr = logging.getLogger(), io.StringIO(), sys.stderr
    before = root.handlers, root.level
    sys.stderr = written
    try:
        logs.configure("DEBUG", json=True)
        yield written
    finally:
        sys.stderr = stderr
        root.handlers, root.level = before


def example(kind: str, **overrides: Any) -> ChannelConfig:
    config: ChannelConfig = load("alerts.channels", kind).Config.example(secret=SECRET)
    return config.model_copy(update=overrides)


def build(config: ChannelConfig, deps: Deps) -> Channel:
    channel: Channel = load("alerts.channels", config.kind).build(config, deps)
    return channel


def config_at(kind: str, port: int, **overrides: Any) -> ChannelConfig:
    """The settings of a channel that sends to a port of this machine, as far as it sends to a port at all."""
    there: dict[str, dict[str, Any]] = {
        "apprise": {"url": SecretStr(f"json://127.0.0.1:{port}/{SECRET}")},
        "console": {},
        "email": {"host": "127.0.0.1", "port": port, "security": "none", "username": None, "password": None},
        "webhook": {"url": SecretStr(f"http://127.0.0.1:{port}/{SECRET}")},
    }
    return example(kind, **there[kind], **overrides)


async def failure_of(config: ChannelConfig, deps: Deps, notification: Notification | None = None) -> DeliveryError:
    """The error of a send, in whose traceback no secret is."""
    channel = build(config, deps)
    with pytest.raises(DeliveryError) as caught:
        await channel.send(notification or make_notification(recipient=channel.recipients[0]))
    assert_no_secret("".join(traceback.format_exception(caught.value)), config)
    assert "://" not in caught.value.detail
    return caught.value


def assert_no_secret(said: str, config: ChannelConfig) -> None:
    secrets = {SECRET}
    for _, value in config:
        values = value if isinstance(value, tuple) else (value,)
        secrets.update(one.get_secret_value() for one in values if isinstance(one, SecretStr))
    assert not [secret for secret in secrets if secret in said]
