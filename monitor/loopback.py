"""An HTTP server on loopback: the other side of a feed or a webhook, for commands that bring it along."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Self

_HOST = "127.0.0.1"
_POLL_S = 0.02


class LoopbackServer:
    """Serves in a thread of its own while its block lasts, on a port that the system chooses."""

    server_class: ClassVar[type[ThreadingHTTPServer]] = ThreadingHTTPServer

    def __init__(self, handler: type[BaseHTTPRequestHandler], *, name: str) -> None:
        self._server = self.server_class((_HOST, 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": _POLL_S}, name=name, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self._server.server_port}"
