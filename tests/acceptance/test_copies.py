"""Two processes of one stage on one PostgreSQL database: one acts, and the other is there when it dies."""

import asyncio
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from monitor.clock import SystemClock
from monitor.domain.spikes import Spike
from monitor.storage.store import Store
from tests.acceptance.command import Daemon, Workplace, until
from tests.acceptance.serving import Web, rss
from tests.brokers import NAMED, broker
from tests.news import burst, calm
from tests.postgres import Server, server

T = TypeVar("T")

TAKEOVER_S = 15.0
DETECT = """
    [detect]
    tick_s = 0.3
    [detector]
    warmup_days = 0.05
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with server() as running:
        yield running


@pytest.fixture
def url(running: Server) -> str:
    """An empty database."""
    name = f"test_{uuid.uuid4().hex}"
    running.sql(f"CREATE DATABASE {name};")
    return running.url.set(database=name).render_as_string(hide_password=False)


def _places(folder: Path, url: str, config: str) -> list[Workplace]:
    """Two folders, and one database."""
    shared = f'{config}\n[database]\nurl = "{url}"\n[daemon]\nheartbeat_s = 0.3\n'
    return [Workplace(folder / name, shared) for name in ("one", "two")]


def _with_store(url: str, ask: Callable[[Store], Awaitable[T]]) -> T:
    async def answer() -> T:
        store = await Store.open(url)
        try:
            return await ask(store)
        finally:
            await store.aclose()

    return asyncio.run(answer())


def _parts(place: Workplace, name: str) -> dict[int, dict[str, Any]]:
    """How the copies of a component fare, by process number."""
    parts = place.ask("status")["components"]
    return {int(part["process"].rsplit(":", 1)[1]): part for part in parts if part["component"] == name}


def _stands_by(place: Workplace, daemon: Daemon, name: str, holder: Daemon) -> None:
    expected = f"standby; {socket.gethostname()}:{holder.process.pid} acts"
    until(
        lambda: _parts(place, name).get(daemon.process.pid, {}).get("detail") == expected,
        f"{daemon.process.pid}: {expected}",
    )


def _news_breaks(url: str) -> None:
    _with_store(url, lambda store: store.articles.add(burst(end=SystemClock().now())))


def _spikes(url: str) -> list[Spike]:
    return _with_store(url, lambda store: store.spikes.latest(limit=99))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def test_when_the_one_that_detects_is_killed_the_other_states_the_spike(tmp_path: Path, url: str) -> None:
    one, two = _places(tmp_path, url, DETECT)
    _with_store(url, lambda store: store.articles.add(calm(8, until=SystemClock().now())))
    with Daemon(one, "detect") as first:
        first.logged("lease_taken")
        with Daemon(two, "detect") as second:
            _stands_by(two, second, "detect", first)
            first.process.kill()
            killed_at = time.monotonic()
            _news_breaks(url)
            stated = until(lambda: _spikes(url), "a spike", limit_s=TAKEOVER_S)
            _say(f"a spike {time.monotonic() - killed_at:.1f} s after the holder was killed")
            assert {spike.key.name for spike in stated} == {"all", "Financials"}

            with Daemon(one, "detect") as third:
                _stands_by(one, third, "detect", second)
                os.kill(second.process.pid, signal.SIGSTOP)
                stopped_at = time.monotonic()
                third.logged("lease_taken", limit_s=TAKEOVER_S)
                _say(f"taken over {time.monotonic() - stopped_at:.1f} s after the holder was stopped")
                os.kill(second.process.pid, signal.SIGCONT)
                second.logged("lease_lost")
                _stands_by(two, second, "detect", third)

                asked_at = time.monotonic()
                assert third.stop() == 0, third.log
                assert "lease_released" in third.log
                until(lambda: second.log.count("lease_taken") == 2, "the lease is back")
                _say(f"taken over {time.monotonic() - asked_at:.1f} s after the holder was asked to stop")
            assert second.stop() == 0, second.log
            assert "Traceback" not in second.log
    assert _spikes(url) == stated  # one episode, whoever looked at it


def test_an_alert_is_sent_by_the_one_that_is_left(tmp_path: Path, url: str) -> None:
    channel = '[alerts]\ngroup_wait_s = 0\n[alerts.channels.console]\nkind = "console"\n'
    one, two = _places(tmp_path, url, DETECT + channel)
    _with_store(url, lambda store: store.articles.add(calm(8, until=SystemClock().now())))
    with Daemon(one, "detect", "alerts") as first:
        first.logged('"lease": "alerts"')
        with Daemon(two, "detect", "alerts") as second:
            _stands_by(two, second, "dispatch", first)
            first.process.kill()
            killed_at = time.monotonic()
            _news_breaks(url)
            second.logged("notification_delivered", limit_s=2 * TAKEOVER_S)
            _say(f"an alert {time.monotonic() - killed_at:.1f} s after the holder was killed")
            until(
                lambda: [delivery["state"] for delivery in two.ask("deliveries")],
                "one message, which is delivered",
                lambda states: states == ["delivered"],
            )
            assert two.ask("alerts")
            assert second.stop() == 0, second.log


def test_feeds_are_shared_out_and_those_of_a_dead_copy_are_polled_on(tmp_path: Path, url: str) -> None:
    names = [f"wire{number}" for number in range(16)]
    with Web() as web:
        web.answers |= {f"/{name}": rss(f"{name} reports") for name in names}
        feeds = "".join(f'[feeds.{name}]\nurl = "{web.url}/{name}"\n' for name in names)
        config = f"""
            [http]
            allow_private_addresses = true
            [ingest]
            interval_s = 0.5
            min_interval_s = 0.5
            {feeds}
        """
        one, two = _places(tmp_path, url, config)

        def mine(daemon: Daemon) -> int:
            detail = _parts(one, "ingest").get(daemon.process.pid, {}).get("detail") or "0"
            return int(detail.split()[0])

        with Daemon(one, "ingest") as first:
            until(lambda: mine(first) == len(names), "all feeds are the first copy's")
            with Daemon(two, "ingest") as second:
                until(lambda: 0 < mine(second) == len(names) - mine(first), "the feeds are shared out")
                first.process.kill()
                killed_at = time.monotonic()
                asked = dict(web.asked)
                until(
                    lambda: all(web.asked.get(f"/{name}", 0) > asked.get(f"/{name}", 0) for name in names),
                    "every feed is polled on",
                    limit_s=TAKEOVER_S + 3,
                )
                _say(f"every feed was polled within {time.monotonic() - killed_at:.1f} s of the kill")
                until(lambda: mine(second) == len(names), "all feeds are the second copy's")
                assert second.stop() == 0, second.log


def test_on_kafka_every_stage_runs_twice_over_one_folder(tmp_path: Path, url: str) -> None:
    titles = [f"Bank {number} halts withdrawals" for number in range(200)]
    with broker() as bootstrap, Web() as web:
        web.answers["/wire"] = rss(*titles)
        config = f"""
            [http]
            allow_private_addresses = true
            [feeds.wire]
            url = "{web.url}/wire"
            [bus]
            kind = "kafka"
            [bus.kafka]
            bootstrap = "{bootstrap}"
            topic_prefix = "{uuid.uuid4().hex}."
            idempotent = {"true" if NAMED else "false"}
        """
        place, _ = _places(tmp_path, url, config)
        with Daemon(place) as first, Daemon(place) as second:
            for daemon in (first, second):
                daemon.logged('"event": "started"')
            until(lambda: place.ask("status")["stored"]["articles"] == len(titles), "every item is stored")
            assert {len(_parts(place, name)) for name in ("ingest", "classify", "aggregate", "detect", "alerts")} == {2}
            assert place.ask("trends", "--recount")["equal"]
            assert (first.stop(), second.stop()) == (0, 0), first.log + second.log
            assert "Traceback" not in first.log + second.log


@pytest.mark.parametrize("command", [("check",), ("run",), ("run", "detect")])
def test_a_broker_with_tables_that_only_this_machine_sees_is_refused(command: tuple[str, ...], tmp_path: Path) -> None:
    refused = Workplace(tmp_path, '[bus]\nkind = "kafka"\n').call(*command)
    assert refused.code == 2, refused
    assert 'database.url: expected postgresql+asyncpg://... with bus.kind = "kafka"' in refused.err


def test_a_replay_does_not_play_among_running_stages(tmp_path: Path) -> None:
    place = Workplace(tmp_path, '[bus]\nkind = "kafka"\n')
    refused = place.call("replay", str(place.config))
    assert (refused.code, "MONITOR_BUS__KIND=embedded" in refused.err) == (2, True)
