"""The container of the pages is told what the program knows, and is as shut as the others."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.app import RUNNABLE
from monitor.settings import ENV_PREFIX, load
from monitor.web.build import require_links

ROOT = Path(__file__).parents[3]
BASE: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text(encoding="utf-8"))
OVER: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.web.yaml").read_text(encoding="utf-8"))
WEB, ALERTS = OVER["services"]["web"], OVER["services"]["alerts"]
_ADDRESS = "https://monitor.example.org"


def test_it_is_a_service_beside_those_there_are() -> None:
    assert WEB["command"] == ["run", "web"]
    assert WEB["command"][-1] in RUNNABLE
    assert "web" not in BASE["services"]
    assert set(OVER["services"]) == {"web", "alerts"}


@pytest.mark.parametrize("name", ["web", "alerts"])
def test_its_settings_exist_and_links_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "database_url").write_text("postgresql+asyncpg://monitor@postgres/monitor")
    (tmp_path / "link_secret").write_text("a-secret-of-at-least-32-characters")
    environment = BASE["services"]["alerts"]["environment"] | OVER["services"][name]["environment"]
    for variable, value in environment.items():
        if variable.startswith(ENV_PREFIX):
            given = _ADDRESS if value.startswith("${") else value.replace("/run/secrets", str(tmp_path))
            monkeypatch.setenv(variable, given)
    settings = load(ROOT / "config.toml")
    assert require_links(settings)
    assert settings.alerts.base_url == _ADDRESS
    if name == "web":
        assert settings.web.host == "0.0.0.0"
        assert WEB["ports"] == [f"127.0.0.1:{settings.web.port}:{settings.web.port}"]


def test_secrets_come_from_files() -> None:
    known = BASE["secrets"] | OVER["secrets"]
    assert OVER["secrets"] == {"link_secret": {"file": "./secrets/link_secret"}}
    assert set(WEB["secrets"]) <= set(known)
    for variable, value in WEB["environment"].items():
        if value.startswith("/run/secrets/"):
            assert variable.endswith("_FILE")
            assert value.removeprefix("/run/secrets/") in WEB["secrets"]


def test_it_can_do_no_more_than_the_other_services() -> None:
    like = BASE["services"]["aggregate"]
    for name in ("image", "restart", "init", "stop_grace_period", "read_only", "cap_drop", "security_opt", "logging"):
        assert WEB[name] == like[name], name
    assert set(like["environment"]) <= set(WEB["environment"])
    assert WEB["depends_on"] == like["depends_on"]
    assert WEB["configs"] == like["configs"]
    assert set(WEB["networks"]) <= {*BASE["networks"], *OVER["networks"]}
