"""`monitor check`: the routes as a tree, and warnings of what has no effect. And the command as a module."""

import runpy
import sys
from pathlib import Path

import pytest

from monitor import __version__
from tests.command_line import Run

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CONFIG = f"""
[alerts.channels.mail]
kind = "console"
[alerts.channels.hook]
kind = "webhook"
url = "https://me:hunter2@hooks.example/hunter2"
secret = "{KEY}"
[alerts.receivers.desk]
channels = ["mail"]
[alerts.route]
receiver = "desk"
[[alerts.route.routes]]
matchers = ['severity="critical"', 'key!="[red]"']
receiver = "hook"
group_by = []
repeat_interval_s = 1209600
continue = true
[[alerts.route.routes.routes]]
matchers = ['kind="all"']
mute_time_intervals = ["nights", "office"]
[[alerts.route.routes]]
matchers = ['kind="source"']
"""
INTERVALS = """
[alerts.time_intervals]
nights = [{ times = [{ start_time = "20:00", end_time = "24:00" }] }]
office = [{ weekdays = ["monday:friday"] }]
"""
WITHOUT_EFFECT = """
[[alerts.route.routes]]
matchers = ['severity="severe"', 'kind="source"']
[alerts.receivers.lost]
channels = ["hook"]
"""

TREE = """\
Routes
└── {}  receiver: desk
    ├── {severity="critical", key!="[red]"}  continue: true  receiver: hook  group_by: none  repeat_interval_s: 1209600
    │   └── {kind="all"}  receiver: hook  mute_time_intervals: nights, office
    └── {kind="source"}  receiver: desk
"""


@pytest.mark.parametrize("width", [40, 400])
def test_the_routes_are_a_tree_with_what_each_sets(
    width: int, run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.cli.output.console.width", width)
    config.write_text(CONFIG + INTERVALS)
    shown = run("check")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.endswith(TREE)
    assert "alerts.route" not in shown.out
    assert "hunter2" not in shown.out
    assert run("check", "--json").json["warnings"] == []


def test_what_has_no_effect_is_told_and_is_no_mistake(run: Run, config: Path) -> None:
    config.write_text(CONFIG + WITHOUT_EFFECT + INTERVALS)
    wrong = {"alerts.route.routes.2", "alerts.receivers.lost"}
    shown, document = run("check"), run("check", "--json")
    assert {line.split(": ")[1] for line in shown.err.splitlines() if line.startswith("warning: ")} == wrong
    assert {one["key"] for one in document.json["warnings"]} == wrong
    assert document.json["alerts"]["route"]["receiver"] == "desk"
    for printed in (shown, document):
        assert printed.code == 0
        assert not any(secret in printed.out + printed.err for secret in ("hunter2", KEY))


@pytest.mark.parametrize(
    ("argument", "told"), [("--version", f"monitor {__version__}"), ("--help", "Usage: monitor [")]
)
def test_the_package_is_the_command(
    argument: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path("monitor/__main__.py")), argument])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("monitor", run_name="__main__", alter_sys=False)
    assert not ended.value.code
    assert capsys.readouterr().out.startswith(told)
