"""docs/alerts.md: its example is a configuration, and does what the page says of it."""

import re
from pathlib import Path

import pytest

from alerts.doubts import doubts
from alerts.inhibit import inhibited
from alerts.labels import Labels
from alerts.routes import Routes
from monitor.alert_settings import AlertSettings
from monitor.cli.output import print_tree
from monitor.cli.routes import tree
from monitor.domain.record import utc
from monitor.domain.spikes import Severity
from monitor.domain.windows import ALL, Key
from monitor.errors import ConfigError
from monitor.settings import load

PAGE = Path(__file__).parents[3] / "docs" / "alerts.md"
SILICON = Key("entity", "Silicon Valley Bank")
NORTHFIELD = Key("entity", "Northfield Bank")
ENERGY = Key("topic", "Energy | Oil")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The example as a file, beside the CSV of the page."""
    text = PAGE.read_text(encoding="utf-8")
    example = next(re.finditer(r"```toml\n(.*?)```", text, re.DOTALL)).group(1)  # the first: those after it are parts
    (rows,) = re.findall(r"```text\n( *key,.*?)```", text, re.DOTALL)
    (tmp_path / "companies.csv").write_text("\n".join(line.strip() for line in rows.strip().splitlines()))
    (tmp_path / "secret").write_text("whsec_" + "c2VjcmV0" * 4)
    path = tmp_path / "config.toml"
    path.write_text(example.replace("/run/secrets/webhook_secret", "secret"), encoding="utf-8")
    return path


@pytest.fixture
def example(config: Path) -> AlertSettings:
    return load(config).alerts


def reached(settings: AlertSettings, key: Key, severity: Severity) -> dict[str, tuple[str, ...]]:
    """The channels by the path of the route."""
    receivers = settings.receivers_resolved()
    found = Routes(settings).match(Labels(settings).of(key, severity))
    return {target.path: receivers[target.receiver].channels for target in found}


def test_who_hears_is_as_the_page_says(example: AlertSettings) -> None:
    assert reached(example, SILICON, Severity.CRITICAL) == {
        '{}/{severity="critical"}': ("mail", "chat"),
        '{}/{desk="banks"}': ("mail",),
    }
    assert reached(example, NORTHFIELD, Severity.WARNING) == {'{}/{desk="banks"}/{severity="warning"}': ("mail",)}
    assert reached(example, ENERGY, Severity.SEVERE) == {"{}": ("mail",)}
    assert reached(example, Key("source", "fed_press"), Severity.SEVERE) == {'{}/{kind="source"}': ()}


def test_when_they_hear_is_as_the_page_says(example: AlertSettings) -> None:
    at_once, banks, warnings, *_ = list(Routes(example).targets().values())[1:]
    night = utc(2026, 7, 6, 22, 30)  # 23:30 in London
    assert at_once.group_wait_s == 0
    assert banks.muted(night, Severity.WARNING) == "nights"
    assert banks.muted(night, Severity.CRITICAL) is None
    assert warnings.muted(night, Severity.WARNING) == "outside of office"
    assert warnings.muted(utc(2026, 7, 6, 7, 30), Severity.WARNING) is None


def test_what_keeps_what_quiet_is_as_the_page_says(example: AlertSettings) -> None:
    labels = Labels(example)
    energy, everything = labels.of(ENERGY, Severity.SEVERE), labels.of(ALL, Severity.WARNING)
    assert inhibited(energy, "energy", [("energy", energy)], example.inhibit) is None
    found = inhibited(energy, "energy", [("all", everything)], example.inhibit)
    assert found is not None
    assert found[0] == "all"


def test_a_typo_in_a_receiver_is_refused_as_the_page_says(config: Path) -> None:
    config.write_text(config.read_text().replace('receiver = "on_call"', 'receiver = "dsek"'))
    with pytest.raises(ConfigError) as caught:
        load(config)
    (mistake,) = caught.value.mistakes
    assert f"`{mistake.key}: {mistake.expected}`" in PAGE.read_text(encoding="utf-8")


def test_its_tree_of_routes_is_the_one_that_is_printed(
    example: AlertSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    (shown,) = re.findall(r"```text\n(Routes\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    print_tree(tree(example))
    assert capsys.readouterr().out == shown
    assert doubts(example) == []
