"""The other side on loopback: a web server whose answers tests decide."""

import threading
from collections import defaultdict
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from xml.sax.saxutils import escape
from zlib import crc32

from monitor.clock import SystemClock
from monitor.loopback import LoopbackServer


class Answer(NamedTuple):
    """What a path gives. `hangs`: nothing at all, until the server is closed."""

    body: bytes = b""
    content_type: str = "application/rss+xml"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    hangs: bool = False


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client that went away is what some tests are about."""


class Web(LoopbackServer):
    """Answers GET by path; any other path is 404."""

    server_class = _Server

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: dict[str, int] = defaultdict(int)
        self._closing = threading.Event()
        super().__init__(self._handler(), name="web")

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        super().__exit__(*error)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path
                web.asked[path] += 1
                answer = web.answers.get(path, Answer(b"nothing here", "text/plain", 404))
                if answer.hangs:
                    web._closing.wait()
                    return
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(answer.body)))
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                """Silent."""

        return Handler


def rss(*titles: str, site: str = "https://wire.example") -> Answer:
    """A feed with an item of now for each title."""
    now = format_datetime(SystemClock().now())
    items = "".join(
        f"<item><title>{escape(title)}</title><link>{site}/{crc32(title.encode())}</link>"
        f'<guid isPermaLink="false">{escape(title)}</guid><pubDate>{now}</pubDate></item>'
        for title in titles
    )
    return Answer(f'<rss version="2.0"><channel><title>wire</title>{items}</channel></rss>'.encode())
