"""A dispatcher that kills itself between two steps, and the receiver of what it sends.

`python -m tests.acceptance.dispatching` takes lists of jobs as lines of JSON, and answers with a line for each job: the
exit codes of its processes, below zero for a signal.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple, Self

import standardwebhooks
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from alerts.channel import Channel
from alerts.dispatch import Dispatch
from monitor import http, logs, plugins
from monitor.alerting import build_channels, outlets
from monitor.clock import ManualClock, SystemClock
from monitor.domain.alerts import Notification
from monitor.domain.spikes import Spike
from monitor.errors import DeliveryError, InvariantError
from monitor.loopback import LoopbackServer
from monitor.settings import Settings, load
from monitor.storage.alerts import LIVE
from monitor.storage.database import Database, sqlite_url
from monitor.storage.store import Store
from tests.acceptance.command import ROOT

BEFORE_COMMIT, AFTER_COMMIT = "before the commit", "after the commit"
BEFORE_ATTEMPT, ANSWERED = "before the attempt", "answered"
DATABASE, CONFIG, JOURNAL, SPIKES = "monitor.sqlite3", "config.toml", "journal.jsonl", "spikes.json"

_TIME_ENOUGH_S = 120
_SIDE_BY_SIDE = 4


class Step(NamedTuple):
    """`id`: of the notification that is attempted; `at`: by the dispatcher's clock; `failure`: why it failed."""

    what: str
    id: str | None
    at: datetime
    failure: str | None


class Steps:
    """Writes each step of a process down in `journal`, and kills it at the step `kill_at`, counted from 1."""

    def __init__(self, journal: Path, clock: ManualClock, kill_at: int | None) -> None:
        self._file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._clock = clock
        self._left = kill_at or 0

    def take(self, what: str, id_: str | None = None, failure: str | None = None) -> None:
        line = json.dumps([what, id_, self._clock.now().isoformat(), failure])
        os.write(self._file, line.encode() + b"\n")
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def steps_in(journal: Path) -> list[Step]:
    if not journal.exists():
        return []
    lines = map(json.loads, journal.read_text(encoding="utf-8").splitlines())
    return [Step(what, id_, datetime.fromisoformat(at), failure) for what, id_, at, failure in lines]


class _Database(Database):
    """Each transaction that writes has two steps."""

    steps: Steps

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        async with super().write() as connection:
            yield connection
            self.steps.take(BEFORE_COMMIT)
        self.steps.take(AFTER_COMMIT)


class _Channel:
    """Each attempt has two steps."""

    def __init__(self, channel: Channel, steps: Steps) -> None:
        self.recipients = channel.recipients
        self._channel = channel
        self._steps = steps

    async def send(self, notification: Notification) -> None:
        self._steps.take(BEFORE_ATTEMPT, notification.id)
        try:
            await self._channel.send(notification)
        except DeliveryError as error:
            self._steps.take(ANSWERED, notification.id, error.reason)
            raise
        self._steps.take(ANSWERED, notification.id)


async def play(folder: Path, kill_at: int | None) -> None:
    """Takes the spikes of the folder when their time comes, and dispatches until nothing is left to do.

    The clock goes on where it stood when the process before this one ended.
    """
    written = json.loads((folder / SPIKES).read_text(encoding="utf-8"))
    spikes = [(datetime.fromisoformat(at), Spike.model_validate(body)) for at, body in written]
    before = steps_in(folder / JOURNAL)
    clock = ManualClock(before[-1].at if before else spikes[0][0])
    steps = Steps(folder / JOURNAL, clock, kill_at)
    settings = load(folder / CONFIG)
    database = await _Database.open(sqlite_url(folder / DATABASE))
    assert isinstance(database, _Database)
    database.steps = steps
    store = Store(database)
    async with build_channels(settings, store) as channels:
        out = outlets(settings, {name: _Channel(channel, steps) for name, channel in channels.items()})
        dispatch = Dispatch(out.channels, out.policy, store=store, clock=clock, fingerprints=out.fingerprints)
        keep = timedelta(seconds=settings.alerts.keep_firing_for_s)
        while True:
            while spikes and spikes[0][0] <= clock.now():
                await store.alerts.take(spikes.pop(0)[1], LIVE, keep)
            await dispatch.dispatch_once()
            moments = [await store.groups.next_due(LIVE), await store.deliveries.next_attempt()]
            waiting = [moment for moment in (*moments, *(at for at, _ in spikes[:1])) if moment is not None]
            if not waiting:
                break
            if min(waiting) <= clock.now():
                raise InvariantError("something was due and was not done")
            clock.set(min(waiting))
    await store.aclose()


class Job(NamedTuple):
    """Processes one after the other on a folder: each is killed at its step, or runs to the end where that is None."""

    folder: Path
    kill_at: Sequence[int | None]


class Nursery:
    """Runs jobs side by side, each process forked from one that has loaded the program already."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def run(self, jobs: Sequence[Job]) -> dict[Path, list[int]]:
        """By folder the exit codes of its processes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        told = [(str(job.folder), list(job.kill_at)) for job in jobs]
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        answers = [json.loads(self._process.stdout.readline()) for _ in jobs]
        return {Path(folder): codes for folder, codes in answers}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(_TIME_ENOUGH_S)


def _serve() -> None:
    logs.configure("ERROR", json=True)
    _warm()
    for line in sys.stdin:
        jobs = json.loads(line)
        workers = [_fork(partial(_work, jobs[number::_SIDE_BY_SIDE])) for number in range(_SIDE_BY_SIDE)]
        for worker in workers:
            os.waitpid(worker, 0)


def _work(jobs: Sequence[tuple[str, Sequence[int | None]]]) -> None:
    for folder, kills in jobs:
        codes = []
        for kill_at in kills:
            _, status = os.waitpid(_fork(partial(_play, Path(folder), kill_at)), 0)
            codes.append(os.waitstatus_to_exitcode(status))
        os.write(sys.stdout.fileno(), json.dumps([folder, codes]).encode() + b"\n")


def _play(folder: Path, kill_at: int | None) -> None:
    signal.alarm(_TIME_ENOUGH_S)
    asyncio.run(play(folder, kill_at))


def _fork(work: Callable[[], None]) -> int:
    """The number of a process that does this work, and exits with 0 if it could."""
    if child := os.fork():
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException as error:  # noqa: BLE001  # told to the test, which fails by the exit code
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(code)


def _warm() -> None:
    """Loads what is otherwise loaded at first use, so that the forked have it."""
    Settings()
    plugins.load("alerts.channels", "webhook")
    create_async_engine("sqlite+aiosqlite://")
    http.client(allow_private_addresses=True, user_agent="")


class Request(NamedTuple):
    """A webhook as it arrived, in seconds of the machine's clock. `answer` None: it had none."""

    id: str
    headers: Mapping[str, str]
    body: bytes
    is_verified: bool
    at: float
    answer: int | None


Script = Sequence[Sequence[int | None]]
"""For each webhook-id in the order in which they come the answers to its attempts; the last stands for all after it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A client that was killed."""


class Hook(LoopbackServer):
    """Takes webhooks at any path, verifies them, and answers by the script of the path; without one it accepts."""

    server_class = _Server

    def __init__(self, secret: str) -> None:
        self.scripts: dict[str, Script] = {}
        self.cut_off = 0
        self._requests: dict[str, list[Request]] = {}
        self._verifier = standardwebhooks.Webhook(secret)
        self._lock = threading.Lock()
        super().__init__(self._handler(), name="hook")

    def requests(self, path: str) -> list[Request]:
        with self._lock:
            return list(self._requests.get(path, ()))

    def _keep(self, path: str, headers: Mapping[str, str], body: bytes) -> int | None:
        try:
            self._verifier.verify(body, dict(headers))
            is_verified = True
        except standardwebhooks.WebhookVerificationError:
            is_verified = False
        with self._lock:
            kept = self._requests.setdefault(path, [])
            ids = list(dict.fromkeys(request.id for request in kept))
            id_ = headers.get("webhook-id", "")
            script = self.scripts.get(path) or [[204]]
            answers = script[min(ids.index(id_) if id_ in ids else len(ids), len(script) - 1)]
            answer = answers[min(sum(request.id == id_ for request in kept), len(answers) - 1)]
            kept.append(Request(id_, headers, body, is_verified, SystemClock().now().timestamp(), answer))
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", -1))
                body = self.rfile.read(max(0, length))
                if len(body) != length:  # its sender was killed in the middle of it
                    hook.cut_off += 1
                    return
                answer = hook._keep(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                if answer is None:
                    self.rfile.read(1)  # until the client leaves
                    return
                self.send_response(answer)
                if answer == 429:
                    self.send_header("Retry-After", "60")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silent."""

        return Handler


def times(requests: Sequence[Request]) -> Counter[str]:
    """How often each webhook-id came."""
    return Counter(request.id for request in requests)


if __name__ == "__main__":
    _serve()
