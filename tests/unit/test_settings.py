"""Settings: complete in the shipped file, every mistake told, secrets never."""

import functools
import operator
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from monitor.errors import ConfigError
from monitor.plugins import SecretFiles, kinds
from monitor.settings import Settings, find_config, load

SHIPPED = Path(__file__).parents[2] / "config.toml"
_UNSET = re.compile(r"^# (?:(\w+) = |\[+alerts\.(\w+))", re.MULTILINE)
_EXAMPLE = re.compile(r"^# ((?:\w+ = |\[+alerts\.).*)$", re.MULTILINE)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MONITOR_CONFIG", "MONITOR_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(path: Path) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert len({mistake.key for mistake in caught.value.mistakes}) == len(caught.value.mistakes)
    return dict(caught.value.mistakes)


def leaves(settings: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Every setting by its key; feeds and channels, which are lists of their own, left out."""
    found: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value, key = getattr(settings, name), f"{prefix}{name}"
        if isinstance(value, SecretFiles):
            found |= leaves(value, f"{key}.")
        elif key not in ("feeds", "alerts.channels"):
            found[key] = value
    return found


def test_the_shipped_file_states_every_default(tmp_path: Path) -> None:
    defaults = leaves(load(write(tmp_path, "")))
    shipped = leaves(load(SHIPPED))
    for beside in ("data_dir", "models.folder"):  # the file, wherever that is
        defaults.pop(beside), shipped.pop(beside)
    assert shipped == defaults


def test_the_shipped_file_shows_every_setting() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    given = tomllib.loads(text)
    unset = {name or table for name, table in _UNSET.findall(text)}
    for key in leaves(load(SHIPPED)):
        *sections, name = key.split(".")
        table = functools.reduce(operator.getitem, sections, given)
        assert name in table or name in unset, key


def test_the_shipped_file_has_feeds_enough_each_once() -> None:
    feeds = load(SHIPPED).feeds
    addresses = [feed.url.rstrip("/").lower() for feed in feeds.values()]
    assert len(addresses) == len(set(addresses)) >= 15
    for name, feed in feeds.items():
        assert feed.group, name
        assert feed.interval_s, name
        assert feed.url.startswith("https://"), name
    assert sum(feed.enabled for feed in feeds.values()) >= 15


def test_the_examples_in_the_shipped_file_work_as_they_stand(tmp_path: Path) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + "c2VjcmV0" * 4)
    (tmp_path / "service").write_text("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#news")
    lines = [line for line in _EXAMPLE.findall(text) if not line.startswith(("name =", 'url = "postgresql'))]
    examples = "\n".join(lines[next(i for i, line in enumerate(lines) if line.startswith("[")) :])
    examples = examples.replace('"/run/secrets/slack_url"', f'"{tmp_path / "service"}"')
    examples = re.sub(r"\"/run/secrets/\w+\"", f'"{secret}"', examples)
    found = load(write(tmp_path, examples)).alerts
    assert {"email", "webhook", "apprise"} <= {channel.kind for channel in found.channels.values()}
    assert found.route.routes
    assert found.route.routes[1].routes
    assert set(found.receivers) == {"banks"}
    assert len(found.time_intervals) == 3
    assert found.labels


def test_environment_beats_file_beats_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "[http]\ntimeout_s = 5\nper_host = 3\n[detector]\nprior_weight = 2\nprior_per_day = 2\n")
    monkeypatch.setenv("MONITOR_HTTP__TIMEOUT_S", "7")
    monkeypatch.setenv("MONITOR_DETECTOR__PRIOR_WEIGHT", "3")
    monkeypatch.setenv("MONITOR_CLASSIFY__LANGUAGES", '["en", "de"]')
    monkeypatch.setenv("MONITOR_LOG__JSON_LINES", "true")
    monkeypatch.setenv("MONITOR_ALERTS__CHANNELS__DESK__KIND", "console")
    monkeypatch.setenv("MONITOR_TEST_WHATEVER", "is no setting")
    settings = load(path)
    assert (settings.http.timeout_s, settings.http.per_host, settings.http.concurrency) == (7, 3, 16)
    assert (settings.detector.prior_weight, settings.detector.prior_per_day) == (3, 2)
    assert settings.classify.languages == {"en", "de"}
    assert settings.log.json_lines is True
    assert list(settings.alerts.channels) == ["desk"]


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("MONITOR_UNHEARD_OF", "1", "MONITOR_UNHEARD_OF"),
        ("MONITOR_HTTPS__TIMEOUT_S", "1", "MONITOR_HTTPS__TIMEOUT_S"),
        ("MONITOR_HTTP__UNHEARD_OF", "1", "http.unheard_of"),
        ("MONITOR_HTTP", "1", "http"),
        ("MONITOR_HTTP__TIMEOUT_S", "", "http.timeout_s"),
        ("MONITOR_HTTP__TIMEOUT_S__MORE", "1", "http.timeout_s"),
        ("MONITOR_FEEDS", "[1", "feeds"),
        ("MONITOR_FEEDS", "[1]", "feeds"),
        ("MONITOR_FEEDS__WIRE", "https://wire.example", "feeds.wire"),
        ("MONITOR_DETECTOR__KIND", "guess", "detector.kind"),
        ("MONITOR_CLASSIFIER", "lexicon", "classifier"),
        ("MONITOR_ALERTS__CHANNELS__DESK__URL", "x", "alerts.channels.desk.kind"),
    ],
)
def test_a_wrong_variable_is_named(
    name: str, value: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert list(mistakes(write(tmp_path, ""))) == [key]


def test_every_mistake_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_BUS__PARTITIONS", "0")
    found = mistakes(
        write(
            tmp_path,
            """
            unheard_of = 1
            aggregate = "yes"
            [ingest]
            jitter = 2
            [database]
            retention = 3
            [detect]
            keys = ["moon"]
            [feeds.a]
            url = "ftp://a"
            colour = "red"
            [feeds.b]
            kind = "carrier"
            [feeds]
            c = 3
            [alerts.channels.d]
            """,
        )
    )
    assert set(found) == {
        "unheard_of", "aggregate", "bus.partitions", "ingest.jitter", "database.retention", "detect.keys.0",
        "feeds.a.url", "feeds.a.colour", "feeds.b.kind", "feeds.c", "alerts.channels.d.kind",
    }  # fmt: skip
    assert found["unheard_of"] == found["feeds.a.colour"] == "unknown key"
    assert found["feeds.b.kind"].endswith("expected one of: feed, replay")


@pytest.mark.parametrize("kind", sorted(kinds("alerts.channels")))
def test_a_secret_is_never_in_a_mistake(kind: str, tmp_path: Path) -> None:
    text = f"""
        [alerts.channels.a]
        kind = "{kind}"
        url = "hunter2"
        secret = "hunter2"
        password = "hunter2"
        host = "hunter2 hunter2"
        hunter = "hunter2"
        [alerts.channels]
        secret = "hunter2"
        [feeds.b]
        url = "hunter2"
        [database]
        password = "hunter2"
    """
    told = mistakes(write(tmp_path, text))
    assert len(told) > 3
    assert "hunter2" not in "".join(told.values())


def test_a_secret_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "good").write_text("hunter2\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    mail = 'kind = "email"\nhost = "h"\nusername = "u"\nsender = "a@b.example"\nto = ["c@b.example"]'
    good = write(tmp_path, f'[alerts.channels.a]\n{mail}\npassword_file = "{tmp_path}/good"')
    config = load(good).alerts.channels["a"]
    assert config.password.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{config!r}{config}{config.model_dump_json()}"
    for given, why in (
        (f'password_file = "{tmp_path}/missing"', "cannot read"),
        (f'password_file = "{tmp_path}/binary"', "does not hold text"),
        (f'password_file = "{tmp_path}"', "cannot read"),
        ("password_file = 3", "expected a path"),
        (f'password = "x"\npassword_file = "{tmp_path}/good"', "expected one of them"),
    ):
        told = mistakes(write(tmp_path, f"[alerts.channels.a]\n{mail}\n{given}"))
        assert list(told) == ["alerts.channels.a.password"]
        assert why in told["alerts.channels.a.password"]


@pytest.mark.parametrize(
    ("days", "alerts", "least"),
    [
        (-1, "", None),
        (0, "", 0),
        (2, "", 3),
        (3, "", 0),
        (0, "story_memory_h = 2000", 0),
        (10, "story_memory_h = 240", 11),
        (11, "story_memory_h = 240", 0),
        (15, "horizon_h = 336.5", 16),
        (16, "horizon_h = 336.5", 0),
    ],
)
def test_alerts_are_kept_as_long_as_anybody_looks_back(
    days: int, alerts: str, least: int | None, tmp_path: Path
) -> None:
    path = write(tmp_path, f"[database]\nalert_retention_days = {days}\n[alerts]\n{alerts}\n")
    if least == 0:
        assert load(path).database.alert_retention_days == days
        return
    found = mistakes(path)
    assert list(found) == ["database.alert_retention_days"]
    assert least is None or f"expected 0, or at least {least}:" in found["database.alert_retention_days"]


def test_the_data_folder_lies_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert load(write(tmp_path, "")).data_dir == tmp_path / "data"
    assert load(write(tmp_path, 'data_dir = "/elsewhere"')).data_dir == Path("/elsewhere")


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="MONITOR_CONFIG"):
        find_config(None)
    here = write(tmp_path, "")
    assert find_config(None).resolve() == here
    other = tmp_path / "other.toml"
    other.touch()
    monkeypatch.setenv("MONITOR_CONFIG", str(other))
    assert find_config(None) == other
    assert find_config(here) == here


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""))
    for target in (settings, settings.http, settings.classifier):
        with pytest.raises(ValueError, match="frozen"):
            setattr(target, next(iter(type(target).model_fields)), None)


def test_every_setting_says_what_it_is() -> None:
    waiting: list[type[BaseModel]] = [Settings]
    while waiting:
        model = waiting.pop()
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                waiting.append(field.annotation)
            else:
                assert field.description, f"{model.__name__}.{name}"
