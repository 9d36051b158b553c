"""`monitor routes`, `silences` and `deliveries`: who would hear, who wants to hear nothing, and what went."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alerts.channel import fingerprint
from monitor.cli.silences import read_matchers
from monitor.clock import SystemClock
from monitor.domain.matchers import Matcher, Op
from monitor.errors import ConfigError, Reason
from monitor.settings import load
from monitor.storage.alerts import LIVE
from monitor.storage.deliveries import Endpoint
from monitor.storage.store import Store
from tests.command_line import Fill, Run
from tests.factories import NOW, make_notification, make_spike

HOUR = timedelta(hours=1)

ROUTES = """
[alerts.channels.mail]
kind = "console"
[alerts.channels.chat]
kind = "console"
[alerts.channels.off]
kind = "console"
enabled = false
[alerts.receivers.desk]
channels = ["mail", "off"]
[alerts.route]
receiver = "desk"
group_by = ["kind"]
[[alerts.route.routes]]
matchers = ['severity="critical"']
receiver = "chat"
continue = true
mute_time_intervals = ["nights"]
pass_severity = "critical"
[[alerts.route.routes]]
matchers = ['sector="Banks"']
group_by = ["..."]
repeat_interval_s = 60
mute_time_intervals = ["nights"]
[alerts.time_intervals]
nights = [{ times = [{ start_time = "20:00", end_time = "24:00" }] }]
[[alerts.labels]]
matchers = ['key="Northfield Bank"']
set = { sector = "Banks" }
"""


# Routes.


def test_the_tree_shows_what_each_route_inherits(run: Run, config: Path) -> None:
    config.write_text(ROUTES)
    root, first, second = run("routes", "--json").json
    assert [(one["depth"], one["receiver"], one["continue"]) for one in (root, first, second)] == [
        (0, "desk", False),
        (1, "chat", True),
        (1, "desk", False),
    ]
    assert (root["channels"], first["channels"]) == (["mail"], ["chat"])
    assert (root["group_by"], first["group_by"], second["group_by"]) == (["kind"], ["kind"], ["..."])
    assert (first["repeat_interval_s"], second["repeat_interval_s"]) == (14400, 60)
    assert first["matchers"] == ['severity="critical"']
    shown = run("routes", "show").out
    assert 'severity="critical", and goes on' in shown
    assert "not in nights; but from critical" in shown


def reached(run: Run, *arguments: str) -> dict[str, Any]:
    found = run("routes", "test", *arguments, "--json").json["reached"]
    return {one["path"]: one for one in found}


def test_whom_an_alert_would_reach_and_what_keeps_it_quiet_then(run: Run, config: Path) -> None:
    config.write_text(ROUTES)
    noon, night = "2026-03-04T12:00", "2026-03-04T21:00"
    plain = reached(run, "--key", "Northfield Steel", "--severity", "warning", "--at", night)
    assert list(plain) == ["{}"]
    assert plain["{}"]["recipients"] == {"mail": ["console"]}
    assert (plain["{}"]["group"], plain["{}"]["muted"]) == ({"kind": "entity"}, None)

    bank = run("routes", "test", "--key", "entity:Northfield Bank", "--severity", "critical", "--at", night, "--json")
    assert bank.json["labels"] == {
        "kind": "entity", "key": "Northfield Bank", "severity": "critical", "sector": "Banks",
    }  # fmt: skip
    chat, desk = bank.json["reached"]
    assert (chat["receiver"], chat["muted"]) == ("chat", None)
    assert (desk["receiver"], desk["muted"], desk["group"]) == ("desk", "nights", bank.json["labels"])
    assert reached(run, "--key", "all", "--label", "sector=Banks", "--at", noon).keys() == {'{}/{sector="Banks"}'}
    shown = run("routes", "test", "--key", "Northfield Bank", "--at", night).out
    assert "held back: nights" in shown
    assert "mail to console" in shown


def test_what_the_configuration_says_of_severity_is_told(run: Run, config: Path) -> None:
    config.write_text('[alerts]\nmin_severity = "severe"')
    shown = run("routes", "test", "--key", "financials").out
    assert "Nobody is told below severe (alerts.min_severity)." in shown
    assert "kind=topic, key=Financials" in shown
    assert "nobody: no channel of it is enabled" in shown


@pytest.mark.parametrize("label", ["sector", "=Banks", "severity=critical"])
def test_a_label_that_is_none_is_refused(label: str, run: Run) -> None:
    with pytest.raises(ConfigError, match="--label"):
        run("routes", "test", "--key", "all", "--label", label)


# Silences.

_NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
_VALUES = st.text(st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=("C", "Z")), min_size=1)
_WORDS = st.lists(_VALUES, min_size=1, max_size=3).map(" ".join)
_OPS: st.SearchStrategy[Op] = st.sampled_from(("=", "!="))


@given(_NAMES, _OPS, _WORDS)
@example("key", "=", "Silicon Valley Bank")
def test_a_matcher_is_read_with_its_quotes_and_after_the_shell_took_them(name: str, op: Op, value: str) -> None:
    wanted = Matcher(name, op, value)
    assert read_matchers(["kind=all", str(wanted)])[1] == wanted
    if not value.startswith(("~", "=")):  # key=~x is another operator
        assert read_matchers(["kind=all", f"{name}{op}{value}"])[1] == wanted


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["Silicon Valley Bank"], [("key", "=", "Silicon Valley Bank")]),
        (["topic:financials"], [("kind", "=", "topic"), ("key", "=", "Financials")]),
        (["key=~Silicon.*", "severity!=critical"], [("key", "=~", "Silicon.*"), ("severity", "!=", "critical")]),
        (["desk!~a b|c", "kind=all"], [("desk", "!~", "a b|c"), ("kind", "=", "all")]),
    ],
)
def test_matchers_as_people_type_them(given: list[str], expected: list[tuple[str, Op, str]]) -> None:
    assert read_matchers(given) == tuple(Matcher(*one) for one in expected)


@pytest.mark.parametrize("given", [["key=~("], ["kind=all", "word"], ["severity!=critical"], ["key=~.*"], ["key="]])
def test_matchers_that_are_none_or_match_everything_are_refused(given: list[str]) -> None:
    with pytest.raises(ConfigError, match="MATCHER"):
        read_matchers(given)


def test_a_silence_is_added_listed_and_ended(run: Run) -> None:
    made = run(
        "silences", "add", "Northfield Bank", "severity=warning", "--for", "2h", "--by", "mia", "--comment", "merger",
        "--json",
    ).json  # fmt: skip
    assert made["matchers"] == ['key="Northfield Bank"', 'severity="warning"']
    assert (made["author"], made["comment"], made["state"]) == ("mia", "merger", "active")
    [listed] = run("silences", "--json").json
    assert listed["id"] == made["id"]
    assert 'key="Northfield Bank"' in run("silences", "list").out
    assert "has ended" in run("silences", "expire", made["id"][:6]).out
    assert run("silences").out == "Silences: none\n"
    [over] = run("silences", "--expired", "--json").json
    assert over["state"] == "expired"
    again = run("silences", "expire", made["id"])
    assert (again.code, "is over already" in again.err) == (1, True)


def test_a_silence_may_begin_later_and_says_who_and_why(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "kim")
    now = SystemClock().now()
    start, end = (now + HOUR).isoformat(), (now + 3 * HOUR).isoformat()
    made = run("silences", "add", "kind=all", "--from", start, "--until", end, "--comment", "x", "--json").json
    assert (made["state"], made["author"]) == ("pending", "kim")
    assert "pending" in run("silences").out
    for wrong in (
        ("--until", now.isoformat()),
        (),
        ("--for", "2h", "--until", end),
        ("--for", "soon"),
        ("--for", "0h"),
    ):
        with pytest.raises(ConfigError, match=r"--for|--until"):
            run("silences", "add", "kind=all", "--comment", "x", *wrong)
    with pytest.raises(ConfigError, match="--comment"):
        run("silences", "add", "kind=all", "--comment", " ", "--for", "1h")


# Deliveries.


@pytest.fixture
def sent(fill: Fill) -> dict[str, str]:
    """A delivery of each state; their ids."""
    notifications = {
        state: make_notification(channel="mail" if state != "pending" else "chat", recipient=f"{state}@example.com")
        for state in ("delivered", "failed", "pending")
    }

    async def add(store: Store) -> None:
        await store.deliveries.add(list(notifications.values()), NOW, NOW + 72 * HOUR)
        for one in await store.deliveries.latest(limit=9):
            done = one._replace(attempts=3, next_attempt_at=None)
            if one.notification == notifications["delivered"]:
                await store.deliveries.log(done._replace(state="delivered", delivered_at=NOW))
            if one.notification == notifications["failed"]:
                await store.deliveries.log(done._replace(state="failed", reason=Reason.AUTH, detail="login refused"))
        await store.deliveries.note(Endpoint("chat", "f" * 64, disabled_at=NOW, detail="410 Gone"))

    fill(add)
    return {state: one.id for state, one in notifications.items()}


def test_deliveries_are_listed_and_shown(run: Run, sent: dict[str, str]) -> None:
    assert {one["notification"] for one in run("deliveries", "--json").json} == set(sent.values())
    [failed] = run("deliveries", "list", "--state", "failed", "--json").json
    assert (failed["notification"], failed["reason"], failed["attempts"]) == (sent["failed"], "auth", 3)
    assert [one["state"] for one in run("deliveries", "--channel", "chat", "--json").json] == ["pending"]
    assert run("deliveries", "--since", (NOW + HOUR).isoformat(), "--json").json == []
    listed = run("deliveries").out
    assert "auth: login refused" in listed
    assert "Channel chat is disabled since 2026-03-04 11:00 UTC (410 Gone)" in listed
    shown = run("deliveries", "show", sent["failed"][:10]).out
    assert "login refused" in shown
    assert "topic:Financials" in shown
    assert run("deliveries", "show", sent["failed"], "--json").json["notification_body"]["about"] == 1
    assert run("deliveries", "show", "zzz").code == 1


def test_what_was_given_up_is_retried_under_its_id(run: Run, sent: dict[str, str]) -> None:
    refused = run("deliveries", "retry", sent["delivered"])
    assert (refused.code, "delivered already" in refused.err) == (1, True)
    assert run("deliveries", "retry", "--failed", "--json").json == {"retried": 1, "held": []}
    [again] = run("deliveries", "list", "--channel", "mail", "--state", "pending", "--json").json
    assert again["notification"] == sent["failed"]
    assert again["next_attempt_at"] > NOW.isoformat()
    assert "1 put before the daemon again" in run("deliveries", "retry", sent["pending"][:8]).out
    with pytest.raises(ConfigError, match="expected ids of deliveries, or --failed"):
        run("deliveries", "retry")


def test_a_retry_says_which_channels_want_to_be_left_alone(
    run: Run, sent: dict[str, str], fill: Fill, config: Path
) -> None:
    """As long as they are set as when they asked; and what waits for them goes at once when they are enabled."""
    config.write_text(ROUTES)
    mine = fingerprint(load(config).alerts.channels["chat"])
    until = SystemClock().now() + HOUR

    def asked(**fields: Any) -> None:
        fill(lambda store: store.deliveries.note(Endpoint("chat", **{"fingerprint": mine, **fields})))

    asked(not_before=until, detail="answered 429")
    told = run("deliveries", "retry", sent["pending"]).out
    assert "1 put before the daemon again" in told
    assert f"Channel chat is left alone until {until:%Y-%m-%d %H:%M} UTC (answered 429), as it asked" in told
    assert "`monitor deliveries enable chat` has it tried at once" in told
    [held] = run("deliveries", "retry", sent["pending"], "--json").json["held"]
    assert (held["channel"], held["disabled_at"]) == ("chat", None)
    assert "chat" not in run("deliveries", "retry", "--failed").out  # by mail alone
    asked(disabled_at=NOW)
    assert "Channel chat is disabled since 2026-03-04" in run("deliveries", "retry", sent["pending"]).out
    for over in ({"not_before": NOW}, {"not_before": until, "fingerprint": "f" * 64}):
        asked(**over)
        assert run("deliveries", "retry", sent["pending"], "--json").json == {"retried": 1, "held": []}


@pytest.mark.parametrize("blank", ["", " "])
def test_no_id_is_not_every_id(blank: str, run: Run, sent: dict[str, str], fill: Fill) -> None:
    """As a variable of the shell gives it that is not set."""
    silence = run("silences", "add", "kind=all", "--for", "1h", "--comment", "x", "--json").json
    fill(lambda store: store.alerts.take(make_spike(), LIVE, HOUR))
    commands = [
        *(("silences", "expire", blank), ("silences", "expire", silence["id"], blank)),
        ("silences", "update", blank, "--for", "2h"),
        *(("alerts", command, blank) for command in ("show", "ack", "verify")),
        *(("deliveries", command, blank) for command in ("show", "retry")),
        *(("spikes", "show", blank), ("dead-letters", "replay", blank)),
    ]
    for command in commands:
        with pytest.raises(ConfigError, match="ID: expected an id, or the start of one"):
            run(*command)
    assert [one["ends_at"] for one in run("silences", "--json").json] == [silence["ends_at"]]
    assert [one["acked_at"] for one in run("alerts", "--json").json] == [None]
    assert run("alerts", "show", run("alerts", "--json").json[0]["id"][0]).code == 0  # one letter will do


def test_a_channel_that_was_disabled_is_enabled_once(run: Run, sent: dict[str, str], config: Path) -> None:
    config.write_text(ROUTES)
    assert "Channel chat is tried again" in run("deliveries", "enable", "chat").out
    assert "is disabled" not in run("deliveries").out
    refused = run("deliveries", "enable", "chat")
    assert (refused.code, "nothing keeps channel 'chat'" in refused.err) == (1, True)
    with pytest.raises(ConfigError, match='unknown channel "nosuch"; expected one of: chat, mail, off'):
        run("deliveries", "enable", "nosuch")


def test_an_id_stays_whole_on_a_narrow_terminal(
    run: Run, sent: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.cli.output.console.width", 80)
    shown = run("deliveries").out
    assert {one[:8] for one in sent.values()} <= set(shown.split())
    # Nothing is cut at the edge: folded, the last column still holds all of its text.
    assert "auth:loginrefused" in "".join("".join(line[72:].split()) for line in shown.splitlines())
