"""`monitor digests preview`: what a receiver would be told, and nothing sent."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.digests import Digests
from monitor.alert_settings import AlertSettings
from monitor.domain.windows import ALL
from monitor.errors import ConfigError
from monitor.storage.alerts import LIVE
from monitor.storage.store import Store
from tests.chain import BANKS, Inbox, counted, make_policy
from tests.command_line import Fill, Run
from tests.factories import NOW, make_spike

HOUR = timedelta(hours=1)
SECRET = "s" * 32
CONFIG = f"""
[alerts]
base_url = "https://monitor.example.org"
link_secret = "{SECRET}"
[alerts.channels.screen]
kind = "console"
[alerts.channels.off]
kind = "console"
enabled = false
[alerts.receivers.desk]
channels = ["screen"]
digest = "daily"
digest_at = "12:00"
[alerts.receivers.quiet]
channels = ["screen"]
digest = "hourly"
digest_when_quiet = false
digest_keys = []
[alerts.route]
receiver = "desk"
"""


@pytest.fixture(autouse=True)
def _configured(config: Path) -> None:
    config.write_text(CONFIG)


@pytest.fixture
def noon(fill: Fill) -> datetime:
    """When a digest was due. There was bad news an hour before."""

    async def some(store: Store) -> None:
        for key in (ALL, BANKS):
            await counted(store, key, {NOW: 5, NOW - 30 * HOUR: 2})
        await store.alerts.take(make_spike(key=BANKS), LIVE, HOUR)

    fill(some)
    return NOW + HOUR


def test_it_is_what_is_sent_at_that_time(run: Run, fill: Fill, noon: datetime) -> None:
    settings = AlertSettings.model_validate(
        {
            "channels": {"screen": {}},
            "receivers": {"desk": {"channels": ["screen"], "digest": "daily", "digest_at": "12:00"}},
            "route": {"receiver": "desk"},
        }
    )

    async def write(store: Store) -> str:
        digests = Digests(store, make_policy(settings, {"screen": Inbox(recipients=("console",))}))
        await digests.write_due(noon - 24 * HOUR, None)
        assert await digests.write_due(noon, None) == 1
        [delivery] = await store.deliveries.latest(limit=9)
        return delivery.notification.id

    shown = run("digests", "preview", "desk", "--at", noon.isoformat(), "--json").json
    assert run("deliveries", "--json").json == []
    assert shown["body"]["data"]["notification_id"] == fill(write)
    assert (shown["body"]["data"]["start"], shown["body"]["data"]["end"]) == (
        (noon - 24 * HOUR).strftime("%Y-%m-%dT%H:%M:%SZ"),
        noon.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    financials = next(row for row in shown["body"]["data"]["keys"] if row["name"] == "Financials")
    assert (financials["negative"], financials["before"]) == (5, 2)
    assert (shown["not_sent"], shown["recipients"]) == (None, ["screen to console"])
    assert datetime.fromisoformat(shown["next_due"]) > datetime.now(UTC)


def test_it_is_printed_and_written_as_html_without_links(run: Run, noon: datetime, tmp_path: Path) -> None:
    page = tmp_path / "digest.html"
    shown = run("digests", "preview", "desk", "--at", noon.isoformat(), "--html", str(page))
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith("[digest] ")
    assert "Financials                              5       2" in shown.out.replace("\u2068", "").replace("\u2069", "")
    written = page.read_text(encoding="utf-8")
    assert written.startswith("<!DOCTYPE html>")
    assert "Financials" in written
    for text in (shown.out, written):
        assert SECRET not in text
        assert "monitor.example.org" not in text
    with pytest.raises(ConfigError, match="--html: a file that can be written"):
        run("digests", "preview", "desk", "--html", str(tmp_path))


@pytest.mark.parametrize(
    ("receiver", "why"),
    [
        ("screen", "it asks for no digest"),
        ("quiet", "nothing happened, and digest_when_quiet is false"),
    ],
)
def test_why_it_is_not_sent(receiver: str, why: str, run: Run) -> None:
    shown = run("digests", "preview", receiver)
    assert (shown.code, "not sent: " + why in shown.err) == (0, True)
    assert shown.out.startswith("[digest] ")
    assert why in run("digests", "preview", receiver, "--json").json["not_sent"]


def test_a_receiver_without_channels_is_shown_too(run: Run, config: Path) -> None:
    config.write_text(CONFIG.replace('channels = ["screen"]\ndigest = "daily"', 'channels = ["off"]\ndigest = "daily"'))
    assert "not sent: no channel of it is enabled" in run("digests", "preview", "desk").err


def test_who_is_no_receiver_and_what_is_to_come_is_refused(run: Run) -> None:
    with pytest.raises(ConfigError, match=r'RECEIVER: unknown receiver "desc"; expected one of: .*desk'):
        run("digests", "preview", "desc")
    with pytest.raises(ConfigError, match="--at"):
        run("digests", "preview", "desk", "--at", "2999-01-01")
