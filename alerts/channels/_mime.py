"""A notification as the bytes of a mail: the same bytes for the same notification."""

import re
from email.headerregistry import Address, HeaderRegistry, UniqueUnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, Policy
from typing import NamedTuple
from urllib.parse import quote

from monitor.domain.alerts import Event, Notification
from monitor.domain.record import fingerprint
from monitor.domain.spikes import Severity

_URGENT = (Event.FIRING, Event.UPDATED)


class Parts(NamedTuple):
    """What a mail is made of. `html` shows `picture` (PNG) by the notification's `cid`; None: it has none."""

    subject: str
    text: str
    html: str
    picture: bytes | None


class _OneLine(UniqueUnstructuredHeader):
    """A header of addresses or ids: what is longer than a line would otherwise become an encoded word, and unreadable.

    Source: RFC 2047, section 5: no encoded word in such headers.
    """

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {self}{policy.linesep}"  # type: ignore[attr-defined]  # set by the base that the registry adds


def _policy() -> Policy:
    registry = HeaderRegistry()
    for name in ("message-id", "in-reply-to", "references", "list-id", "list-unsubscribe"):
        registry.map_to_type(name, _OneLine)  # type: ignore[arg-type]  # it adds BaseHeader itself
    return SMTP.clone(header_factory=registry)


_POLICY = _policy()


def message_id(notification_id: str, sender: str) -> str:
    """The Message-ID of a notification; the same on every attempt, so that mail readers drop repeats."""
    return f"<{_safe(notification_id)}@{sender.rpartition('@')[2]}>"


def cid(notification: Notification) -> str:
    """Names the picture within its mail, without the angle brackets."""
    return f"trend.{_safe(notification.id)}@news-monitor"


def compose(notification: Notification, parts: Parts, *, sender: str, unsubscribe: str) -> bytes:
    """The mail: text, or HTML with the picture inside.

    Source: RFC 5322 (threads), RFC 2369 (List-Unsubscribe), RFC 2919 (List-Id), RFC 3834 (Auto-Submitted), RFC 2387
        (multipart/related), RFC 2392 (cid).
    """
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = Address(addr_spec=sender)
    mail["To"] = Address(addr_spec=notification.recipient)
    mail["Subject"] = " ".join(parts.subject.split())
    mail["Date"] = notification.created_at
    mail["Message-ID"] = message_id(notification.id, sender)
    if notification.thread is not None:
        mail["In-Reply-To"] = message_id(notification.thread, sender)
        mail["References"] = message_id(notification.thread, sender)
    mail["List-Id"] = f"<{_label(notification.receiver)}.news-monitor.{sender.rpartition('@')[2]}>"
    wish = quote(f"unsubscribe from {notification.receiver[:60]}", safe="")
    mail["List-Unsubscribe"] = f"<mailto:{quote(unsubscribe, safe='@')}?subject={wish}>"
    mail["Auto-Submitted"] = "auto-generated"  # no out-of-office reply to this
    if notification.severity is Severity.CRITICAL and notification.event in _URGENT:
        mail["Importance"] = "high"
        mail["X-Priority"] = "1"
    mail.set_content(parts.text, cte="quoted-printable")
    mail.add_alternative(parts.html, subtype="html", cte="quoted-printable")
    if parts.picture is not None:
        html = mail.get_payload()[1]  # type: ignore[index]  # the alternative just added
        html.add_related(  # type: ignore[union-attr]
            parts.picture, "image", "png", cid=f"<{cid(notification)}>", filename="trend.png", disposition="inline"
        )
    _fix_boundaries(mail, fingerprint("mail", notification.id))
    return mail.as_bytes()


def _fix_boundaries(mail: EmailMessage, mark: str) -> None:
    """Random ones would make every attempt another mail. "=_" stands in no quoted-printable and no base64 body."""
    for number, part in enumerate(part for part in mail.walk() if part.is_multipart()):
        part.set_boundary(f"=_{mark}_{number}")


def _safe(given: str) -> str:
    """The id itself, or a hash of it where it could not stand in a header."""
    return given if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", given) else fingerprint(given)


def _label(receiver: str) -> str:
    """The receiver's name as a part of a list's name; two names that come out alike share the list."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", receiver)[:63].strip("-").lower() or "receiver"
