"""Secrets of the sections may be in files: named in the file or in the environment, told of by key, never shown."""

from pathlib import Path

import pytest

from monitor.errors import ConfigError
from monitor.settings import load

URL = "postgresql+asyncpg://monitor:hunter2@postgres/monitor"


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_variable_may_name_the_file_of_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text(f"{URL}\n")
    (tmp_path / "proxy").write_text("http://user:hunter2@proxy.example:3128")
    monkeypatch.setenv("MONITOR_DATABASE__URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("MONITOR_HTTP__PROXY_FILE", str(tmp_path / "proxy"))
    settings = load(write(tmp_path, ""))
    assert settings.database.url == URL
    assert settings.http.proxy is not None
    assert settings.http.proxy.get_secret_value() == "http://user:hunter2@proxy.example:3128"


def test_a_path_starts_at_the_folder_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/url").write_text(URL)
    monkeypatch.chdir("/")
    assert load(write(tmp_path, '[database]\nurl_file = "secrets/url"')).database.url == URL


@pytest.mark.parametrize(
    ("holds", "text", "why"),
    [
        (None, "", "cannot read"),
        (b"", "", "is empty"),
        (b" \n", "", "is empty"),
        (b"\xff\xfe\x00", "", "does not hold text"),
        (URL.encode(), f'[database]\nurl = "{URL}"', "expected one of them"),
    ],
)
def test_a_secret_that_cannot_be_had_is_told_by_its_key(
    holds: bytes | None, text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    if holds is not None:
        secret.write_bytes(holds)
    monkeypatch.setenv("MONITOR_DATABASE__URL_FILE", str(secret))
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    (mistake,) = caught.value.mistakes
    assert mistake.key == "database.url"
    assert "url_file" in mistake.expected
    assert why in mistake.expected
    assert "hunter2" not in mistake.expected


def test_what_is_no_secret_has_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_HTTP__USER_AGENT_FILE", str(tmp_path / "agent"))
    with pytest.raises(ConfigError, match=r"http\.user_agent_file"):
        load(write(tmp_path, ""))
