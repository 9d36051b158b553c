"""Posts notifications as signed JSON to an HTTP endpoint."""

import asyncio
import base64
import binascii
from typing import Literal, Self
from urllib.parse import quote

import httpx
import standardwebhooks
from pydantic import Field, PositiveFloat, SecretStr, field_validator

from alerts import render
from alerts.channel import Channel, ChannelConfig, Deps
from monitor import http
from monitor.clock import Clock
from monitor.domain.alerts import Notification
from monitor.errors import DeliveryError, FetchError, Reason

SECRET_PREFIX = "whsec_"  # noqa: S105  the prefix tells what kind of secret follows

_REASONS = {
    401: Reason.AUTH,
    403: Reason.AUTH,
    408: Reason.TIMEOUT,
    410: Reason.GONE,
    413: Reason.TOO_LARGE,
    429: Reason.RATE_LIMITED,
}


class Config(ChannelConfig):
    """Settings of a webhook."""

    kind: Literal["webhook"] = "webhook"
    url: SecretStr = Field(description="http or https address that is posted to; whoever knows it can post there")
    secret: SecretStr = Field(description="signing secret: whsec_ and 24 to 64 bytes in base64")
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

    @field_validator("secret")
    @classmethod
    def _key(cls, value: SecretStr) -> SecretStr:
        prefix, encoded = (
            value.get_secret_value()[: len(SECRET_PREFIX)],
            value.get_secret_value()[len(SECRET_PREFIX) :],
        )
        try:
            key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if prefix != SECRET_PREFIX or not 24 <= len(key) <= 64:
            raise ValueError(f"expected {SECRET_PREFIX} and 24 to 64 bytes in base64")
        return value

    @classmethod
    def example(cls, *, secret: str = "example") -> Self:
        key = (secret.encode() * 24)[:48]
        return cls(
            url=SecretStr(f"https://hooks.example.com/{quote(secret, safe='')}"),
            secret=SecretStr(SECRET_PREFIX + base64.b64encode(key).decode()),
        )


class Webhook:
    """Posts each notification once; only a 2xx answer is success, and a redirect is not followed.

    Source: the Standard Webhooks specification. `webhook-id` is the same on every attempt at a notification.
    """

    recipients = ("endpoint",)

    def __init__(self, config: Config, client: httpx.AsyncClient, clock: Clock) -> None:
        self._config = config
        self._client = client
        self._clock = clock

    async def send(self, notification: Notification) -> None:
        """Raises: DeliveryError, with `.retry_after_s` where the endpoint named a time."""
        failure = await self._attempt(notification)
        if failure is not None:
            raise failure  # outside any handler: an HTTP client's error knows the URL, and a context keeps it

    async def _attempt(self, notification: Notification) -> DeliveryError | None:
        body = render.payload(notification).model_dump_json()
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
            return DeliveryError(error.reason, "the request was refused", retry_after_s=error.retry_after_s)
        except (TimeoutError, httpx.TimeoutException):
            return DeliveryError(Reason.TIMEOUT, f"no answer within {self._config.timeout_s:g} s")
        except (httpx.NetworkError, httpx.ProxyError) as error:
            return DeliveryError(Reason.UNREACHABLE, type(error).__name__)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return DeliveryError(Reason.PROTOCOL, type(error).__name__)

    def _headers(self, message_id: str, body: str) -> dict[str, str]:
        now = self._clock.now()
        signer = standardwebhooks.Webhook(self._config.secret.get_secret_value())
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signer.sign(message_id, now, body),
        }

    def _judge(self, response: httpx.Response) -> DeliveryError | None:
        if response.is_success:
            return None
        status = response.status_code
        if response.has_redirect_location:
            return DeliveryError(Reason.CLIENT_ERROR, f"answered {status}, a redirect; expected the final address")
        reason = _REASONS.get(status, Reason.CLIENT_ERROR if 300 <= status < 500 else Reason.SERVER_ERROR)
        retry_after_s = http.retry_after_s(response.headers, self._clock.now())
        return DeliveryError(reason, f"answered {status}", retry_after_s=retry_after_s if reason.retryable else None)


def build(config: Config, deps: Deps) -> Channel:
    return Webhook(config, deps.http, deps.clock)
