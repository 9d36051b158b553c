"""Sends notifications by mail, one message per recipient."""

import asyncio
import contextlib
import re
import ssl
from typing import Annotated, Literal, Self

import aiosmtplib
import structlog
from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    SecretStr,
    field_validator,
    model_validator,
)

from alerts.channel import Channel, ChannelConfig, Deps, Find
from alerts.channels._answers import place, unreached
from alerts.channels._mime import Parts, cid, compose
from alerts.render import Renderer
from monitor.domain.alerts import Notification
from monitor.errors import DeliveryError, Reason, StoreError

log = structlog.get_logger(__name__)

QUIT_S = 2.0
_PORTS = {"starttls": 587, "tls": 465, "none": 25}

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+")


def _address(value: str) -> str:
    if len(value) > 254 or not _ADDRESS.fullmatch(value):
        raise ValueError("expected a mail address such as desk@example.com, in ASCII and without a display name")
    return value


MailAddress = Annotated[str, AfterValidator(_address)]


class Config(ChannelConfig):
    """Settings of a mail channel."""

    kind: Literal["email"] = "email"
    host: str = Field(description="name or address of the SMTP server")
    port: Annotated[int, Field(ge=1, le=65_535)] | None = Field(
        None, description="unset: 587 for starttls, 465 for tls, 25 for none"
    )
    security: Literal["none", "starttls", "tls"] = Field(
        "starttls",
        description="starttls: mail is refused to a server that offers none; tls: encrypted from the start",
    )
    username: str | None = Field(None, description="account at the SMTP server; unset: no login")
    password: SecretStr | None = Field(None, description="the account's password; needs an encrypted connection")
    sender: MailAddress = Field(description="address the mail comes from")
    to: Annotated[tuple[MailAddress, ...], Field(min_length=1)] = Field(description="addresses the mail goes to")
    unsubscribe: MailAddress | None = Field(
        None, description="address for those who want no more of this mail, told in every mail; unset: the sender"
    )
    timeout_s: PositiveFloat = Field(30.0, description="limit for one whole attempt")

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        if not _HOST.fullmatch(value):
            raise ValueError("expected a host name or an IP address")
        return value

    @field_validator("to")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("expected both of username and password, or neither")
        if self.password is not None and self.security == "none":
            raise ValueError('a password needs an encrypted connection: expected security "starttls" or "tls"')
        return self

    @classmethod
    def example(cls, *, secret: str = "example") -> Self:
        return cls(
            host="smtp.example.com",
            username="monitor",
            password=SecretStr(secret),
            sender="monitor@example.com",
            to=("desk@example.com",),
        )


class Email:
    """Sends each notification as text and HTML, with the picture inside; the bytes are the same on every attempt.

    What tells more of an alert answers the mail that told of it first: In-Reply-To and References name that one, and
    the subject is its subject after "Re: ", for many readers take mails of another subject for another conversation.
    `tls` None: the system's certificate authorities, or those named by SSL_CERT_FILE.
    """

    def __init__(self, config: Config, render: Renderer, find: Find, tls: ssl.SSLContext | None = None) -> None:
        self._config = config
        self._render = render
        self._find = find
        self._tls = tls

    @property
    def recipients(self) -> tuple[str, ...]:
        return self._config.to

    async def send(self, notification: Notification) -> None:
        """Raises: DeliveryError."""
        if notification.recipient not in self._config.to:  # the list may have changed while the message waited
            raise DeliveryError(Reason.CLIENT_ERROR, "no longer a recipient of this channel")
        failure = await self._attempt(notification.recipient, await self._compose(notification))
        if failure is not None:
            raise failure  # outside any handler: a server may repeat in its answer what it was told

    async def _attempt(self, recipient: str, mail: bytes) -> DeliveryError | None:
        client = self._client()
        try:
            async with asyncio.timeout(self._config.timeout_s):
                await client.connect()
                await client.sendmail(self._config.sender, [recipient], mail)
        except (aiosmtplib.SMTPException, OSError) as error:
            return self._failure(error)
        else:
            # Accepted is accepted: a farewell that fails must not send the mail again.
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=QUIT_S)
            return None
        finally:
            client.close()

    def _failure(self, error: aiosmtplib.SMTPException | OSError) -> DeliveryError:
        """The error by its kind and code alone; the server's own words may repeat addresses."""
        if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
            error = error.recipients[0]
        if isinstance(error, aiosmtplib.SMTPResponseException) and error.code > 0:  # -1: what came was no reply at all
            return DeliveryError(_reason(error.code), f"answered {error.code}")
        at = place(self._config.host, self._config.port or _PORTS[self._config.security])
        if isinstance(error, TimeoutError):
            return DeliveryError(Reason.TIMEOUT, f"no answer from {at} within {self._config.timeout_s:g} s")
        if isinstance(error, OSError) or isinstance(error.__cause__, ssl.SSLError):
            return unreached(error, at)
        return DeliveryError(Reason.PROTOCOL, "the server lacks what the settings ask for, or does not speak SMTP")

    def _client(self) -> aiosmtplib.SMTP:
        config = self._config
        return aiosmtplib.SMTP(
            hostname=config.host,
            port=config.port,
            username=config.username,
            password=None if config.password is None else config.password.get_secret_value(),
            timeout=config.timeout_s,
            use_tls=config.security == "tls",
            start_tls=config.security == "starttls",
            tls_context=self._tls,
        )

    async def _compose(self, notification: Notification) -> bytes:
        subject = self._render.subject(await self._first(notification) or notification)
        image = await self._draw(notification)
        return compose(
            notification,
            Parts(
                subject=subject if notification.thread is None else f"Re: {subject}",
                text=self._render.text(notification),
                html=self._render.html(notification, picture_cid=None if image is None else cid(notification)),
                picture=image,
            ),
            sender=self._config.sender,
            unsubscribe=self._config.unsubscribe or self._config.sender,
        )

    async def _first(self, notification: Notification) -> Notification | None:
        """The one that this answers; None: it answers none, or that one is not to be had."""
        try:
            return None if notification.thread is None else await self._find(notification.thread)
        except StoreError:  # another subject is better than no mail
            return None

    async def _draw(self, notification: Notification) -> bytes | None:
        try:
            return await asyncio.to_thread(self._render.picture, notification)
        except Exception as error:  # noqa: BLE001  a picture that cannot be drawn holds up no alert
            log.warning("picture_not_drawn", notification=notification.id, error=type(error).__name__)
            return None


def _reason(code: int) -> Reason:
    """Source: reply codes of RFC 5321, RFC 4954 (530 to 538) and RFC 1870 (552)."""
    if 400 <= code < 500:
        return Reason.SERVER_ERROR
    if code in {530, 534, 535, 538}:
        return Reason.AUTH
    if code == 552:
        return Reason.TOO_LARGE
    return Reason.CLIENT_ERROR if 500 <= code < 600 else Reason.PROTOCOL


def build(config: Config, deps: Deps) -> Channel:
    return Email(config, deps.render, deps.find)
