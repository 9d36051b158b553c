"""A notification as a line, as text, as HTML and as JSON."""

from typing import Annotated, Literal

import css_inline
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from pydantic import Field

from alerts import trend, words
from alerts.cleaning import clean, isolate, safe_url
from alerts.digest_facts import DigestMessage, digest_message
from alerts.facts import AlertMessage, alert_message, summary
from alerts.links import Links
from monitor.domain.alerts import Event, Notification
from monitor.domain.record import Record, UtcDatetime

__all__ = ["AlertPayload", "DigestPayload", "Payload", "Renderer", "clean", "safe_url"]

MAX_SUBJECT = 150
MAX_SUBJECT_NAME = 60


class AlertPayload(Record):
    """The JSON body for machines of a message on alerts, or of a test."""

    type: Literal["alert.firing", "alert.updated", "alert.repeated", "alert.resolved", "test"]
    timestamp: UtcDatetime
    data: AlertMessage


class DigestPayload(Record):
    """The JSON body for machines of a digest."""

    type: Literal["digest"]
    timestamp: UtcDatetime
    data: DigestMessage


Payload = Annotated[AlertPayload | DigestPayload, Field(discriminator="type")]
"""Source: the payload of the Standard Webhooks specification (type, timestamp, data)."""


class Renderer:
    """Says what a notification says, the same on every attempt. `links` None: none are in the messages."""

    def __init__(self, links: Links | None = None) -> None:
        self._links = links

    def subject(self, notification: Notification) -> str:
        """One line of at most 150 characters, severity first: of the sentence as many parts as there is room for."""
        if notification.event is Event.DIGEST:
            parts = self._digest(notification).summary.split("; ")
        else:
            parts = summary(notification, limit=MAX_SUBJECT_NAME)
            if notification.about > 1:
                parts.insert(1, f"{notification.about - 1} more")
        line = f"[{_tag(notification)}] {parts[0]}"
        for part in parts[1:]:
            if len(line) + len(part) + 2 > MAX_SUBJECT:
                break
            line = f"{line}; {part}"
        return line

    def text(self, notification: Notification) -> str:
        """The message as plain text; no line of it but a link is longer than a title."""
        return self._lay_out("txt", notification)

    def html(self, notification: Notification, picture_cid: str | None = None) -> str:
        """The message as one HTML document that fetches nothing.

        `picture_cid`: the Content-ID, without angle brackets, of the picture that goes along; None: there is none.
        """
        written = self._lay_out("html", notification, subject=self.subject(notification), picture_cid=picture_cid)
        return _INLINER.inline(written)

    def picture(self, notification: Notification) -> bytes | None:
        """The trend as PNG; None where the notification has none. Takes about a fifth of a second of one core."""
        from alerts.picture import draw  # matplotlib takes long to load, and few commands draw

        return draw(notification)

    def payload(self, notification: Notification, *, max_bytes: int = 20_000) -> AlertPayload | DigestPayload:
        """The message as JSON smaller than `max_bytes`: what is last in its lists is dropped until it is.

        Source: Standard Webhooks recommends bodies below 20 kB.
        """
        if notification.event is Event.DIGEST:
            return _fitting_digest(self._digest(notification), notification, max_bytes)
        return _fitting_alert(alert_message(notification, self._links), notification, max_bytes)

    def _digest(self, notification: Notification) -> DigestMessage:
        return digest_message(notification, self._links)

    def _lay_out(self, form: Literal["txt", "html"], notification: Notification, **more: str | None) -> str:
        is_digest = notification.event is Event.DIGEST
        told = self._digest(notification) if is_digest else alert_message(notification, self._links)
        template = _TEMPLATES.get_template(f"{'digest' if is_digest else 'alert'}.{form}.j2")
        return template.render(message=told, trend=trend.in_words(notification), **more)


def _tag(notification: Notification) -> str:
    event, severity = notification.event, notification.severity
    if severity is None or event in {Event.DIGEST, Event.TEST, Event.RESOLVED}:
        return event.value
    return severity.value if event is Event.FIRING else f"{severity}, {event}"


def _fitting_alert(told: AlertMessage, notification: Notification, max_bytes: int) -> AlertPayload:
    while True:
        name = "test" if told.event is Event.TEST else f"alert.{told.event}"
        body = AlertPayload.model_validate({"type": name, "timestamp": notification.created_at, "data": told})
        if _fits(body, max_bytes):
            return body
        if told.stories:
            told = told.model_copy(update={"stories": told.stories[:-1]})
        elif len(told.alerts) > 1:
            dropped = {"alerts": told.alerts[:-1], "further_alerts": told.further_alerts + 1}
            told = told.model_copy(update=dropped)
        else:
            return body


def _fitting_digest(told: DigestMessage, notification: Notification, max_bytes: int) -> DigestPayload:
    while True:
        body = DigestPayload(type="digest", timestamp=notification.created_at, data=told)
        if _fits(body, max_bytes):
            return body
        if told.entries:
            dropped = {"entries": told.entries[:-1], "further_entries": told.further_entries + 1}
        elif told.keys:
            dropped = {"keys": told.keys[:-1], "further_keys": told.further_keys + 1}
        else:
            return body
        told = told.model_copy(update=dropped)


def _fits(body: Record, max_bytes: int) -> bool:
    return len(body.model_dump_json().encode()) < max_bytes


# The style sheet is written once and copied into style attributes, which all mail programs keep; the rules for dark
# mode and phones are marked to stay in the head. It is the document's own sheet: nothing is fetched.
_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False)
_TEMPLATES = Environment(
    loader=PackageLoader("alerts"),
    autoescape=select_autoescape(enabled_extensions=("html.j2",)),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(
    isolate=isolate,
    plural=words.plural,
    counted=words.counted,
    minute=words.minute,
    amount=words.amount,
    percent=words.percent,
)
_TEMPLATES.globals.update(window=words.window, verdicts=words.VERDICTS)
