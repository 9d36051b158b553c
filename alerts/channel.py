"""What carries alerts out."""

from typing import NamedTuple, Protocol

import httpx
from pydantic import Field

from monitor.clock import Clock
from monitor.domain.alerts import Notification
from monitor.plugins import PluginConfig


class ChannelConfig(PluginConfig):
    """What every channel can be told."""

    enabled: bool = Field(True, description="false: kept in the file, not used")


class Deps(NamedTuple):
    """What channels may use. `http` follows no redirects and guards against private addresses unless allowed."""

    http: httpx.AsyncClient
    clock: Clock


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
