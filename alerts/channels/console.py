"""Writes notifications to standard output; where a command keeps that for JSON, to standard error."""

import sys
from typing import Literal, Self, TextIO

from alerts.channel import Channel, ChannelConfig, Deps
from alerts.render import Renderer
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

    def __init__(self, stream: TextIO, render: Renderer) -> None:
        self._stream = stream
        self._render = render

    async def send(self, notification: Notification) -> None:
        """Raises: DeliveryError, where the stream is closed or nobody reads it any more."""
        encoding = self._stream.encoding or "utf-8"
        told = f"{self._render.subject(notification)}\n\n{self._render.text(notification).strip()}\n\n"
        try:
            self._stream.write(told.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):
            raise DeliveryError(Reason.UNREACHABLE, "the console is closed") from None


def build(config: Config, deps: Deps) -> Channel:  # noqa: ARG001  every channel is built alike
    return Console(sys.stdout, deps.render)
