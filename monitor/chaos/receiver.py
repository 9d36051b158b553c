"""The other end of the webhooks, on loopback: keeps which ids came, and with what."""

import hashlib
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler

from monitor.loopback import LoopbackServer


class Receiver(LoopbackServer):
    """Accepts every webhook. `bodies`: by webhook id the hash of its body; `times`: how often it came."""

    def __init__(self) -> None:
        self.bodies: dict[str, str] = {}
        self.times: Counter[str] = Counter()
        self.contradicted: set[str] = set()
        self._lock = threading.Lock()
        super().__init__(self._handler(), name="receiver")

    @property
    def url(self) -> str:
        return f"{super().url}/hook"

    @property
    def repeated(self) -> int:
        """Deliveries beyond the first of each id."""
        return self.times.total() - len(self.times)

    def _keep(self, webhook_id: str, body: bytes) -> None:
        told = hashlib.sha256(body).hexdigest()[:16]
        with self._lock:
            self.times[webhook_id] += 1
            if self.bodies.setdefault(webhook_id, told) != told:
                self.contradicted.add(webhook_id)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                body = self.rfile.read(length)
                if len(body) < length:  # the sender was killed between two pieces: nothing has come
                    self.close_connection = True
                    return
                receiver._keep(self.headers.get("webhook-id", ""), body)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silent: what matters is compared at the end."""

        return Handler
