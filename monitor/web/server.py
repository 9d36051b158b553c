"""The web server as a component of the daemon."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator

import h11
import structlog
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.errors import ConfigError, Mistake
from monitor.stage import Vital
from monitor.web_settings import WebSettings

log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 100
_LET_FINISH_S = 5
REQUEST_S = 10.0


def listen(settings: WebSettings) -> socket.socket:
    """A socket that takes connections; they wait until they are served.

    Raises: ConfigError, if the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_MOST_AT_ONCE)
    except OSError as error:
        why = str(error.strerror or error).partition(" (while")[0]  # the address is named already
        where = f"{settings.host} port {settings.port}: {why}"
        if error.errno == errno.EADDRINUSE:
            mistake = Mistake("web.port", f"{where}; another process listens there: stop it, or set another port")
        elif error.errno == errno.EACCES:
            mistake = Mistake("web.port", f"{where}; expected a port that this user may open, above 1023")
        else:
            mistake = Mistake("web.host", f"{where}; expected an address of this machine")
        raise ConfigError("config.toml", [mistake]) from error


class _Protocol(H11Protocol):
    """A connection that ends if it does not send a whole request in time.

    uvicorn waits for one for ever, and as many as begin one and go no further would hold everyone else out. The time
    runs from the connection's start, and from the end of each answer.
    """

    request_s = REQUEST_S
    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        is_whole = self.conn.their_state not in (h11.IDLE, h11.SEND_BODY)
        if is_whole or self.transport.is_closing():
            self._stop()
        elif self._limit is None:
            # Not closed, which would wait for an answer to be read that perhaps nobody reads.
            self._limit = self.loop.call_later(self.request_s, self.transport.abort)

    def _stop(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


class _Server(uvicorn.Server):
    """Leaves signals to the daemon, which drains its parts in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Web:
    """Serves a site on a listening socket, which is its own from then on.

    Any number of copies may serve the same tables. `request_s`: a connection that has not sent its whole request within
    so many seconds is ended.
    """

    name = "web"

    def __init__(
        self, site: Starlette, listening: socket.socket, vital: Vital, *, request_s: float = REQUEST_S
    ) -> None:
        self.vital = vital
        self._socket = listening
        self._server = _Server(
            uvicorn.Config(
                site,
                http=type("Protocol", (_Protocol,), {"request_s": request_s}),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,  # the paths of links are secrets
                proxy_headers=False,
                server_header=False,
                limit_concurrency=_MOST_AT_ONCE,
                timeout_graceful_shutdown=_LET_FINISH_S,
            )
        )
        self._running = False
        self._idle = asyncio.Event()

    async def run(self) -> None:
        self._running = True
        host, port, *_ = self._socket.getsockname()
        log.info("web_listens", host=host, port=port)
        try:
            await self._server.serve(sockets=[self._socket])
        except asyncio.CancelledError:
            if self._server.started:
                self._server.force_exit = True
                await self._server.shutdown([self._socket])
            raise
        finally:
            self._running = False
            self._idle.set()

    async def drain(self) -> None:
        self._server.should_exit = True
        if self._running:
            await self._idle.wait()

    def close(self) -> None:
        """Listens no more; for one that was never run."""
        self._socket.close()
