"""The daemon as processes on Kafka and PostgreSQL: what goes in is known, and what comes out is counted."""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from monitor.app import STAGES
from monitor.clock import SystemClock
from monitor.demo.newsday import Item
from monitor.demo.servers import Outlets
from monitor.settings import Settings, load
from monitor.storage.store import Store
from tests.acceptance.command import Daemon, Workplace
from tests.brokers import NAMED
from tests.postgres import Server

T = TypeVar("T")

SECRET = "whsec_" + base64.b64encode(b"only for tests on loopback, here").decode()
QUICK: dict[str, object] = {"session_timeout_s": 1, "rebalance_wait_s": 1, "request_timeout_s": 10}

_OUTLETS = ("wire", "ledger", "courier", "desk")
_BAD_NEWS = (
    "Northfield Bank collapses after fraud",
    "Regulator sues Harlow Lending over losses",
    "Castor Insurance shares plunge on default fears",
    "Delmar Steel files for bankruptcy",
)
_SAMPLES = 2
_LIMIT_S = 240.0
_STOP_S = 60.0
_LOOK_S = 0.2


class Stand:
    """`outlets` publishes feeds and takes webhooks; `running` are the processes, by the stages in them."""

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        url: str,
        outlets: Outlets,
        *,
        kafka: Mapping[str, object],
        more: str = "",
    ) -> None:
        self.outlets = outlets
        self.url = url
        self.running: dict[str, Daemon] = {}
        self.published: list[str] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        feeds = "".join(f'[feeds.{name}]\nurl = "{outlets.url}/{name}.xml"\n' for name in _OUTLETS)
        cluster = {
            "bootstrap": bootstrap,
            "topic_prefix": f"{uuid.uuid4().hex}.",
            "idempotent": NAMED is not None and bootstrap == NAMED,
            **kafka,
        }
        self.place = Workplace(
            folder,
            f"""
            [classifier]
            kind = "lexicon"
            [database]
            url = "{url}"
            [bus]
            kind = "kafka"
            [bus.kafka]
            {"".join(f"{key} = {json.dumps(value)}{chr(10)}" for key, value in cluster.items())}
            [http]
            allow_private_addresses = true
            per_host = 4
            [ingest]
            interval_s = 1
            min_interval_s = 1
            [detect]
            tick_s = 0.5
            [detector]
            warmup_days = 0
            [daemon]
            heartbeat_s = 1
            {feeds}
            [alerts]
            group_wait_s = 2
            allow_private_addresses = true
            [alerts.channels.hook]
            kind = "webhook"
            url = "{outlets.url}/hook"
            secret = "{SECRET}"
            {more}
            """,
        )

    def start(self, stages: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.running["+".join(stages)] = Daemon(self.place, *stages, environment=environment)

    def process_of(self, stage: str) -> Daemon:
        return next(daemon for name, daemon in self.running.items() if stage in name.split("+"))

    def publish(self, title: str) -> None:
        """A new item of one of the feeds."""
        with self._lock:
            number = next(self._numbers)
            outlet = _OUTLETS[number % len(_OUTLETS)]
            summary = "Shareholders will vote on the agenda, the company said in a notice to the exchange."
            self.outlets.publish(Item(outlet, f"guid-{number}", f"{title} {number}", summary, SystemClock().now()))
            self.published.append(f"{title} {number}")

    def break_news(self, items: int) -> None:
        """So many items that are bad, and stories of their own."""
        for number in range(items):
            self.publish(_BAD_NEWS[number % len(_BAD_NEWS)])

    @contextlib.contextmanager
    def flow(self, per_s: float) -> Iterator[None]:
        """Meanwhile calm news appears in the feeds, at an even rate."""
        stop = threading.Event()

        def go() -> None:
            while not stop.wait(1 / per_s):
                self.publish("Kestrel Capital to hold its annual meeting in hall")

        flowing = threading.Thread(target=go, name="flow", daemon=True)
        flowing.start()
        try:
            yield
        finally:
            stop.set()
            flowing.join()

    def ask(self, question: Callable[[Store], Awaitable[T]]) -> T:
        """What the tables answer."""

        async def answer() -> T:
            store = await Store.open(self.url)
            try:
                return await question(store)
            finally:
                await store.aclose()

        return asyncio.run(answer())

    def stored(self) -> int:
        return self.ask(lambda store: store.articles.totals())["articles"]

    def wait(self, holds: Callable[[], object], what: str, limit_s: float = _LIMIT_S) -> float:
        """Seconds until it holds. A process that ends meanwhile fails the trial."""
        began = time.monotonic()
        while not holds():
            assert not self.dead(), self.dead()
            assert time.monotonic() - began < limit_s, f"not within {limit_s:g} s: {what}"
            time.sleep(_LOOK_S)
        return time.monotonic() - began

    def dead(self) -> dict[str, int]:
        """The exit codes of the processes that have ended."""
        codes = {name: daemon.process.poll() for name, daemon in self.running.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def stop(self) -> dict[str, int]:
        """Asks all to stop; their exit codes."""
        for daemon in self.running.values():
            daemon.process.terminate()
        return {name: daemon.process.wait(_STOP_S) for name, daemon in self.running.items()}

    def counted(self) -> dict[str, Any]:
        """What is in the tables against what went in."""
        rows = self.ask(lambda store: store.articles.headlines(limit=1_000_000))
        titles = Counter(row.article.title for row in rows)
        given = Counter(self.published)
        trends = self.ask(lambda store: store.articles.trends(resolution="1d", kinds=["all"]))
        return {
            "published": given.total(),
            "stored": titles.total(),
            "lost": (given - titles).total(),
            "doubled": (titles - given).total(),
            "counted_in_trends": sum(stats.articles for stats in trends),
            "trends_equal_recount": self.place.ask("trends", "--recount")["equal"],
        }

    def webhooks(self) -> dict[str, int]:
        """`ids` are of notifications; each should have come once."""
        times = Counter(hook.id for hook in self.outlets.webhooks)
        verified = sum(1 for hook in self.outlets.webhooks if hook.verified)
        return {"received": times.total(), "ids": len(times), "verified": verified}

    def finish(self, marks: Mapping[str, int]) -> dict[str, Any]:
        """Stops all; what came out, how the processes fared, and what they have logged since."""
        log, dead = self.logged(marks), self.dead()
        codes = self.stop()
        return {
            **self.counted(),
            "webhooks": self.webhooks(),
            "died": dead,
            "exit_codes": codes,
            "stack_traces": any("Traceback" in daemon.log for daemon in self.running.values()),
            "log": log,
        }

    def marks(self) -> dict[str, int]:
        """How long each log is now."""
        return {name: len(daemon.log) for name, daemon in self.running.items()}

    def logged(self, since: Mapping[str, int]) -> dict[str, Any]:
        """What has been logged since: counts by process and event; of warnings and errors also two lines each."""
        found: dict[str, Any] = {}
        for name, daemon in self.running.items():
            for line in map(json.loads, filter(_is_whole, daemon.log[since.get(name, 0) :].splitlines())):
                # Libraries put facts into the event: it is counted by who said it.
                event = line["event"] if " " not in line["event"] else line["logger"]
                entry = found.setdefault(f"{name}: {event}", {"level": line["level"], "times": 0})
                entry["times"] += 1
                if line["level"] not in ("info", "debug"):
                    samples = entry.setdefault("samples", [])
                    if len(samples) < _SAMPLES:
                        samples.append({key: value for key, value in line.items() if key not in ("level", "logger")})
        return dict(sorted(found.items(), key=lambda item: (item[1]["level"] == "info", item[0])))

    def lag(self) -> dict[str, int]:
        lag: dict[str, int] = self.place.ask("status")["lag"]
        return lag

    def settings(self) -> Settings:
        return load(self.place.config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in self.running.values():
            daemon.__exit__()


def _is_whole(line: str) -> bool:
    return line.startswith("{") and line.endswith("}")


@contextlib.contextmanager
def serving(
    folder: Path,
    postgres: Server,
    bootstrap: str,
    *,
    quick: bool,
    more: str = "",
    environments: Mapping[str, Mapping[str, str]] | None = None,
    without: Collection[str] = (),
) -> Iterator[Stand]:
    """A stand on an empty database whose stages have started.

    `quick`: in one process that is missed soon, for trials that are to be short; else in one for each stage. Stages
    with an environment of their own are processes of their own.
    """
    name = f"trial_{uuid.uuid4().hex}"
    postgres.sql(f"CREATE DATABASE {name};")
    url = postgres.url.set(database=name).render_as_string(hide_password=False)
    own = environments or {}
    kafka = QUICK if quick else {}
    with Outlets(SECRET) as outlets, Stand(folder, bootstrap, url, outlets, kafka=kafka, more=more) as stand:
        for stage in own:
            stand.start([stage], own[stage])
        left = [stage for stage in STAGES if stage not in own and stage not in without]
        for stages in [left] if quick else [[stage] for stage in left]:
            stand.start(stages)
        for daemon in stand.running.values():
            daemon.logged('"event": "started"')
        yield stand


def resident_mb(pid: int) -> float:
    """Memory of a process that is in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(f"process {pid} has no memory; {os.getpid()} looked")
