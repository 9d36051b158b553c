"""The daemon as a process: what it brings in, what it says of what fails, and how little that stops it."""

import asyncio
import gzip
import os
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.bus.bus import Message
from monitor.bus.embedded import EmbeddedBus
from monitor.bus.streams import Stream
from monitor.clock import SystemClock
from tests.acceptance.command import Daemon, Workplace, until
from tests.acceptance.serving import Answer, Web, rss

BAD_NEWS = (
    "Northfield Bank collapses after fraud",
    "Regulator sues Harlow Lending over losses",
    "Castor Insurance shares plunge on default fears",
    "Delmar Steel files for bankruptcy",
    "Rating agency downgrades Orrin Credit to junk",
    "Investors flee Tallis Fund as withdrawals are halted",
    "Layoffs and losses deepen at Brunt Motors",
    "Kestrel Capital warns of severe loss",
)
BOMB = b'<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + level, b"&%c;" % (97 + level) * 10) for level in range(8)
)
FAILING = {
    "page": (Answer(b"<!doctype html><html><body>Not a feed</body></html>", "text/html"), "not_a_feed"),
    "missing": (Answer(b"no", "text/plain", 404), "client_error"),
    "broken": (Answer(b"oops", "text/plain", 500), "server_error"),
    "barred": (Answer(b"no", "text/plain", 403), "auth"),
    "empty": (Answer(b""), "empty"),
    "hanging": (Answer(hangs=True), "timeout"),
    "busy": (Answer(status=429, headers=(("Retry-After", "60"),)), "rate_limited"),
    "bomb": (Answer(gzip.compress(b" " * 20_000_000)), "too_large"),
    "entities": (Answer(BOMB + b"]><rss><channel><title>&i;</title></channel></rss>"), None),
}


def config(web: Web, *feeds: str, more: str = "", timeout_s: float = 1.5, drain_s: float = 1) -> str:
    tables = "".join(f'\n[feeds.{feed}]\nurl = "{web.url}/{feed}"\n' for feed in feeds)
    return f"""
        [http]
        allow_private_addresses = true
        timeout_s = {timeout_s}
        per_host = 16
        [ingest]
        interval_s = 0.3
        min_interval_s = 0.3
        jitter = 0
        [detect]
        tick_s = 0.3
        [detector]
        warmup_days = 0
        [alerts]
        group_wait_s = 0
        [daemon]
        drain_s = {drain_s}
        heartbeat_s = 0.3
        {more}
        {tables}
    """


def named(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(row for row in rows if row["feed"] == name)


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def publish(place: Workplace, stream: Stream, value: bytes) -> None:
    """Puts a message on the bus of the daemon, as another program might."""

    async def put() -> None:
        path = place.folder / "data/bus.sqlite3"
        bus = await EmbeddedBus.open(path, partitions=4, retention=timedelta(hours=1), clock=SystemClock())
        await bus.publish(stream, [Message("poison", value)])
        await bus.aclose()

    asyncio.run(put())


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as web:
        web.answers["/good"] = rss(*BAD_NEWS)
        web.answers["/gone"] = Answer(b"", "text/plain", 410)
        web.answers |= {f"/{name}": answer for name, (answer, _) in FAILING.items()}
        yield web


@pytest.fixture(scope="module")
def place(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    mail = f"""
        [alerts.channels.desk]
        kind = "email"
        host = "127.0.0.1"
        port = {closed_port()}
        security = "none"
        sender = "monitor@bank.example"
        to = ["desk@bank.example"]
        [alerts.channels.console]
        kind = "console"
    """
    return Workplace(tmp_path_factory.mktemp("daemon"), config(web, "good", "gone", *FAILING, more=mail))


@pytest.fixture(scope="module")
def daemon(place: Workplace) -> Iterator[Daemon]:
    with Daemon(place) as daemon:
        daemon.logged('"event": "started"')
        yield daemon


@pytest.fixture
def ask(place: Workplace, daemon: Daemon) -> Callable[..., Any]:
    """What a command prints while the daemon runs."""
    assert daemon.process.poll() is None, daemon.log
    return place.ask


def test_articles_appear_labelled_and_counted(ask: Callable[..., Any]) -> None:
    found = until(lambda: ask("headlines"), "every item stored", lambda rows: len(rows) == len(BAD_NEWS))
    assert {row["title"] for row in found} == set(BAD_NEWS)
    assert all(row["source"] == "good" and row["topic"] and row["model_version"] for row in found)
    whole = ask("trends", "all", "--resolution", "1d")
    assert sum(row["positive"] + row["neutral"] + row["negative"] for row in whole) == len(BAD_NEWS)
    assert ask("trends", "--recount")["equal"]


def test_each_failing_feed_has_its_reason_and_the_good_one_goes_on(ask: Callable[..., Any], web: Web) -> None:
    feeds = until(
        lambda: ask("feeds", "list"), "every feed polled", lambda rows: all(row["last_polled_at"] for row in rows)
    )
    assert {name: named(feeds, name)["reason"] for name in FAILING if name != "entities"} == {
        name: reason for name, (_, reason) in FAILING.items() if name != "entities"
    }
    assert named(feeds, "entities")["reason"] is not None
    assert all(named(feeds, name)["state"].startswith("failing") for name in ("page", "hanging", "bomb"))
    assert named(feeds, "gone")["state"] == "parked"
    assert named(feeds, "good")["state"] == "ok"
    asked = web.asked["/good"]
    until(lambda: web.asked["/good"] > asked + 1, "the good feed is polled on")
    assert web.asked["/gone"] == 1


def test_a_dead_mail_server_is_tried_again_and_holds_up_nobody_else(ask: Callable[..., Any], daemon: Daemon) -> None:
    def told() -> list[dict[str, Any]]:
        return [delivery for alert in ask("alerts") for delivery in alert["deliveries"] if delivery["attempts"]]

    deliveries = until(told, "two channels tried", lambda found: len(found) >= 2)
    by_channel = {delivery["channel"]: delivery for delivery in deliveries}
    assert by_channel["console"]["state"] == "delivered"
    assert (by_channel["desk"]["state"], by_channel["desk"]["reason"]) == ("pending", "unreachable")
    assert by_channel["desk"]["next_attempt_at"]
    assert daemon.process.poll() is None


def test_the_spike_behind_the_alert_names_its_stories(ask: Callable[..., Any]) -> None:
    spikes = until(lambda: ask("spikes"), "a spike")
    assert {story["title"] for spike in spikes for story in spike["stories"]} <= set(BAD_NEWS)
    assert ask("alerts")[0]["spikes"]


def test_status_shows_every_part(ask: Callable[..., Any]) -> None:
    status = until(lambda: ask("status"), "a heartbeat", lambda found: found["components"])
    names = {part["component"] for part in status["components"]}
    assert names == {
        "ingest", "classify", "aggregate", "dead-letters", "detect", "alerts", "dispatch", "reload", "housekeeping"
    }  # fmt: skip
    assert status["stored"]["feeds parked"] == 1


def test_a_second_daemon_on_the_folder_is_refused(place: Workplace, daemon: Daemon) -> None:
    for line in (("run",), ("run", "ingest"), ("replay", str(place.config))):
        second = place.run(*line)
        assert second.code == 3, second
        assert f"already runs on {place.folder / 'data'} (process {daemon.process.pid})" in second.err


def test_poison_becomes_a_dead_letter_and_can_be_put_back(
    ask: Callable[..., Any], place: Workplace, daemon: Daemon
) -> None:
    for stream in (Stream.ARTICLES, Stream.LABELLED, Stream.SPIKES):
        publish(place, stream, b"no record " + stream.encode())
    letters = until(lambda: ask("dead-letters", "list"), "three dead letters", lambda rows: len(rows) == 3)
    assert {(row["stage"], row["stream"], row["reason"]) for row in letters} == {
        ("classify", "articles", "malformed"),
        ("aggregate", "labelled", "malformed"),
        ("alerts", "spikes", "malformed"),
    }
    rejected = daemon.log.count("records_rejected")
    back = place.call("dead-letters", "replay", letters[0]["id"][:8])
    assert (back.code, "1 replayed" in back.out) == (0, True)
    until(lambda: daemon.log.count("records_rejected") > rejected, "the record comes by again")
    until(lambda: ask("dead-letters", "list"), "it is a dead letter again", lambda rows: len(rows) == 3)
    assert place.call("dead-letters", "replay", "nothing").code == 2
    assert daemon.process.poll() is None


def test_sigterm_drains_although_a_server_never_answers(tmp_path: Path) -> None:
    with Web() as web, Daemon(place := Workplace(tmp_path, config(web, "good", "hanging", timeout_s=600))) as daemon:
        web.answers |= {"/good": rss(*BAD_NEWS), "/hanging": Answer(hangs=True)}
        until(lambda: web.asked["/hanging"], "the server is asked")
        until(lambda: place.ask("headlines"), "articles")
        assert daemon.stop() == 0, daemon.log
        assert "drain_timed_out" in daemon.log
        assert "Traceback" not in daemon.log
    assert {part["state"] for part in place.ask("status")["components"]} == {"stopped"}
    assert len(place.ask("headlines")) == len(BAD_NEWS)


def test_the_second_signal_stops_at_once(tmp_path: Path) -> None:
    with Web() as web, Daemon(Workplace(tmp_path, config(web, "hanging", timeout_s=600, drain_s=600))) as daemon:
        web.answers["/hanging"] = Answer(hangs=True)
        until(lambda: web.asked["/hanging"], "the server is asked")
        daemon.process.terminate()
        daemon.logged('"draining"')
        assert daemon.stop() == 130, daemon.log


def test_killed_and_started_again_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    titles = [f"{title} {number}" for title in BAD_NEWS for number in range(40)]
    with Web() as web:
        web.answers["/good"] = rss(*titles)
        place = Workplace(tmp_path, config(web, "good"))
        with Daemon(place) as daemon:
            daemon.logged("feed_polled")
            daemon.process.kill()
        with Daemon(place) as daemon:
            until(lambda: place.ask("status")["stored"]["articles"] == len(titles), "every item stored")
            assert daemon.stop() == 0, daemon.log
    assert sorted(row["title"] for row in place.ask("headlines", "--limit", "1000")) == sorted(titles)
    assert place.ask("trends", "--recount")["equal"]


def test_the_stages_run_in_processes_of_their_own(web: Web, tmp_path: Path) -> None:
    place = Workplace(tmp_path, config(web, "good"))
    with Daemon(place, "ingest") as first, Daemon(place, "classify", "aggregate") as second:
        until(lambda: len(place.ask("headlines")) == len(BAD_NEWS), "every item stored")
        assert (first.stop(), second.stop()) == (0, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_stops_nothing_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "data"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=8m tmpfs {disk} 2>/dev/null") != 0:
        pytest.skip("mounting is not allowed here")
    ballast = disk / "ballast"
    try:
        with Web() as web:
            web.answers["/good"] = rss(BAD_NEWS[0])
            place = Workplace(tmp_path, config(web, "good"))
            with Daemon(place) as daemon:
                until(lambda: place.ask("headlines"), "the first article")
                with ballast.open("wb") as file:
                    until(lambda: _filled(file), "the disk is full")
                titles = [f"{title} {number}" for title in BAD_NEWS for number in range(40)]
                web.answers["/good"] = rss(*titles)
                daemon.logged("free some space")
                shown = until(lambda: _retrying(place), "status shows it")
                assert "free" in shown
                assert daemon.process.poll() is None
                ballast.unlink()
                until(lambda: place.ask("status")["stored"]["articles"] == len(titles) + 1, "every item stored")
                assert daemon.stop() == 0, daemon.log
            assert place.ask("trends", "--recount")["equal"]
    finally:
        os.system(f"umount -l {disk}")


def _filled(file: Any) -> bool:
    try:
        for _ in range(64):
            os.write(file.fileno(), b"\0" * 4096)
    except OSError:
        return True
    return False


def _retrying(place: Workplace) -> str:
    parts = place.ask("status")["components"]
    return "; ".join(str(part["detail"]) for part in parts if part["state"] == "retrying")
