"""What every channel keeps to: it delivers to a real server, or says why not without saying a secret."""

import asyncio
import io
import sys
import traceback
from collections.abc import AsyncIterator
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
import standardwebhooks
from aiosmtpd.smtp import SMTP, AuthResult
from pydantic import SecretStr

from alerts.channel import Channel, Deps
from monitor.clock import ManualClock, SystemClock
from monitor.errors import DeliveryError, FetchError, Reason
from monitor.plugins import PluginConfig, kinds, load
from tests.factories import NOW, make_notification

KINDS = sorted(kinds("alerts.channels"))
SECRET = "hunter2"


class Endpoint:
    """A web server that keeps what it is sent and answers as it is told; with status 0 it never answers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 204
        self.headers: dict[str, str] = {}
        self.url = SecretStr("")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.logins = 0
        self.refusal: str | None = None
        self.port = 0

    def authenticate(self, *args: Any) -> AuthResult:
        self.logins += 1
        return AuthResult(success=True)

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, _: Any) -> str:  # noqa: N802
        envelope.rcpt_tos.append(address)
        return self.refusal or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append((envelope.rcpt_tos, mail))
        return "250 accepted"


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    async with await asyncio.start_server(endpoint.serve, "127.0.0.1", 0) as server:
        endpoint.url = SecretStr(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{SECRET}")
        yield endpoint


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()

    def connected() -> SMTP:
        return SMTP(
            mailbox,
            hostname="localhost",
            loop=loop,
            authenticator=mailbox.authenticate,
            auth_require_tls=False,
        )

    async with await loop.create_server(connected, "127.0.0.1", 0) as server:
        mailbox.port = server.sockets[0].getsockname()[1]
        yield mailbox


@pytest.fixture
async def deps() -> AsyncIterator[Deps]:
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as http:
        yield Deps(http, SystemClock())


def shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name resolves, no connection opens, standard output is closed."""

    async def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(f"cannot reach {args} {kwargs} {SECRET}")

    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", refuse)
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", refuse)
    monkeypatch.setattr(sys, "stdout", closed)


def example(kind: str, **overrides: Any) -> PluginConfig:
    config: PluginConfig = load("alerts.channels", kind).Config.example(secret=SECRET)
    return config.model_copy(update=overrides)


def build(config: PluginConfig, deps: Deps) -> Channel:
    channel: Channel = load("alerts.channels", config.kind).build(config, deps)
    return channel


def plain(mailbox: Mailbox, **overrides: Any) -> PluginConfig:
    return example(
        "email",
        host="127.0.0.1",
        port=mailbox.port,
        security="none",
        username=None,
        password=None,
        **overrides,
    )


async def failure_of(config: PluginConfig, deps: Deps) -> DeliveryError:
    """The error of a send, in whose traceback no secret is."""
    channel = build(config, deps)
    with pytest.raises(DeliveryError) as caught:
        await channel.send(make_notification(recipient=channel.recipients[0]))
    assert_no_secret("".join(traceback.format_exception(caught.value)), config)
    return caught.value


def assert_no_secret(said: str, config: PluginConfig) -> None:
    secrets = {SECRET, *(value.get_secret_value() for _, value in config if isinstance(value, SecretStr))}
    assert not [secret for secret in secrets if secret in said]
    assert "://" not in said


@pytest.mark.parametrize("kind", KINDS)
async def test_recipients_are_named_and_show_no_secret(kind: str, deps: Deps) -> None:
    config = example(kind)
    recipients = build(config, deps).recipients
    assert recipients
    for shown in (*recipients, repr(config)):
        assert_no_secret(shown, config)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_unreachable_is_named_and_shows_no_secret(
    kind: str, deps: Deps, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut(monkeypatch)
    assert (await failure_of(example(kind), deps)).reason is Reason.UNREACHABLE


def test_every_channel_is_seen_to_deliver() -> None:
    assert KINDS == ["console", "email", "webhook"], "a new channel needs its delivery tested below"


async def test_the_console_shows_the_text(deps: Deps, capsys: pytest.CaptureFixture[str]) -> None:
    await build(example("console"), deps).send(make_notification())
    assert capsys.readouterr().out.startswith("Financials: 14 negative stories of 18")


async def test_a_mail_arrives_as_text_and_html(deps: Deps, mailbox: Mailbox) -> None:
    channel = build(plain(mailbox, to=("desk@example.com", "risk@example.com")), deps)
    notification = make_notification(recipient="risk@example.com")

    await channel.send(notification)
    await channel.send(notification)

    (recipients, mail), (_, again) = mailbox.mails
    assert recipients == ["risk@example.com"]
    assert mail["to"] == "risk@example.com"
    assert mail["subject"].startswith("[severe] Financials: 14 negative stories of 18")
    assert mail["date"].datetime == notification.created_at
    assert mail["message-id"] == again["message-id"] == f"<{notification.id}@example.com>"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert not [part.defects for part in mail.walk() if part.defects]
    assert all("Bank halts withdrawals" in part.get_content() for part in mail.iter_parts())


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ("450 try later", Reason.SERVER_ERROR),
        ("550 no such user", Reason.CLIENT_ERROR),
        ("530 authentication required", Reason.AUTH),
        ("552 too much", Reason.TOO_LARGE),
    ],
)
async def test_a_refused_mail_says_why(refusal: str, reason: Reason, deps: Deps, mailbox: Mailbox) -> None:
    mailbox.refusal = f"{refusal} {SECRET}"
    assert (await failure_of(plain(mailbox), deps)).reason is reason
    assert not mailbox.mails


async def test_a_password_never_travels_unencrypted(deps: Deps, mailbox: Mailbox) -> None:
    failure = await failure_of(example("email", host="127.0.0.1", port=mailbox.port), deps)
    assert failure.reason is Reason.PROTOCOL  # this server offers a login, but no STARTTLS
    assert not mailbox.logins


async def test_a_former_recipient_gets_no_mail(deps: Deps, mailbox: Mailbox) -> None:
    with pytest.raises(DeliveryError, match="no longer a recipient") as caught:
        await build(plain(mailbox), deps).send(make_notification(recipient="left@example.com"))
    assert not caught.value.retryable


async def test_a_webhook_is_signed_and_the_same_on_every_attempt(deps: Deps, endpoint: Endpoint) -> None:
    config = example("webhook", url=endpoint.url)
    verifier = standardwebhooks.Webhook(dict(config)["secret"].get_secret_value())
    notification = make_notification(recipient="endpoint")

    await build(config, deps).send(notification)
    await build(config, deps).send(notification)

    (line, headers, content), (_, headers_again, content_again) = endpoint.requests
    assert line == f"POST /{SECRET} HTTP/1.1"
    assert headers["webhook-id"] == headers_again["webhook-id"] == f"msg_{notification.id}"
    assert content == content_again
    body = verifier.verify(content, headers)
    assert (body["type"], body["timestamp"]) == ("alert.firing", "2026-03-04T11:00:00Z")
    assert body["data"]["stories"][0]["title"] == "Bank halts withdrawals"
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verifier.verify(content.replace(b"14", b"15"), headers)


@pytest.mark.parametrize(
    ("status", "headers", "reason", "retry_after_s"),
    [
        (302, {"Location": "/elsewhere"}, Reason.CLIENT_ERROR, None),
        (400, {"Retry-After": "7"}, Reason.CLIENT_ERROR, None),
        (403, {}, Reason.AUTH, None),
        (410, {}, Reason.GONE, None),
        (429, {"Retry-After": "7"}, Reason.RATE_LIMITED, 7.0),
        (429, {"Retry-After": "9" * 400}, Reason.RATE_LIMITED, 86_400.0),
        (500, {"Retry-After": "soon"}, Reason.SERVER_ERROR, None),
        (
            503,
            {"Retry-After": format_datetime(NOW + timedelta(minutes=2), usegmt=True)},
            Reason.SERVER_ERROR,
            120.0,
        ),
        (
            503,
            {"Retry-After": format_datetime(NOW - timedelta(minutes=2), usegmt=True)},
            Reason.SERVER_ERROR,
            0.0,
        ),
    ],
)
async def test_an_answer_decides_what_happens_next(
    status: int,
    headers: dict[str, str],
    reason: Reason,
    retry_after_s: float | None,
    deps: Deps,
    endpoint: Endpoint,
) -> None:
    endpoint.status, endpoint.headers = status, headers
    failure = await failure_of(example("webhook", url=endpoint.url), deps._replace(clock=ManualClock(NOW)))
    assert (failure.reason, failure.retry_after_s) == (reason, retry_after_s)
    assert len(endpoint.requests) == 1


async def test_silence_is_a_timeout(deps: Deps, endpoint: Endpoint) -> None:
    endpoint.status = 0
    assert (await failure_of(example("webhook", url=endpoint.url, timeout_s=0.05), deps)).reason is Reason.TIMEOUT


async def test_an_address_refused_by_the_client_is_refused_for_good() -> None:
    def guard(request: httpx.Request) -> httpx.Response:
        raise FetchError(Reason.REFUSED_ADDRESS, f"{request.url} is private")

    async with httpx.AsyncClient(transport=httpx.MockTransport(guard)) as http:
        failure = await failure_of(example("webhook"), Deps(http, SystemClock()))
    assert failure.reason is Reason.REFUSED_ADDRESS
