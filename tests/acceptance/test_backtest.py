"""Backtests: equal byte for byte, equal to what the daemon's stages state of the same archive, and harmless."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import archive
from tests.acceptance.command import LIMIT_S, Workplace, until

CONFIG = """
[classifier]
kind = "lexicon"
[detect]
keys = ["all", "topic", "source"]
[alerts.channels.console]
kind = "console"
"""
EPISODES = "name,key,start,end,severity\nburst,,2024-05-16T09:00,2024-05-17,severe\nquiet,,2024-05-12,2024-05-13,\n"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, Path]:
    """A folder into which the archive was played as if it were sent, and the archive."""
    place = Workplace(tmp_path_factory.mktemp("played"), CONFIG)
    made = archive.make().write(place.folder / "archive.jsonl.gz")
    assert place.call("replay", str(made), "--deliver").code == 0
    return place, made


@pytest.fixture(scope="module")
def tested(played: tuple[Workplace, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report on the same archive."""
    place = Workplace(tmp_path_factory.mktemp("tested"), CONFIG)
    return place.ask("backtest", str(played[1]))  # type: ignore[no-any-return]


def sent(place: Workplace) -> set[tuple[str, str]]:
    """Each message of bad news with each alert that it is about."""
    query = "SELECT m.id, a.alert_id FROM message m JOIN message_alert a ON a.message_id = m.id WHERE a.about"
    return set(place.rows(f"{query} AND m.event IN ('firing', 'updated')"))


def told(report: dict[str, Any]) -> dict[str, str | None]:
    return {row["id"]: row["message"] for row in report["fired"]}


def test_it_tells_what_the_daemon_would_have_told(played: tuple[Workplace, Path], tested: dict[str, Any]) -> None:
    place, _ = played
    assert tested["alerts"] > 0
    alert_of = dict(place.rows("SELECT spike_id, alert_id FROM alert_spike"))
    assert set(told(tested)) == set(alert_of) == {spike for (spike,) in place.rows("SELECT id FROM spike")}
    messages = {(message, alert_of[spike]) for spike, message in told(tested).items() if message is not None}
    assert messages == sent(place) != set()
    assert {row["message"] is None for row in tested["fired"]} == {False, True}
    assert all((row["message"] is None) == bool(row["why_not"]) for row in tested["fired"])
    assert tested["messages"] == len({message for message, _ in sent(place)})


def test_stored_articles_give_what_the_archive_gave(played: tuple[Workplace, Path], tested: dict[str, Any]) -> None:
    place, _ = played
    before = place.dump("article", "label", "trend", "spike", "alert", "alert_spike", "message")
    report = place.ask("backtest", "--stored")
    assert report["past"] == "stored articles"
    assert told(report) == told(tested)
    assert {**report, "past": None, "unreadable_lines": 0, "first_unreadable": None} == {
        **tested, "past": None, "unreadable_lines": 0, "first_unreadable": None
    }  # fmt: skip
    assert place.dump("article", "label", "trend", "spike", "alert", "alert_spike", "message") == before


def test_two_runs_are_equal_to_the_byte(tmp_path: Path) -> None:
    def run(name: str) -> dict[str, bytes]:
        place = Workplace(tmp_path / name, CONFIG)
        (place.folder / "episodes.csv").write_text(EPISODES, encoding="utf-8")
        (place.folder / "other.toml").write_text(CONFIG + "[detector]\ntheta = 9\n", encoding="utf-8")
        made = archive.make().write(place.folder / "archive.jsonl")
        done = place.call(
            "backtest", str(made), "--episodes", str(place.folder / "episodes.csv"),
            "--html", str(place.folder / "report.html"), "--png", str(place.folder / "png"),
            "--diff", str(place.folder / "other.toml"), "--json",
        )  # fmt: skip
        assert done.code == 0, done
        table = place.call("backtest", str(made), "--episodes", str(place.folder / "episodes.csv"))
        pictures = {path.name: path.read_bytes() for path in sorted((place.folder / "png").iterdir())}
        html = (place.folder / "report.html").read_bytes()
        return {"json": done.out.encode(), "table": table.out.encode(), "html": html, **pictures}

    first, second = run("first"), run("second")
    assert list(first) == list(second)
    assert len(first) > 3
    for name in first:
        assert first[name] == second[name], name
        assert str(tmp_path).encode() not in first[name], name


def test_it_is_judged_by_episodes(played: tuple[Workplace, Path], tmp_path: Path) -> None:
    place, made = played
    (tmp_path / "episodes.csv").write_text(EPISODES, encoding="utf-8")
    judged = place.ask("backtest", str(made), "--episodes", str(tmp_path / "episodes.csv"))["judged"]
    burst, quiet = judged["episodes"]
    assert burst["alerts"] > 0
    assert burst["third_at"] < burst["fourth_at"]
    assert burst["delay_min"] >= 0
    assert quiet["in_span"]
    assert judged["overall"]["recall"]["total"] == 2
    assert judged["overall"]["recall"]["hits"] == 1 + (quiet["alerts"] > 0)
    assert judged["by_severity"]["severe"]["recall"]["value"] == 1.0


def test_a_diff_lists_what_is_gained_and_lost(played: tuple[Workplace, Path], tmp_path: Path) -> None:
    place, made = played
    for name, more in (("same.toml", ""), ("mute.toml", "[detector]\ntheta = 1000\n")):
        (tmp_path / name).write_text(CONFIG + more, encoding="utf-8")
    same = place.ask("backtest", str(made), "--diff", str(tmp_path / "same.toml"))
    assert (same["diff"]["kept"], same["diff"]["gained"], same["diff"]["lost"]) == (same["alerts"], [], [])
    mute = place.ask("backtest", str(made), "--diff", str(tmp_path / "mute.toml"))["diff"]
    assert (mute["against"], mute["kept"], mute["gained"]) == ("mute.toml", 0, [])
    assert [row["id"] for row in mute["lost"]] == [row["id"] for row in same["fired"]]


def test_what_is_configured_is_left_alone(tmp_path: Path) -> None:
    """A database and a broker that do not exist, and a channel that would fail."""
    config = (
        CONFIG
        + '[database]\nurl = "postgresql+asyncpg://nobody@127.0.0.1:1/none"\n[bus]\nkind = "kafka"\n'
        + '[bus.kafka]\nbootstrap = "127.0.0.1:1"\n'
        + '[alerts.channels.shop]\nkind = "webhook"\nurl = "https://hooks.example.org/x"\n'
        + 'secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"\n'
    )
    place = Workplace(tmp_path / "place", config)
    made = archive.make(items=60).write(tmp_path / "archive.jsonl")
    assert place.ask("backtest", str(made))["articles"] > 0
    assert [path.name for path in place.folder.iterdir()] == ["config.toml"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "expected archives, or --stored"),
        (("gone.jsonl",), "gone.jsonl: no such file"),
        (("garbled.jsonl",), "line 1"),
        (("cut.jsonl.gz",), "after line"),
        (("good.jsonl", "--stored"), "one of them"),
        (("good.jsonl", "--since", "2d"), "--since: goes with --stored only"),
        (("good.jsonl", "--episodes", "gone.csv"), "gone.csv: no such file"),
        (("good.jsonl", "--episodes", "wrong.csv"), "wrong.csv, line 2, column start"),
        (("good.jsonl", "--diff", "gone.toml"), "gone.toml"),
        (("good.jsonl", "--html", "no/such/folder.html"), "--html"),
        (("good.jsonl", "--html", ".", "--png", "good.jsonl"), "is a folder"),
        (("good.jsonl", "--html", ".", "--png", "good.jsonl"), "--png: expected a folder"),
        (("good.jsonl", "--png", "good.jsonl/pictures.d"), "good.jsonl is a file"),
        (("good.jsonl", "--html", f"{'long' * 100}.html"), "File name too long"),
        (("--stored", "--since", "soon"), "--since"),
        (("--stored",), "there are none"),
    ],
)
def test_mistakes_end_it_with_2_and_say_what_to_do(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    place = Workplace(tmp_path, CONFIG)
    made = archive.make(items=40)
    made.write(tmp_path / "good.jsonl")
    (tmp_path / "cut.jsonl.gz").write_bytes(made.write(tmp_path / "whole.jsonl.gz").read_bytes()[:900])
    (tmp_path / "garbled.jsonl").write_bytes(b"\x00\x01garbled\n")
    (tmp_path / "wrong.csv").write_text("name,start,end\nA,now,later\n", encoding="utf-8")
    there = [str(tmp_path / part) if "." in part else part for part in arguments]
    done = place.call("backtest", *there)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_the_report_is_printed_though_the_page_cannot_be_written(tmp_path: Path, as_json: tuple[str, ...]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no file here that is always full")
    place = Workplace(tmp_path, CONFIG)
    made = archive.make(items=60).write(tmp_path / "archive.jsonl")
    done = place.call("backtest", str(made), "--html", "/dev/full", *as_json)
    assert done.code == 2
    assert "--html: /dev/full could not be written: No space left on device" in done.err
    assert done.out == place.call("backtest", str(made), *as_json).out != ""


@pytest.mark.parametrize(("option", "name"), [("--html", "report.html"), ("--png", "pictures")])
def test_a_folder_that_is_closed_is_told_before_it_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, name: str
) -> None:
    place = Workplace(tmp_path, CONFIG)
    made = archive.make(items=40).write(tmp_path / "archive.jsonl")
    monkeypatch.setattr("monitor.cli.backtest.os.access", lambda _, mode: not mode & os.W_OK)  # root may write
    done = place.call("backtest", str(made), option, str(tmp_path / name))
    assert (done.code, done.out) == (2, "")
    assert f"{option}: nothing can be written to {tmp_path}" in done.err


def test_nothing_but_the_report_is_printed(tmp_path: Path) -> None:
    place = Workplace(tmp_path, CONFIG)
    made = archive.make(items=60).write(tmp_path / "archive.jsonl")
    done = place.run("backtest", str(made), "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["past"] == "archive.jsonl"


def test_interrupted_it_reports_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "place", CONFIG)
    made = archive.make().write(tmp_path / "archive.jsonl")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        place.line("backtest", str(made), "--json"),
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: process.poll() is not None or any(temporary.glob("*/monitor.sqlite3")), "tables to play into")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert (process.returncode, out) == (1, "")
    assert "interrupted" in err
    assert list(temporary.iterdir()) == []
