"""One run: tables and streams of its own, the processes on them, and what comes to the receiver."""

import asyncio
import base64
import contextlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from monitor import app
from monitor.chaos import outcome
from monitor.chaos.processes import Process
from monitor.chaos.receiver import Receiver
from monitor.chaos.servers import Servers, drop_database, make_database
from monitor.errors import ChaosError
from monitor.leader import TTL_S
from monitor.settings import Settings, load

# Low, so that there is much to compare: what is found is no news.
_RULES = """
[classifier]
kind = "lexicon"
[detector]
warmup_days = 0.5
theta = 2.0
min_stories = 2
per_week = 1000
[alerts]
story_memory_h = 1
allow_private_addresses = true
"""
_LOOK_S = 0.05
_START_S = 2.0
_LIMIT_S = 1800.0

STAGES = ("classify", "aggregate")


class Scene:
    """`replay` plays the archive, detects and alerts; `stages` are the copies of the others, none where it does all."""

    def __init__(self, folder: Path, archive: Path, config: str, receiver: Receiver, copies: int, ahead: int) -> None:
        self.receiver = receiver
        path = folder / "config.toml"
        path.write_text(config, encoding="utf-8")
        self._config = path
        spread = ["--spread", "--ahead", str(ahead)] if copies else []
        arguments = ["replay", str(archive), "--deliver", "--json", *spread]
        self.replay = Process("replay", path, arguments, folder / "replay.log")
        self.stages = [
            Process(f"{stage} {number}", path, ["run", stage], folder / f"{stage}-{number}.log")
            for number in range(1, copies + 1)
            for stage in STAGES
        ]

    @property
    def processes(self) -> list[Process]:
        return [self.replay, *self.stages]

    @property
    def victims(self) -> list[list[Process]]:
        """What may be killed now, by kind. A replay that still waits for the leases of its predecessor is spared."""
        waits = self.stages and self.replay.starts > 1 and self.replay.age_s < TTL_S + _START_S
        return [*([] if waits else [[self.replay]]), *([self.stages] if self.stages else [])]

    @property
    def settings(self) -> Settings:
        return load(self._config)

    def start(self) -> None:
        for process in self.processes:
            process.start()

    def run_on(self, until: float | None = None) -> bool:
        """Waits until that moment of the monotonic clock, or for the end of the archive; True at its end.

        Raises: ChaosError, if a process ends that should not, or nothing ends in half an hour.
        """
        deadline = time.monotonic() + _LIMIT_S
        while until is None or time.monotonic() < until:
            if self.look():
                return True
            if time.monotonic() > deadline:
                raise ChaosError(f"the archive was not played within {_LIMIT_S:g} s; {self.replay.last_words()}")
            time.sleep(_LOOK_S)
        return False

    def look(self) -> bool:
        """Whether the archive has been played. Raises: ChaosError, if a process has ended that should not have."""
        for process in self.stages:
            if (code := process.ended()) is not None:
                raise ChaosError(f"{process.name} ended by itself, with {code}; {process.last_words()}")
        if code := self.replay.ended():
            raise ChaosError(f"{self.replay.name} ended with {code}; {self.replay.last_words()}")
        return self.replay.ended() == 0

    def outcome(self) -> outcome.Outcome:
        return asyncio.run(outcome.read(app.database_url(self.settings), self.receiver.bodies))

    def close(self) -> None:
        for process in self.processes:
            process.kill()


@contextlib.contextmanager
def scene(
    folder: Path, name: str, archive: Path, servers: Servers | None, *, copies: int, ahead: int = 500
) -> Iterator[Scene]:
    """A run on new tables and streams; on the embedded default without `servers`. All of it is gone afterwards."""
    place = folder / name
    place.mkdir()
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        config = _RULES + _channel(receiver)
        if servers is None:
            copies = 0
        else:
            own = f"chaos_{secrets.token_hex(6)}"
            url = asyncio.run(make_database(servers.postgres, own))
            stack.callback(lambda: asyncio.run(drop_database(servers.postgres, own)))
            config += _shared(servers, url, f"{own}.")
        made = Scene(place, archive, config, receiver, copies, ahead)
        if servers is not None and not servers.own_broker:
            stack.callback(lambda: asyncio.run(_delete_topics(made.settings)))
        stack.callback(made.close)
        yield made


def _channel(receiver: Receiver) -> str:
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    return _table("alerts.channels.hook", {"kind": "webhook", "url": receiver.url, "secret": secret})


def _shared(servers: Servers, url: str, prefix: str) -> str:
    kafka: dict[str, object] = {"bootstrap": servers.bootstrap, "topic_prefix": prefix, "rebalance_wait_s": 5}
    kafka["session_timeout_s"] = session_s(servers)
    kafka["idempotent"] = not servers.own_broker
    return (
        _table("database", {"url": url})
        + _table("bus", {"kind": "kafka", "partitions": 8})
        + _table("bus.kafka", kafka)
    )


def session_s(servers: Servers) -> float:
    """For how long a member may be silent: brokers of Apache allow no less than six seconds."""
    return 2 if servers.own_broker else 6


def _table(name: str, values: Mapping[str, object]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


async def _delete_topics(settings: Settings) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    from monitor.bus.kafka_client import connection
    from monitor.bus.kafka_topics import topic_of
    from monitor.bus.streams import Stream

    admin = AIOKafkaAdminClient(**connection(settings.bus.kafka))
    await admin.start()
    try:
        await admin.delete_topics([topic_of(stream, settings.bus) for stream in Stream])
    finally:
        await admin.close()
