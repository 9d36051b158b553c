"""A mail, as a real mail server receives it."""

import re
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog
import trustme

from alerts.channel import Deps
from alerts.channels import email
from alerts.render import Renderer
from monitor.domain.alerts import Event, History, Notification
from monitor.domain.spikes import Severity
from monitor.domain.windows import Key
from monitor.errors import DeliveryError, Reason, StoreError
from tests import receivers
from tests.factories import NOW, make_alert, make_notification, make_spike
from tests.receivers import SECRET, Mailbox, build, config_at, example, failure_of

HISTORY = History(
    key=Key("topic", "Financials"),
    start=NOW - timedelta(hours=24),
    width_s=1800,
    negative=(1, 2, 0, 3) * 11 + (2, 1, 3, 14),
    heard=(True,) * 48,
)


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with receivers.mailbox() as mailbox:
        yield mailbox


@pytest.fixture
async def deps() -> AsyncIterator[Deps]:
    async with receivers.dependencies() as deps:
        yield deps


def plain(mailbox: Mailbox, **overrides: Any) -> Any:
    return config_at("email", mailbox.port, **overrides)


async def sent(mailbox: Mailbox, deps: Deps, notification: Notification, **overrides: Any) -> EmailMessage:
    await build(plain(mailbox, **overrides), deps).send(notification)
    return mailbox.mails[-1][1]


async def test_it_arrives_as_text_and_as_html_with_the_picture_inside(deps: Deps, mailbox: Mailbox) -> None:
    notification = make_notification(recipient="risk@example.com", history=HISTORY)

    mail = await sent(mailbox, deps, notification, to=("desk@example.com", "risk@example.com"))

    assert mailbox.mails[0][0] == ["risk@example.com"]
    assert mail["to"] == "risk@example.com"
    assert mail["subject"] == deps.render.subject(notification)
    assert mail["date"].datetime == notification.created_at
    assert mail["message-id"] == f"<{notification.id}@example.com>"
    assert (mail["in-reply-to"], mail["references"]) == (None, None)
    assert not [part.defects for part in mail.walk() if part.defects]
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
    ]  # fmt: skip
    _, text, _, html, picture = mail.walk()
    assert all("Bank halts withdrawals" in part.get_content() for part in (text, html))
    assert picture["content-disposition"] == 'inline; filename="trend.png"'
    assert f'src="cid:{picture["content-id"].strip("<>")}"' in html.get_content()
    assert picture.get_content().startswith(b"\x89PNG\r\n")


async def test_without_a_history_there_is_no_picture(deps: Deps, mailbox: Mailbox) -> None:
    mail = await sent(mailbox, deps, make_notification())
    assert [part.get_content_type() for part in mail.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert "cid:" not in mail.as_string()


async def test_a_picture_that_cannot_be_drawn_holds_nothing_up(deps: Deps, mailbox: Mailbox) -> None:
    class Broken(Renderer):
        def picture(self, notification: Notification) -> bytes | None:
            raise MemoryError(SECRET)

    with structlog.testing.capture_logs() as logs:
        mail = await sent(mailbox, deps._replace(render=Broken()), make_notification(history=HISTORY))
    assert "cid:" not in mail.as_string()
    assert [(log["event"], log["error"]) for log in logs] == [("picture_not_drawn", "MemoryError")]


async def test_every_attempt_sends_the_same_bytes(deps: Deps, mailbox: Mailbox) -> None:
    for _ in range(2):
        await sent(mailbox, deps, make_notification(history=HISTORY))
    first, again = mailbox.contents
    assert first == again


@pytest.mark.parametrize("domain", ["example.com", "a" * 60 + "." + "b" * 60 + ".example.com"])
async def test_what_follows_answers_the_first(domain: str, deps: Deps, mailbox: Mailbox) -> None:
    first = make_notification()
    more = make_alert(spikes=(make_spike(observed=30, total=40, severity=Severity.CRITICAL),))
    follow_ups = [
        make_notification(event=event, alerts=(more,), thread=first.id)
        for event in (Event.UPDATED, Event.REPEATED, Event.RESOLVED)
    ]

    async def find(notification_id: str) -> Notification | None:
        return first if notification_id == first.id else None

    deps = deps._replace(find=find)
    opening = await sent(mailbox, deps, first, sender=f"monitor@{domain}")
    for notification in follow_ups:
        mail = await sent(mailbox, deps, notification, sender=f"monitor@{domain}")
        assert mail["message-id"] != opening["message-id"]
        assert mail["in-reply-to"] == mail["references"] == opening["message-id"]
        assert mail["subject"] == f"Re: {opening['subject']}"
    # A mail reader looks for the id in what stands there, not in what it means once decoded.
    for content in mailbox.contents[1:]:
        assert f"\r\nReferences: {opening['message-id']}\r\n".encode() in content


@pytest.mark.parametrize("broken", [False, True])
async def test_an_answer_to_what_cannot_be_had_stays_in_the_thread(broken: bool, deps: Deps, mailbox: Mailbox) -> None:
    async def find(_: str) -> Notification | None:
        if broken:
            raise StoreError(Reason.STORAGE, "away")
        return None

    notification = make_notification(event=Event.RESOLVED, thread="f" * 32)
    mail = await sent(mailbox, deps._replace(find=find), notification)
    assert mail["in-reply-to"] == f"<{'f' * 32}@example.com>"
    assert mail["subject"] == f"Re: {deps.render.subject(notification)}"


@pytest.mark.parametrize(("given", "address"), [(None, "monitor@example.com"), ("a%b@example.com", "a%b@example.com")])
async def test_it_says_how_to_get_no_more(given: str | None, address: str, deps: Deps, mailbox: Mailbox) -> None:
    mail = await sent(mailbox, deps, make_notification(receiver="Desk & co"), unsubscribe=given)
    link = urlsplit(mail["list-unsubscribe"].strip("<>"))
    assert (link.scheme, link.path.replace("%25", "%")) == ("mailto", address)
    assert parse_qs(link.query) == {"subject": ["unsubscribe from Desk & co"]}
    assert mail["list-id"] == "<desk-co.news-monitor.example.com>"
    assert mail["auto-submitted"] == "auto-generated"


@pytest.mark.parametrize(
    ("severity", "event", "urgent"),
    [
        (Severity.CRITICAL, Event.FIRING, True),
        (Severity.CRITICAL, Event.RESOLVED, False),
        (Severity.SEVERE, Event.FIRING, False),
    ],
)
async def test_only_what_is_critical_is_urgent(
    severity: Severity, event: Event, urgent: bool, deps: Deps, mailbox: Mailbox
) -> None:
    alert = make_alert(spikes=(make_spike(severity=severity),))
    mail = await sent(mailbox, deps, make_notification(event=event, alerts=(alert,)))
    assert (mail["importance"] == "high", mail["x-priority"] == "1") == (urgent, urgent)


@pytest.mark.parametrize("field", ["id", "receiver", "thread", "route"])
async def test_no_field_adds_a_header(field: str, deps: Deps, mailbox: Mailbox) -> None:
    expected = await sent(mailbox, deps, make_notification(thread="f" * 32))
    hostile = {"thread": "f" * 32, field: f"x\r\nBcc: all@example.com\r\n\r\n<b>{'y' * 2000}"}
    mail = await sent(mailbox, deps, make_notification(**hostile))
    assert mail.keys() == expected.keys()
    assert not [part.defects for part in mail.walk() if part.defects]
    assert max(len(line) for line in mailbox.contents[-1].split(b"\r\n")) <= 998


async def test_no_subject_is_too_long_or_adds_a_header(deps: Deps, mailbox: Mailbox) -> None:
    class Wordy(Renderer):
        def subject(self, notification: Notification) -> str:
            return "bänk\r\nBcc: all@example.com\r\n\r\n" + "word " * 300 + "x" * 3000

    mail = await sent(mailbox, deps._replace(render=Wordy()), make_notification())
    assert mail["bcc"] is None
    assert mail["subject"].startswith("bänk Bcc: all@example.com word")
    folded = re.search(rb"\r\nSubject:.*(\r\n[ \t].*)+", mailbox.contents[0])
    assert folded
    assert max(len(line) for line in folded[0].split(b"\r\n")) <= 78


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


async def test_a_former_recipient_gets_no_mail(deps: Deps, mailbox: Mailbox) -> None:
    with pytest.raises(DeliveryError, match="no longer a recipient") as caught:
        await build(plain(mailbox), deps).send(make_notification(recipient="left@example.com"))
    assert not caught.value.retryable


async def test_a_password_never_travels_unencrypted(deps: Deps, mailbox: Mailbox) -> None:
    failure = await failure_of(example("email", host="127.0.0.1", port=mailbox.port), deps)
    assert failure.reason is Reason.PROTOCOL  # this server offers a login, but no STARTTLS
    assert not mailbox.logins


async def test_it_is_encrypted_and_logs_in_by_starttls(deps: Deps) -> None:
    authority = trustme.CA()
    offered, trusted = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(offered)
    authority.configure_trust(trusted)
    async with receivers.mailbox(offered) as mailbox:
        config = email.Config.example(secret=SECRET).model_copy(update={"host": "127.0.0.1", "port": mailbox.port})
        stranger = await failure_of(config, deps)
        assert stranger.reason is Reason.UNREACHABLE
        assert f"127.0.0.1:{mailbox.port}: certificate not trusted: unable to get local issuer" in stranger.detail
        assert not mailbox.logins

        await email.Email(config, deps.render, deps.find, tls=trusted).send(make_notification(history=HISTORY))

        ((recipients, mail),) = mailbox.mails
        (login,) = mailbox.logins
    assert (login.login, login.password) == (b"monitor", SECRET.encode())
    assert recipients == ["desk@example.com"]
    assert [part.get_content_type() for part in mail.walk()][-1] == "image/png"
    assert SECRET not in mail.as_string()
