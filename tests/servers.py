"""A web server on loopback that answers each path as a test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple


class Request(NamedTuple):
    """What a client asked for; header names in lower case."""

    path: str
    headers: dict[str, str]


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def raw(parts: Iterable[bytes]) -> Answer:
    """These bytes, each sent on its own, then the end of the connection."""

    async def write(request: Request, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return write


def head(status: int = 200, **headers: str) -> bytes:
    """The head of a response; underscores in header names stand for hyphens."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} -\r\nConnection: close\r\n{lines}\r\n".encode("latin-1")


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Answer:
    """A whole response."""
    return raw([head(status, **{"Content_Length": str(len(body)), **headers}), body])


class Web:
    """Answers each path with its entry in `answers`, else 404; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[Request] = []
        self.base = ""

    def put(self, path: str, given: Answer) -> str:
        """Answers a path so from now on. Returns its URL."""
        self.answers[path] = given
        return f"{self.base}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (item.partition(": ") for item in rest)}
            request = Request(line.split()[1], headers)
            self.requests.append(request)
            await self.answers.get(request.path, answer(404))(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.close()


@asynccontextmanager
async def web() -> AsyncIterator[Web]:
    """A server at `.base`, as long as the block lasts."""
    served = Web()
    async with await asyncio.start_server(served._serve, "127.0.0.1", 0) as server:
        served.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield served
