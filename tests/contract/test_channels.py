"""What every channel keeps to: it delivers to a real server, or says why not without saying a secret."""

import asyncio
import io
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from alerts.channel import Deps, fingerprint
from monitor.domain.alerts import Digest, Event, WatchedKey
from monitor.domain.windows import ALL
from monitor.errors import Reason
from monitor.plugins import kinds, load
from tests import receivers
from tests.factories import NOW, make_alert, make_notification, make_spike, make_story_evidence
from tests.receivers import SECRET, Endpoint, Mailbox, assert_no_secret, build, config_at, example, failure_of

KINDS = sorted(kinds("alerts.channels"))
REMOTE = [kind for kind in KINDS if kind != "console"]
HOSTILE = "Bank\r\nBcc: all@example.com\r\n\r\n<script>alert(1)</script> {{ 7 * 7 }} \u202egnp.exe @everyone \x1b[2J"


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with receivers.endpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with receivers.mailbox() as mailbox:
        yield mailbox


@pytest.fixture
async def deps() -> AsyncIterator[Deps]:
    async with receivers.dependencies() as deps:
        yield deps


class Receiver:
    """Where a channel of each kind delivers to, and what has come there, as text."""

    def __init__(self, endpoint: Endpoint, mailbox: Mailbox, capsys: pytest.CaptureFixture[str]) -> None:
        self._endpoint = endpoint
        self._mailbox = mailbox
        self._capsys = capsys

    def port(self, kind: str) -> int:
        return self._mailbox.port if kind == "email" else self._endpoint.port

    def received(self, kind: str) -> str:
        if kind == "console":
            return self._capsys.readouterr().out
        if kind == "email":
            mails = [mail for _, mail in self._mailbox.mails]
            return "\n".join(
                part.get_content() for mail in mails for part in mail.walk() if part.get_content_maintype() == "text"
            )
        return "\n".join(body.decode() for _, _, body in self._endpoint.requests)


@pytest.fixture
def receiver(endpoint: Endpoint, mailbox: Mailbox, capsys: pytest.CaptureFixture[str]) -> Receiver:
    return Receiver(endpoint, mailbox, capsys)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    with receivers.daemon_log() as written:
        yield written


def shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name resolves, no connection opens, standard output is closed."""

    async def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(f"cannot reach {args} {kwargs} {SECRET}")

    def refuse_at_once(*args: Any, **kwargs: Any) -> None:
        raise OSError(f"cannot reach {args} {kwargs} {SECRET}")

    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", refuse)
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_at_once)
    monkeypatch.setattr(sys, "stdout", closed)


@pytest.mark.parametrize("kind", KINDS)
async def test_recipients_are_named_and_show_no_secret(kind: str, deps: Deps) -> None:
    config = example(kind)
    recipients = build(config, deps).recipients
    assert recipients
    for shown in (*recipients, repr(config), str(config), config.model_dump_json()):
        assert_no_secret(shown, config)
        assert "://" not in shown


@pytest.mark.parametrize("event", list(Event))
@pytest.mark.parametrize("kind", KINDS)
async def test_every_event_is_delivered(kind: str, event: Event, deps: Deps, receiver: Receiver) -> None:
    channel = build(config_at(kind, receiver.port(kind)), deps)
    notification = make_notification(event=event, recipient=channel.recipients[0], **_digest(event))

    await channel.send(notification)

    assert ("negative" if event is Event.DIGEST else "Bank halts withdrawals") in receiver.received(kind)


@pytest.mark.parametrize("headline", [HOSTILE, "x" * 10_000_000], ids=["hostile", "10 MB"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_hostile_headline_is_inert_or_cut(kind: str, headline: str, deps: Deps, receiver: Receiver) -> None:
    channel = build(config_at(kind, receiver.port(kind)), deps)
    spike = make_spike(stories=(make_story_evidence(title=headline),))

    await channel.send(make_notification(alerts=(make_alert(spikes=(spike,)),), recipient=channel.recipients[0]))

    received = receiver.received(kind)
    assert len(received) < 60_000
    assert "{{ 7 * 7 }}" in received or headline != HOSTILE
    assert not re.search(r"^Bcc:", received, re.MULTILINE)
    assert not {"\u202e", "\x1b", "\r", "\x00"} & set(received.replace("\r\n", "\n"))


@pytest.mark.parametrize("kind", KINDS)
async def test_the_unreachable_is_named_and_shows_no_secret(
    kind: str, deps: Deps, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    shut(monkeypatch)
    config = example(kind)
    assert (await failure_of(config, deps)).reason is Reason.UNREACHABLE
    assert_no_secret(logged.getvalue(), config)


@pytest.mark.parametrize(
    "said", [b"", b"\x00\xff\xfe" * 100 + b"\r\n\r\n", None], ids=["nothing", "garbage", "silence"]
)
@pytest.mark.parametrize("kind", REMOTE)
async def test_a_server_that_makes_no_sense_is_tried_again(
    kind: str, said: bytes | None, deps: Deps, logged: io.StringIO
) -> None:
    open_ones: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(writer)
        if said is not None:
            writer.write(said)
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        config = config_at(kind, server.sockets[0].getsockname()[1], timeout_s=0.2 if said is None else 10)
        failure = await failure_of(config, deps)
        for writer in open_ones:  # what is given up has not always left
            writer.close()
            await writer.wait_closed()
    assert failure.retryable
    assert (failure.reason is Reason.TIMEOUT) == (said is None)
    assert_no_secret(logged.getvalue(), config)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_delivered_is_logged_without_a_secret(
    kind: str, deps: Deps, receiver: Receiver, logged: io.StringIO
) -> None:
    config = config_at(kind, receiver.port(kind))
    channel = build(config, deps)
    await channel.send(make_notification(recipient=channel.recipients[0]))
    assert_no_secret(logged.getvalue(), config)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fingerprint_tells_settings_apart_and_gives_none_away(kind: str) -> None:
    config = example(kind)
    told = fingerprint(config)
    assert re.fullmatch("[0-9a-f]{64}", told)
    assert told == fingerprint(example(kind)) == fingerprint(config.model_copy(update={"enabled": False}))
    other = load("alerts.channels", kind).Config.example(secret="*******")
    changed = {name: value for name, value in other if value != getattr(config, name)}
    assert changed or kind == "console"
    for name, value in changed.items():
        assert fingerprint(config.model_copy(update={name: value})) != told


def _digest(event: Event) -> dict[str, Any]:
    if event is not Event.DIGEST:
        return {}
    watched = WatchedKey(key=ALL, stories=18, negative=14, before=3, observed=1.0)
    digest = Digest(start=NOW - timedelta(hours=24), end=NOW, keys=(watched,), entries=())
    return {"digest": digest, "alerts": ()}
