"""Sends notifications by mail, one message per recipient."""

import asyncio
import contextlib
import re
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from typing import Annotated, Literal, Self

import aiosmtplib
from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    SecretStr,
    field_validator,
    model_validator,
)

from alerts import render
from alerts.channel import Channel, ChannelConfig, Deps
from monitor.domain.alerts import Notification
from monitor.errors import DeliveryError, Reason

QUIT_S = 2.0

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
    """Sends each notification as text and HTML; its Message-ID is the same on every attempt.

    `tls` None: the system's certificate authorities, or those named by SSL_CERT_FILE.
    """

    def __init__(self, config: Config, tls: ssl.SSLContext | None = None) -> None:
        self._config = config
        self._tls = tls

    @property
    def recipients(self) -> tuple[str, ...]:
        return self._config.to

    async def send(self, notification: Notification) -> None:
        """Raises: DeliveryError."""
        if notification.recipient not in self._config.to:  # the list may have changed while the message waited
            raise DeliveryError(Reason.CLIENT_ERROR, "no longer a recipient of this channel")
        failure = await self._attempt(notification.recipient, self._compose(notification))
        if failure is not None:
            raise failure  # outside any handler: a server may repeat in its answer what it was told

    async def _attempt(self, recipient: str, mail: EmailMessage) -> DeliveryError | None:
        client = self._client()
        try:
            async with asyncio.timeout(self._config.timeout_s):
                await client.connect()
                await client.send_message(mail, sender=self._config.sender, recipients=[recipient])
        except (aiosmtplib.SMTPException, OSError) as error:
            return _failure(error)
        else:
            # Accepted is accepted: a farewell that fails must not send the mail again.
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=QUIT_S)
            return None
        finally:
            client.close()

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

    def _compose(self, notification: Notification) -> EmailMessage:
        sender = Address(addr_spec=self._config.sender)
        mail = EmailMessage(policy=SMTP_POLICY)
        mail["From"] = sender
        mail["To"] = Address(addr_spec=notification.recipient)
        mail["Subject"] = render.subject(notification)
        mail["Date"] = notification.created_at
        mail["Message-ID"] = f"<{notification.id}@{sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office reply to this
        mail.set_content(render.text(notification), cte="quoted-printable")
        mail.add_alternative(render.html(notification), subtype="html", cte="quoted-printable")
        return mail


def _failure(error: aiosmtplib.SMTPException | OSError) -> DeliveryError:
    """The error by its kind and code alone; the server's own words may repeat addresses."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        error = error.recipients[0]
    if isinstance(error, aiosmtplib.SMTPResponseException) and error.code > 0:  # -1: what came was no reply at all
        return DeliveryError(_reason(error.code), f"answered {error.code}")
    if isinstance(error, TimeoutError):
        return DeliveryError(Reason.TIMEOUT, "no answer in time")
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        return DeliveryError(Reason.UNREACHABLE, "no trusted TLS connection")
    if isinstance(error, OSError):
        return DeliveryError(Reason.UNREACHABLE, type(error).__name__)
    return DeliveryError(Reason.PROTOCOL, "the server lacks what the settings ask for, or does not speak SMTP")


def _reason(code: int) -> Reason:
    """Source: reply codes of RFC 5321, RFC 4954 (530 to 538) and RFC 1870 (552)."""
    if 400 <= code < 500:
        return Reason.SERVER_ERROR
    if code in {530, 534, 535, 538}:
        return Reason.AUTH
    if code == 552:
        return Reason.TOO_LARGE
    return Reason.CLIENT_ERROR if 500 <= code < 600 else Reason.PROTOCOL


def build(config: Config, deps: Deps) -> Channel:  # noqa: ARG001  every channel is built alike
    return Email(config)
