"""Short outages, and a short overload: nothing is lost or doubled, no process ends, and what it logs names the remedy.

The same trials at length: python -m tests.acceptance.outages
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.bad_input import WRONG_PASSWORD, input_trial
from tests.acceptance.outages import outage_trial, smtp_trial
from tests.acceptance.overload import CARRIED_PER_S, FED_PER_S, overload_trial
from tests.postgres import Server, server


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as running:
        yield running


def lived_through(figures: dict[str, Any]) -> None:
    """All that went in is in the tables once, counted once; all processes lived, and stopped well when asked to."""
    assert figures["published"] == figures["stored"] == figures["counted_in_trends"] > 0
    assert (figures["lost"], figures["doubled"]) == (0, 0)
    assert figures["trends_equal_recount"]
    assert figures["died"] == {}
    assert set(figures["exit_codes"].values()) == {0}
    assert not figures["stack_traces"]
    hooks = figures["webhooks"]
    assert hooks["received"] == hooks["ids"] == hooks["verified"]


def warnings(figures: dict[str, Any], event: str) -> list[str]:
    """What was said of an event, whichever process said it."""
    found = [entry.get("samples", []) for name, entry in figures["log"].items() if name.endswith(f": {event}")]
    return [json.dumps(sample) for samples in found for sample in samples]


def test_the_broker_out_of_reach_and_the_database_server_stopped(postgres: Server, tmp_path: Path) -> None:
    figures = outage_trial(tmp_path / "stand", 2, postgres, quick=True)
    lived_through(figures)
    assert figures["webhooks"]["received"] > 0
    for part, setting in (("broker", "bus.kafka.bootstrap"), ("postgres", "database.url")):
        away = figures["away"][part]
        assert away["published_meanwhile"] > 0
        said = warnings(away, "stage_retries") + warnings(away, "feed_poll_not_saved")
        assert all(setting in line for line in said), said
    assert warnings(figures["away"]["postgres"], "heartbeat_not_saved")


def test_mail_servers_that_refuse(postgres: Server, tmp_path: Path) -> None:
    figures = smtp_trial(tmp_path / "stand", 2, postgres, quick=True)
    lived_through(figures)
    assert 0 < figures["webhooks_meanwhile"] <= figures["webhooks"]["received"] == figures["messages"]
    assert figures["mails"] == figures["mail_ids"] == dict.fromkeys(("absent", "busy"), figures["messages"])
    assert figures["put_off_with_451"]["busy"] > 0
    attempts = {(delivery["channel"], delivery["attempts"]) for delivery in figures["deliveries"]}
    assert attempts >= {("hook", 1), ("absent", 2), ("busy", 2)}
    said = [json.loads(line) for line in warnings(figures, "notification_failed")]
    assert {line["reason"] for line in said} == {"unreachable", "server_error"}
    assert all(datetime.fromisoformat(line["next_attempt_at"]).tzinfo for line in said)


def test_five_times_what_it_carries(postgres: Server, tmp_path: Path) -> None:
    figures = overload_trial(tmp_path / "stand", 3, postgres, quick=True)
    lived_through(figures)
    assert figures["carried_per_s"] <= CARRIED_PER_S < FED_PER_S / 4
    lags = [lag for _, lag in figures["lag_at_s"]]
    assert lags[0] < figures["lag_when_feeding_ends"] > CARRIED_PER_S
    assert lags[-1] == 0
    for memory in figures["memory_mb"].values():
        assert memory["looks"] > 2
        assert memory["grown_by"] < 50


def test_what_is_wrong_is_named_with_its_remedy(postgres: Server, tmp_path: Path) -> None:
    figures = input_trial(tmp_path, 0, postgres, quick=True)
    expected = {
        "wrong bootstrap address": (1, "bus.kafka.bootstrap", "check the address"),
        "wrong database password": (1, "database.url", "check user and password"),
        "read-only database": (1, "database.url", "default_transaction_read_only is off"),
        "kafka with SQLite": (2, "database.url", "expected postgresql+asyncpg://"),
    }
    assert set(figures["ends"]) == set(expected)
    for case, (code, setting, remedy) in expected.items():
        ended = figures["ends"][case]
        assert ended["exit_code"] == code
        assert setting in ended["message"]
        assert remedy in ended["message"]
        assert "Traceback" not in ended["message"]
    lived_through(figures["goes_on"])
    (letter,) = figures["goes_on"]["newer_schema"]
    assert (letter["stage"], letter["stream"], letter["reason"]) == ("classify", "articles", "schema_too_new")
    assert "schema version 99 is newer than" in letter["detail"]
    assert WRONG_PASSWORD not in json.dumps(figures)
