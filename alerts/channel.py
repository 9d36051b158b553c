"""What carries alerts out."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import httpx
from pydantic import Field, SecretStr

from alerts.render import Renderer
from monitor.clock import Clock
from monitor.domain.alerts import Notification
from monitor.plugins import PluginConfig

_ROUNDS = 50_000


class ChannelConfig(PluginConfig):
    """What every channel can be told."""

    enabled: bool = Field(True, description="false: kept in the file, not used")


Find = Callable[[str], Awaitable[Notification | None]]
"""Finds a notification by its id; None: it is not stored any more."""


async def find_none(_: str) -> None:
    """For where nothing is stored."""


class Deps(NamedTuple):
    """What channels may use. `http` follows no redirects and guards against private addresses unless allowed.

    `find` gives a reply the message it answers.
    """

    http: httpx.AsyncClient
    clock: Clock
    render: Renderer
    find: Find = find_none


class Channel(Protocol):
    """Carries one notification to one recipient, in one attempt.

    Retries, deduplication and the delivery log wrap every channel alike.
    """

    @property
    def recipients(self) -> tuple[str, ...]:
        """Whom this channel reaches, by names that are no secrets: mail addresses, or one word such as "endpoint"."""
        ...

    async def send(self, notification: Notification) -> None:
        """Raises: DeliveryError, which carries a Reason and never a URL or a secret."""
        ...


def fingerprint(config: ChannelConfig) -> str:
    """Tells whether a channel is still the one that was disabled: another for any change, of a secret too.

    Leaves out `enabled` and what has its default, so that a release with a new setting changes nothing. Stretched with
    PBKDF2: it is stored, and a password that people can remember could be found by trying otherwise.

    Shapes: 64 lower-case hexadecimal digits.
    """
    given = {"kind": config.kind, **config.model_dump(exclude={"enabled"}, exclude_defaults=True)}
    canonical = json.dumps(given, default=_reveal, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.pbkdf2_hmac("sha256", canonical, b"news-monitor channel", _ROUNDS).hex()


def _reveal(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
