"""Posts notifications as signed JSON to an HTTP endpoint."""

import asyncio
import base64
import binascii
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

import httpx
import standardwebhooks
from pydantic import Field, PositiveFloat, SecretStr, field_validator

from alerts.channel import Channel, ChannelConfig, Deps
from alerts.channels._answers import place, reason_of, unreached
from alerts.render import Renderer
from monitor import http
from monitor.clock import Clock
from monitor.domain.alerts import Notification
from monitor.errors import DeliveryError, FetchError, Reason

SECRET_PREFIX = "whsec_"  # noqa: S105  the prefix tells what kind of secret follows
_PRIVATE = "private addresses are refused unless alerts.allow_private_addresses is set"


class Config(ChannelConfig):
    """Settings of a webhook."""

    kind: Literal["webhook"] = "webhook"
    url: SecretStr = Field(description="http or https address that is posted to; whoever knows it can post there")
    secret: SecretStr = Field(description="signing secret: whsec_ and 24 to 64 bytes in base64")
    old_secrets: Annotated[tuple[SecretStr, ...], Field(max_length=4)] = Field(
        (), description="secrets that are being replaced: each signs too, until the receiver knows the new one"
    )
    timeout_s: PositiveFloat = Field(15.0, description="limit for one whole attempt")

    @field_validator("url")
    @classmethod
    def _http(cls, value: SecretStr) -> SecretStr:
        try:
            url = httpx.URL(value.get_secret_value())
        except httpx.InvalidURL:
            raise ValueError("expected a URL") from None
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError("expected an http or https URL with a host")
        return value

    @field_validator("old_secrets", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        return tuple(value.split()) if isinstance(value, str) else value  # as a file holds them, one a line

    @field_validator("secret")
    @classmethod
    def _new(cls, value: SecretStr) -> SecretStr:
        return _key(value)

    @field_validator("old_secrets")
    @classmethod
    def _old(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        return tuple(_key(secret) for secret in value)

    @classmethod
    def example(cls, *, secret: str = "example") -> Self:
        key = (secret.encode() * 24)[:48]
        return cls(
            url=SecretStr(f"https://hooks.example.com/{quote(secret, safe='')}"),
            secret=SecretStr(SECRET_PREFIX + base64.b64encode(key).decode()),
            old_secrets=(SecretStr(SECRET_PREFIX + base64.b64encode(key[::-1]).decode()),),
        )


def _key(value: SecretStr) -> SecretStr:
    given = value.get_secret_value()
    encoded = given.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not given.startswith(SECRET_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(f"expected {SECRET_PREFIX} and 24 to 64 bytes in base64")
    return value


class Webhook:
    """Posts each notification once; only a 2xx answer is success, and a redirect is not followed.

    `webhook-id` is the same on every attempt at a notification, the timestamp and with it the signatures are not. There
    is one signature for each secret, the newest first.

    Source: Standard Webhooks 1.0.0.
    """

    recipients = ("endpoint",)

    def __init__(self, config: Config, client: httpx.AsyncClient, clock: Clock, render: Renderer) -> None:
        url = httpx.URL(config.url.get_secret_value())
        self._at = place(url.host, url.port or (443 if url.scheme == "https" else 80))
        self._config = config
        self._client = client
        self._clock = clock
        self._render = render
        self._signers = [
            standardwebhooks.Webhook(secret.get_secret_value()) for secret in (config.secret, *config.old_secrets)
        ]

    async def send(self, notification: Notification) -> None:
        """Raises: DeliveryError, with `.retry_after_s` where the endpoint named a time."""
        failure = await self._attempt(notification)
        if failure is not None:
            raise failure  # outside any handler: an HTTP client's error knows the URL, and a context keeps it

    async def _attempt(self, notification: Notification) -> DeliveryError | None:
        body = self._render.payload(notification).model_dump_json()
        try:
            async with (
                asyncio.timeout(self._config.timeout_s),
                self._client.stream(
                    "POST",
                    self._config.url.get_secret_value(),
                    content=body.encode(),
                    headers=self._headers(f"msg_{notification.id}", body),
                    follow_redirects=False,
                    timeout=self._config.timeout_s,
                ) as response,
            ):
                return self._judge(response)  # the status says it all: the answer's body is never read
        except FetchError as error:
            # The client's own words may name the URL, and its own remedy is the one for feeds.
            detail = _PRIVATE if error.reason is Reason.REFUSED_ADDRESS else "the request was refused"
            return DeliveryError(error.reason, detail, retry_after_s=error.retry_after_s)
        except (TimeoutError, httpx.TimeoutException):
            return DeliveryError(Reason.TIMEOUT, f"no answer from {self._at} within {self._config.timeout_s:g} s")
        except httpx.NetworkError as error:
            return unreached(error, self._at)
        except httpx.ProxyError:
            return DeliveryError(Reason.UNREACHABLE, f"no connection to {self._at}: the proxy refused it")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return DeliveryError(Reason.PROTOCOL, type(error).__name__)

    def _headers(self, message_id: str, body: str) -> dict[str, str]:
        now = self._clock.now()
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(message_id, now, body) for signer in self._signers),
        }

    def _judge(self, response: httpx.Response) -> DeliveryError | None:
        if response.is_success:
            return None
        status = response.status_code
        if response.has_redirect_location:
            return DeliveryError(Reason.CLIENT_ERROR, f"answered {status}, a redirect; expected the final address")
        reason = reason_of(status)
        retry_after_s = http.retry_after_s(response.headers, self._clock.now())
        return DeliveryError(reason, f"answered {status}", retry_after_s=retry_after_s if reason.retryable else None)


def build(config: Config, deps: Deps) -> Channel:
    return Webhook(config, deps.http, deps.clock, deps.render)
