"""The other side of the demo, on loopback: outlets that publish feeds, a mail server, a webhook receiver."""

import asyncio
import json
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple, Self
from xml.sax.saxutils import escape

from aiosmtpd.smtp import SMTP, Envelope, Session
from standardwebhooks import Webhook, WebhookVerificationError

from monitor.demo.newsday import Item
from monitor.errors import InvariantError
from monitor.loopback import LoopbackServer

_LOOPBACK = "127.0.0.1"


class Received(NamedTuple):
    """A webhook as it arrived. `verified`: its signature was right."""

    verified: bool
    id: str
    summary: str


class Outlets(LoopbackServer):
    """An HTTP server: GET /NAME.xml gives the feed of an outlet, POST /hook takes webhooks."""

    def __init__(self, secret: str) -> None:
        self.webhooks: list[Received] = []
        self._verifier = Webhook(secret)
        self._items: list[Item] = []
        self._lock = threading.Lock()
        super().__init__(self._handler(), name="outlets")

    def publish(self, item: Item) -> None:
        with self._lock:
            self._items.append(item)

    def feed(self, outlet: str) -> bytes:
        """The outlet's items as RSS 2.0, the newest first."""
        with self._lock:
            items = [item for item in reversed(self._items) if item.outlet == outlet]
        site = f"https://{outlet.replace('_', '-')}.example"
        entries = "".join(
            f"<item><title>{escape(item.title)}</title><description>{escape(item.summary)}</description>"
            f'<link>{site}/{item.guid}</link><guid isPermaLink="false">{item.guid}</guid>'
            f"<pubDate>{format_datetime(item.published_at)}</pubDate></item>"
            for item in items
        )
        channel = f"<channel><title>{outlet}</title><link>{site}/</link>{entries}</channel>"
        return f'<?xml version="1.0" encoding="utf-8"?><rss version="2.0">{channel}</rss>'.encode()

    def receive(self, body: bytes, headers: dict[str, str]) -> bool:
        """Verifies a webhook and keeps it; False if its signature is wrong."""
        try:
            self._verifier.verify(body, headers)
        except WebhookVerificationError:
            verified = False
        else:
            verified = True
        summary = str(json.loads(body)["data"]["summary"]) if verified else ""
        self.webhooks.append(Received(verified, headers.get("webhook-id", ""), summary))
        return verified

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outlets = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, "application/rss+xml", outlets.feed(self.path.strip("/").removesuffix(".xml")))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                verified = outlets.receive(body, {name.lower(): value for name, value in self.headers.items()})
                self._answer(204 if verified else 401, "text/plain", b"")

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Silent: what matters is shown at the end."""

        return Handler


class Mailbox:
    """An SMTP server that keeps what it is sent."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self._server: asyncio.Server | None = None

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Called by aiosmtpd for each message."""
        self.mails.append(message_from_bytes(envelope.original_content or b"", EmailMessage, policy=policy.default))
        return "250 Kept"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: SMTP(self, hostname=_LOOPBACK), _LOOPBACK, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    @property
    def port(self) -> int:
        if self._server is None:
            raise InvariantError("the port of a mail server that was not started")
        return int(self._server.sockets[0].getsockname()[1])
