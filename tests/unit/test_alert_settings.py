"""[alerts]: what one table says of another must be true, and every mistake is told by its key."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from monitor.alert_settings import AlertSettings, Receiver
from monitor.domain.matchers import parse
from monitor.domain.windows import ALL, Key
from monitor.errors import ConfigError
from monitor.settings import Settings, load, of

CHANNELS = """
[alerts.channels.mail]
kind = "console"
[alerts.channels.chat]
kind = "console"
[alerts.channels.old]
kind = "console"
enabled = false
"""
SECRET = "hunter2-" * 4


def write(folder: Path, text: str, channels: str = CHANNELS) -> Path:
    path = folder / "config.toml"
    path.write_text(text + channels, encoding="utf-8")
    return path


def mistakes(path: Path) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return dict(caught.value.mistakes)


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        ("[alerts.route]\nreceiver = 'mial'", "route.receiver",
         'unknown receiver "mial"; expected one of: chat, mail, old'),
        ("[alerts.receivers.desk]\nchannels = ['mail']\n[[alerts.route.routes]]\nreceiver = 'dsek'",
         "route.routes.0.receiver", 'unknown receiver "dsek"; expected one of: chat, default, desk, mail, old'),
        ("[[alerts.route.routes]]\n[[alerts.route.routes.routes]]\n[[alerts.route.routes.routes]]\nreceiver = 'x'",
         "route.routes.0.routes.1.receiver", "unknown receiver"),
        ("[alerts.route]\nreceiver = 'mail'\n[[alerts.route.routes]]\nreceiver = 'default'",
         "route.routes.0.receiver", 'unknown receiver "default"'),
        ("[alerts.receivers.desk]\nchannels = ['mail', 'caht']", "receivers.desk.channels.1",
         'unknown channel "caht"; expected one of: chat, mail, old'),
        ("[alerts.receivers.desk]\nchannels = ['mail', 'mail']", "receivers.desk.channels", "named twice: mail"),
        ("[alerts.receivers.desk]", "receivers.desk.channels", "required"),
        ("[alerts.receivers.desk]\nchannels = []\nbudget = 3", "receivers.desk.budget", "unknown key"),
        ("[alerts.receivers.desk]\nchannels = []\nbudget_per_day = -1", "receivers.desk.budget_per_day", "greater"),
        ("[alerts.receivers.desk]\nchannels = []\ndigest = 'weekly'", "receivers.desk.digest", "hourly"),
        ("[alerts.receivers.desk]\nchannels = []\ndigest_at = '7:30'", "receivers.desk.digest_at", "HH:MM"),
        ("[alerts.receivers.desk]\nchannels = []\ndigest_at = '24:00'", "receivers.desk.digest_at", "23:59"),
        ("[alerts.receivers.desk]\nchannels = []\ntime_zone = 'Europe/Londn'", "receivers.desk.time_zone",
         "unknown time zone"),
        ("[alerts.receivers.desk]\nchannels = []\ndigest_keys = ['topics']", "receivers.desk.digest_keys",
         'unknown key "topics"; expected a kind (all, topic, source, entity)'),
        ("[alerts.receivers.desk]\nchannels = []\ndigest_keys = ['entity:']", "receivers.desk.digest_keys", "unknown"),
        ("[alerts.receivers.desk]\nchannels = []\ndigest_keys = ['topic:Banks']", "receivers.desk.digest_keys",
         'unknown topic "Banks"'),
        ("[[alerts.route.routes]]\nmute_time_intervals = ['nights']", "route.routes.0.mute_time_intervals.0",
         'unknown time interval "nights"; expected one of: (there is none)'),
        ("[alerts.route]\nactive_time_intervals = ['on', 'off']\n[alerts.time_intervals]\non = [{}]",
         "route.active_time_intervals.1", 'unknown time interval "off"; expected one of: on'),
        ("[alerts.time_intervals]\non = [{ weekdays = ['mon'] }]", "time_intervals.on.0.weekdays.0", "monday"),
        ("[[alerts.route.routes]]\nmatchers = ['kind=all', 'key=~\"(\"']", "route.routes.0.matchers.1",
         "no regular expression of RE2: '('"),
        ("[[alerts.route.routes]]\nmatchers = ['kind']", "route.routes.0.matchers.0", "no matcher: 'kind'"),
        ("[alerts.route]\nmatchers = ['kind=all']", "route.matchers", "unknown key"),
        ("[alerts.route]\ngroup_by = ['...', 'key']", "route.group_by", "expected it alone"),
        ("[[alerts.route.routes]]\ncontinue = 'perhaps'", "route.routes.0.continue", "boolean"),
        ("[[alerts.inhibit]]\nsource_matchers = []\ntarget_matchers = ['kind=all']", "inhibit.0.source_matchers",
         "at least one matcher"),
        ("[[alerts.inhibit]]\nsource_matchers = ['kind=all']\ntarget_matchers = ['=']",
         "inhibit.0.target_matchers.0", "no matcher"),
        ("[[alerts.labels]]\nset = { sector = 'x' }\n[[alerts.labels]]\nset = { kind = 'x' }", "labels.1.set.kind",
         "every alert has this label already"),
        ("[[alerts.labels]]\nmatchers = ['kind=all']", "labels.0.set", "required"),
        ("[[alerts.labels]]\nset = {}", "labels.0.set", "at least 1"),
        ("[alerts]\nbase_url = 'https://monitor.example'", "link_secret", "missing; base_url needs it"),
        ("[alerts]\nlink_secret = 'hunter2'", "link_secret", "at least 32 characters"),
        ("[alerts]\nlink_secret_file = 'absent'", "link_secret", "cannot read"),
        ("[alerts]\nlabels_file = 'absent.csv'", "labels_file", "cannot read"),
        ("[alerts]\nrepeat_interval_s = -1", "repeat_interval_s", "greater"),
        ("[alerts]\nlink_days = 0", "link_days", "greater"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_its_key(text: str, key: str, why: str, tmp_path: Path) -> None:
    found = mistakes(write(tmp_path, text))
    assert list(found) == [f"alerts.{key}"]
    assert why in found[f"alerts.{key}"]
    assert "hunter2" not in found[f"alerts.{key}"]


@pytest.mark.parametrize(
    "url",
    [
        "monitor.example", "ftp://monitor.example", "https://", "https://user:hunter2@monitor.example",
        "https://monitor.example/?q=1", "https://monitor.example/#a", "https://monitor.example/\r\nBcc: a",
        "https://[monitor", "https://monitor.example:99999", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_links_begin_with_an_address_of_the_web(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AlertSettings.model_validate({"base_url": url, "link_secret": SECRET})
    (error,) = caught.value.errors()
    assert error["loc"] == ("base_url",)
    assert "hunter2" not in str(caught.value)


def test_links_may_begin_with_a_path() -> None:
    given = {"base_url": "https://monitor.example:8443/news/", "link_secret": SECRET}
    assert AlertSettings.model_validate(given).base_url == "https://monitor.example:8443/news"


def test_the_mistakes_between_tables_are_told_together(tmp_path: Path) -> None:
    text = """
        [alerts]
        base_url = "https://monitor.example"
        labels_file = "absent.csv"
        [alerts.route]
        receiver = "x"
        mute_time_intervals = ["y"]
        [alerts.receivers.desk]
        channels = ["z"]
    """
    assert set(mistakes(write(tmp_path, text))) == {
        "alerts.link_secret", "alerts.labels_file", "alerts.route.receiver", "alerts.route.mute_time_intervals.0",
        "alerts.receivers.desk.channels.0",
    }  # fmt: skip


def test_a_broken_channel_is_told_as_such_and_may_be_named(tmp_path: Path) -> None:
    text = "[alerts.receivers.desk]\nchannels = ['bad']\n[alerts.channels.bad]\nkind = 'pigeon'"
    assert set(mistakes(write(tmp_path, text))) == {"alerts.channels.bad.kind"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", 'no column "key"'),
        ("name,sector\nA,B\n", 'no column "key"'),
        ("key,sector\nA,B\nC\n", "line 3: 1 cells; expected 2"),
        ("key,sector\nA,B,C\n", "line 2: 3 cells; expected 2"),
        ("key,sector\nA,B\n\n a ,C\n", "line 4: ' a ' stands there twice"),
        ("key,sector\n,B\n", "line 2: key is empty"),
        ("key,severity\nA,B\n", 'column "severity"'),
        ("key,sector,sector\nA,B,C\n", "each column needs a name of its own"),
        ("key,\nA,B\n", "each column needs a name of its own"),
        ('key,sector\n"A,B\n', "line 2: unexpected end of data"),
        ("key,sector\nA,\xff\n", "is not UTF-8 text"),
    ],
)
def test_a_labels_file_that_cannot_be_used_is_told_with_its_line(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "companies.csv").write_bytes(text.encode("latin-1"))
    found = mistakes(write(tmp_path, '[alerts]\nlabels_file = "companies.csv"\n'))
    assert list(found) == ["alerts.labels_file"]
    assert why in found["alerts.labels_file"]


def test_the_labels_file_lies_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "companies.csv").write_text('key,sector\n"Straße, Söhne",Retail\n', encoding="utf-8")
    monkeypatch.chdir("/")
    settings = load(write(tmp_path, '[alerts]\nlabels_file = "companies.csv"\n')).alerts
    assert settings.labels_by_key == {"strasse, söhne": {"sector": "Retail"}}
    assert settings.labels_file == tmp_path / "companies.csv"


def channels(settings: Settings) -> dict[str, tuple[str, ...]]:
    return {name: receiver.channels for name, receiver in settings.alerts.receivers_resolved().items()}


def test_a_channel_is_a_receiver_and_all_are_the_default(tmp_path: Path) -> None:
    assert channels(load(write(tmp_path, ""))) == {
        "mail": ("mail",), "chat": ("chat",), "old": (), "default": ("mail", "chat"),
    }  # fmt: skip


def test_a_receiver_of_the_file_stands_for_the_channel_of_its_name(tmp_path: Path) -> None:
    text = """
        [alerts.route]
        receiver = "desk"
        [alerts.receivers.desk]
        channels = ["chat", "old", "mail"]
        budget_per_day = 5
        [alerts.receivers.mail]
        channels = ["mail", "chat"]
        [alerts.receivers.late]
        channels = ["old"]
        [alerts.receivers.nobody]
        channels = []
    """
    settings = load(write(tmp_path, text))
    assert channels(settings) == {
        "chat": ("chat",), "old": (), "desk": ("chat", "mail"), "mail": ("mail", "chat"), "late": (), "nobody": (),
    }  # fmt: skip
    assert settings.alerts.receivers_resolved()["desk"].budget_per_day == 5


def test_default_may_be_a_receiver_of_the_file(tmp_path: Path) -> None:
    text = "[alerts.receivers.default]\nchannels = ['chat']\n"
    assert channels(load(write(tmp_path, text)))["default"] == ("chat",)


def test_without_a_channel_the_default_reaches_nobody() -> None:
    assert {name: found.channels for name, found in AlertSettings().receivers_resolved().items()} == {"default": ()}


def test_the_environment_sets_what_is_nested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_ALERTS__RECEIVERS", '{"desk": {"channels": ["mail"], "digest": "daily"}}')
    monkeypatch.setenv("MONITOR_ALERTS__ROUTE__RECEIVER", "desk")
    monkeypatch.setenv(
        "MONITOR_ALERTS__ROUTE__ROUTES", '[{"matchers": ["kind=all"], "continue": true, "receiver": "chat"}]'
    )
    monkeypatch.setenv("MONITOR_ALERTS__INHIBIT", "[]")
    monkeypatch.setenv("MONITOR_ALERTS__LINK_SECRET", SECRET)
    alerts = load(write(tmp_path, "[alerts.route]\ngroup_by = ['key']\n")).alerts
    assert alerts.root_receiver == "desk"
    assert alerts.route.group_by == ("key",)
    assert alerts.receivers["desk"].digest == "daily"
    assert alerts.route.routes[0].matchers == (parse("kind=all"),)
    assert alerts.route.routes[0].continue_
    assert alerts.inhibit == ()


def test_a_wrong_variable_is_told_by_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_ALERTS__RECEIVERS", '{"desk": {"channels": ["fax"]}}')
    monkeypatch.setenv("MONITOR_ALERTS__ROUTE__RECEIVER", "disk")
    assert set(mistakes(write(tmp_path, ""))) == {"alerts.receivers.desk.channels.0", "alerts.route.receiver"}


def test_what_is_printed_is_what_was_given_and_no_secret() -> None:
    given = {
        "alerts": {
            "base_url": "https://monitor.example",
            "link_secret": SECRET,
            "route": {"routes": [{"matchers": ["kind = all"], "continue": True, "pass_severity": "severe"}]},
            "time_intervals": {"nights": [{"weekdays": ["monday:friday"]}]},
        }
    }
    settings = of(given)
    printed = settings.model_dump(mode="json")["alerts"]
    assert printed["route"]["routes"][0]["matchers"] == ['kind="all"']
    assert printed["route"]["routes"][0]["continue"] is True
    assert printed["time_intervals"]["nights"][0]["weekdays"] == ["monday:friday"]
    assert printed["inhibit"] == [
        {"source_matchers": ['kind="all"'], "target_matchers": ['kind=~"topic|source"'], "equal": []}
    ]
    assert "hunter2" not in f"{json.dumps(printed)}{settings!r}{settings.alerts}"
    again = AlertSettings.model_validate({**printed, "link_secret": SECRET})
    assert again == settings.alerts


@pytest.mark.parametrize(
    ("keys", "watched"),
    [
        (("all", "topic"), [True, True, False]),
        (("topic:Financials", "entity:Delmar: Steel"), [False, True, True]),
        (("topic:IPO",), [False, False, False]),
        ((), [False, False, False]),
    ],
)
def test_which_keys_stand_in_a_digest(keys: tuple[str, ...], watched: list[bool]) -> None:
    receiver = Receiver.model_validate({"channels": [], "digest_keys": keys})
    found: list[Any] = [ALL, Key("topic", "Financials"), Key("entity", "Delmar: Steel")]
    assert [receiver.watches(key) for key in found] == watched
    assert (receiver.digest_time.hour, receiver.digest_time.minute) == (7, 30)


@pytest.mark.parametrize(("levels", "told"), [(50, False), (51, True)])
def test_a_tree_that_nobody_could_read_is_refused(tmp_path: Path, levels: int, told: bool) -> None:
    tree: dict[str, Any] = {}
    for _ in range(levels):
        tree = {"routes": [tree]}
    if not told:
        assert AlertSettings.model_validate({"route": tree}).route.routes
        return
    with pytest.raises(ValidationError, match="flatter"):
        AlertSettings.model_validate({"route": tree})


def test_tables_too_deep_to_be_read_are_a_mistake_like_others(tmp_path: Path) -> None:
    path = write(tmp_path, "[alerts.route]\nroutes = " + "[{ routes = " * 400 + "[]" + " }]" * 400 + "\n")
    assert any("too deep" in why or "flatter" in why for why in mistakes(path).values())
