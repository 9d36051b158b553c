"""The daemon as a service: what its manager and a container's health check get to know."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import Daemon, Workplace, until


@pytest.fixture
def hear(tmp_path: Path) -> Iterator[Callable[[], list[str]]]:
    """Everything the manager has been told so far."""
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)

        def listen() -> list[str]:
            while True:
                try:
                    heard.append(manager.recv(4096).decode())
                except BlockingIOError:
                    return heard

        yield listen


def test_the_manager_is_told_and_the_health_file_kept_fresh(hear: Callable[[], list[str]], tmp_path: Path) -> None:
    place = Workplace(tmp_path / "place", "[daemon]\nheartbeat_s = 0.2\n")
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with Daemon(place, "aggregate", "alerts", environment=environment) as daemon:
        until(lambda: hear().count("WATCHDOG=1") > 2, "three good words")
        assert "STOPPING=1" not in hear()
        assert [file.name for file in sorted((place.folder / "data/alive").iterdir())] == ["aggregate", "alerts"]
        old = place.folder / "data/alive/aggregate"
        os.utime(old, (0, 0))
        until(lambda: old.stat().st_mtime > 0, "a fresh file")
        assert daemon.stop() == 0
    assert hear()[0] == "READY=1"
    assert hear().count("STOPPING=1") == 1
    assert list((place.folder / "data/alive").iterdir()) == []


def test_the_manager_is_told_of_a_reload_and_of_its_end(hear: Callable[[], list[str]], tmp_path: Path) -> None:
    place = Workplace(tmp_path / "place")
    with Daemon(place, "alerts", environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as daemon:
        until(lambda: "READY=1" in hear(), "it is ready")
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: hear().count("READY=1") == 2, "it is ready again")
        assert daemon.stop() == 0
    told = [line for line in hear() if line.startswith(("RELOADING=1", "READY=1"))]
    assert [line.partition("\n")[0] for line in told] == ["READY=1", "RELOADING=1", "READY=1"]
    assert told[1].partition("MONOTONIC_USEC=")[2].isdecimal()


def test_a_daemon_that_cannot_start_is_never_ready(hear: Callable[[], list[str]], tmp_path: Path) -> None:
    place = Workplace(tmp_path / "place", '[database]\nurl = "sqlite+aiosqlite:////no/such/folder/at/all"\n')
    with Daemon(place, "aggregate", environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as daemon:
        assert daemon.process.wait(60) != 0
    assert hear() == []
