"""Writes notifications to standard output."""

import sys
from typing import Literal, Self, TextIO

from alerts import render
from alerts.channel import Channel, ChannelConfig, Deps
from monitor.domain.alerts import Notification
from monitor.errors import DeliveryError, Reason


class Config(ChannelConfig):
    """Settings of a console channel: it needs none."""

    kind: Literal["console"] = "console"

    @classmethod
    def example(cls, *, secret: str = "example") -> Self:  # noqa: ARG003  it has no secret
        return cls()


class Console:
    """Writes each notification as plain text: a terminal's control characters are gone by then."""

    recipients = ("console",)

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    async def send(self, notification: Notification) -> None:
        """Raises: DeliveryError, where the stream is closed or nobody reads it any more."""
        encoding = self._stream.encoding or "utf-8"
        writable = render.text(notification).encode(encoding, "backslashreplace").decode(encoding)
        try:
            self._stream.write(f"{writable}\n\n")
            self._stream.flush()
        except (OSError, ValueError):
            raise DeliveryError(Reason.UNREACHABLE, "standard output is closed") from None


def build(config: Config, deps: Deps) -> Channel:  # noqa: ARG001  every channel is built alike
    return Console(sys.stdout)
