"""The pages as part of the daemon: there until SIGTERM, and a mistake is told before anything starts."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from alerts.links import Links
from monitor.chaos.servers import free_port
from monitor.storage.alerts import LIVE
from monitor.storage.database import sqlite_url
from monitor.storage.store import Store
from tests.acceptance.command import Daemon, Workplace
from tests.factories import make_spike

SECRET = "a-secret-of-at-least-32-characters"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def place(tmp_path: Path, port: int) -> Workplace:
    alerts = f'[alerts]\nbase_url = "http://127.0.0.1:{port}"\nlink_secret = "{SECRET}"\n'
    return Workplace(tmp_path, f"{alerts}[web]\nport = {port}\n")


async def an_alert(place: Workplace) -> str:
    store = await Store.open(sqlite_url(place.folder / "data" / "monitor.sqlite3"))
    try:
        alert_id, _ = await store.alerts.take(make_spike(), LIVE, timedelta(hours=1))
    finally:
        await store.aclose()
    return alert_id


def test_a_link_is_followed_and_its_button_pressed(place: Workplace, port: int) -> None:
    base = f"http://127.0.0.1:{port}"
    with Daemon(place, environment={"MONITOR_WEB__ENABLED": "true"}) as daemon, httpx.Client() as browser:
        daemon.logged("web_listens")
        alert_id = asyncio.run(an_alert(place))
        link = Links(base, SECRET, days=7).acknowledge(alert_id, "desk@example.org", datetime.now(UTC))
        assert browser.get(f"{base}/healthz").text == "ok"
        assert "Firing since" in browser.get(link).text
        assert "Acknowledged" in browser.post(link).text
        taken = place.call("run", "web")
        assert taken.code == 3, taken  # the folder has a server already
        elsewhere = Workplace(place.folder / "elsewhere", place.config.read_text(encoding="utf-8"))
        taken = elsewhere.call("run", "web", "ingest")
        assert taken.code == 2, taken
        assert "web.port: 127.0.0.1 port" in taken.err
        assert '"started"' not in taken.err
        assert daemon.stop() == 0
        assert link.rpartition("/")[2] not in daemon.log
    ((by,),) = place.rows("SELECT acked_by FROM alert")
    assert by == "desk@example.org"


def test_without_links_neither_check_nor_run_has_it(tmp_path: Path) -> None:
    place = Workplace(tmp_path, "[web]\nenabled = true\n")
    for line in (["check"], ["run"], ["run", "web"]):
        refused = place.call(*line)
        assert refused.code == 2
        assert "alerts.base_url: missing" in refused.err
        assert "alerts.link_secret: missing" in refused.err
