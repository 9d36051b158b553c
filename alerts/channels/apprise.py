"""Hands notifications to the library apprise, which knows Slack, Teams, Telegram and a hundred other services."""

import asyncio
import contextlib
import logging
import re
import threading
from typing import Literal, Self
from urllib.parse import quote

import apprise
from pydantic import Field, PositiveFloat, SecretStr, field_validator

from alerts.channel import Channel, ChannelConfig, Deps
from alerts.channels._answers import reason_of
from alerts.render import Renderer
from monitor.domain.alerts import Event, Notification
from monitor.domain.spikes import Severity
from monitor.errors import DeliveryError, Reason

_STATUS = re.compile(r"\berror=(\d{3})\b")
_UNREACHED = re.compile(r"connection error|socket|timed? ?out", re.IGNORECASE)
_MENTION_GUARD = "\N{WORD JOINER}"


def _silence() -> None:
    """Apprise and what it sends with write addresses and tokens to their logs; none of it may reach ours."""
    theirs = logging.getLogger("apprise")
    theirs.propagate = False
    theirs.addHandler(logging.NullHandler())
    theirs.setLevel(logging.WARNING)  # what it captures for `_reason`; below are addresses
    for name in ("urllib3", "requests_oauthlib", "oauthlib"):
        logging.getLogger(name).setLevel(logging.WARNING)


_silence()


class Config(ChannelConfig):
    """Settings of a service that apprise reaches.

    One URL, one channel: a service that accepted is then not told again because another did not. Several are joined by
    a receiver. The address is the operator's own, so private ones are not refused; redirects are not followed.
    """

    kind: Literal["apprise"] = "apprise"
    url: SecretStr = Field(
        description="apprise URL of one service, such as slack://...; whoever knows it can post there"
    )
    timeout_s: PositiveFloat = Field(30.0, description="limit for one whole attempt")

    @field_validator("url")
    @classmethod
    def _known(cls, value: SecretStr) -> SecretStr:
        if _service(value.get_secret_value()) is None:
            raise ValueError(
                "expected a URL of a service that apprise knows and can use here; https://appriseit.com lists them"
            )
        return value

    @classmethod
    def example(cls, *, secret: str = "example") -> Self:
        return cls(url=SecretStr(f"json://hooks.example.com/{quote(secret, safe='')}"))


def _service(url: str) -> apprise.NotifyBase | None:
    asset = apprise.AppriseAsset(
        app_id="news-monitor",
        app_desc="News monitor",
        async_mode=False,  # one service, in the thread that asks
        service_timeout=0,
        http_redirects=False,
        pgp_autogen=False,
        pem_autogen=False,
        allow_templates=False,
    )
    service = apprise.Apprise.instantiate(url, asset=asset)
    if service is not None and "overflow_mode" not in vars(service):
        # What is longer than the service takes would be refused as a whole.
        service.overflow_mode = apprise.OverflowMode.SPLIT
    return service


class Apprise:
    """Posts each notification as plain text, which apprise brings into the form that the service wants.

    Apprise waits in its thread. A service that never answers keeps that one thread, and no second is started.
    """

    recipients = ("service",)

    def __init__(self, config: Config, render: Renderer) -> None:
        self._timeout_s = config.timeout_s
        self._render = render
        self._hub = apprise.Apprise()
        service = _service(config.url.get_secret_value())
        if service is not None:  # the settings have seen to it
            service.socket_read_timeout = config.timeout_s + 1  # the limit that counts is the one below
            self._hub.add(service)
        self._turn = asyncio.Lock()
        self._busy = False

    async def send(self, notification: Notification) -> None:
        """Raises: DeliveryError."""
        title, body = inert(self._render.subject(notification)), inert(self._render.text(notification))
        async with self._turn:
            failure = await self._attempt(title, body, _type(notification))
        if failure is not None:
            raise failure

    async def _attempt(self, title: str, body: str, kind: apprise.NotifyType) -> DeliveryError | None:
        if self._busy:
            return DeliveryError(Reason.TIMEOUT, "the attempt before has not ended yet")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[DeliveryError | None] = loop.create_future()

        def settle(failure: DeliveryError | None) -> None:
            self._busy = False
            if not done.done():
                done.set_result(failure)

        def work() -> None:
            failure = self._post(title, body, kind)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, failure)

        self._busy = True
        # Not of a pool: the process would wait for it at its end.
        threading.Thread(target=work, name="apprise", daemon=True).start()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await done
        except TimeoutError:
            return DeliveryError(Reason.TIMEOUT, f"no answer within {self._timeout_s:g} s")

    def _post(self, title: str, body: str, kind: apprise.NotifyType) -> DeliveryError | None:
        try:
            result = self._hub.notify(
                body=body, title=title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT, interpret_escapes=False
            )
        except Exception as error:  # noqa: BLE001  top of a thread; the text may hold the address
            return DeliveryError(Reason.PROTOCOL, f"{type(error).__name__} in apprise")
        return None if result else _failure("\n".join(entry.message for entry in result.logs()))


def _type(notification: Notification) -> apprise.NotifyType:
    """The colour or sign that a service gives the message."""
    if notification.event is Event.RESOLVED:
        return apprise.NotifyType.SUCCESS
    if notification.event in (Event.DIGEST, Event.TEST):
        return apprise.NotifyType.INFO
    critical = notification.severity is Severity.CRITICAL
    return apprise.NotifyType.FAILURE if critical else apprise.NotifyType.WARNING


def inert(text: str) -> str:
    """The text, in which no headline calls anybody: services read "@everyone" as a call to all.

    In a link the sign is percent-encoded, which leads to the same page; elsewhere an invisible word joiner follows it.
    """

    def quiet(found: re.Match[str]) -> str:
        word = found[0]
        return word.replace("@", "%40") if "://" in word else word.replace("@", f"@{_MENTION_GUARD}")

    return re.sub(r"\S*@\S*", quiet, text)


def _failure(logs: str) -> DeliveryError:
    """Why, as far as apprise's log tells: the status alone, for the rest may hold the address."""
    status = _STATUS.search(logs)
    if status:
        return DeliveryError(reason_of(int(status[1])), f"answered {status[1]}")
    if _UNREACHED.search(logs):
        return DeliveryError(Reason.UNREACHABLE, "no connection to the service")
    return DeliveryError(Reason.PROTOCOL, "the service did not accept it")


def build(config: Config, deps: Deps) -> Channel:
    return Apprise(config, deps.render)
