"""`monitor models` as its users meet it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from monitor.clock import SystemClock
from pipelines.classify import registry
from pipelines.classify.registry import Refusal, Registry
from tests.acceptance.command import ROOT, Workplace
from tests.models import make_model

BROKEN = 2
"""The exit code where a model is at fault."""

METRICS = {"topic": {"accuracy": 0.8125, "macro_f1": 0.75}, "sentiment": {"accuracy": 0.875}}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A folder of its own, with a shipped model that does not depend on what is really shipped."""
    shipped = make_model(tmp_path / "package" / "shipped", "shipped-1")
    monkeypatch.setattr(Registry.__init__, "__kwdefaults__", {"shipped": shipped, "patience_s": 30.0})
    return Workplace(tmp_path / "work")


def source(place: Workplace, version: str) -> str:
    return str(make_model(place.folder / "trained" / version, version, metrics=METRICS))


def current(place: Workplace) -> list[str]:
    return [row["version"] for row in place.ask("models", "list") if row["is_current"]]


def test_from_a_trained_folder_to_the_model_that_labels_and_back(place: Workplace) -> None:
    assert current(place) == ["shipped-1"]
    card = place.ask("models", "add", source(place, "mini-2"))
    assert (card["version"], card["max_tokens"]) == ("mini-2", 128)
    assert current(place) == ["shipped-1"]
    assert place.ask("models", "promote", "mini-2") == {"before": "shipped-1", "after": "mini-2"}
    assert current(place) == ["mini-2"]
    assert place.ask("models", "rollback") == {"before": "mini-2", "after": "shipped-1"}
    assert current(place) == ["shipped-1"]
    assert (place.folder / "data/models/mini-2/config.json").is_file()


def test_the_same_in_words(place: Workplace) -> None:
    added = place.call("models", "add", source(place, "mini-2"))
    assert (added.code, added.err) == (0, "")
    assert "monitor models promote mini-2" in added.out
    promoted = place.call("models", "promote", "mini-2")
    assert (promoted.code, promoted.err) == (0, "")
    assert promoted.out.startswith("mini-2 is current after shipped-1;")
    listed = place.call("models", "list")
    assert (listed.code, listed.err) == (0, "")
    for word in ("mini-2", "current", "shipped-1", "topic.accuracy 0.812"):
        assert word in listed.out
    assert place.call("models", "rollback").out.startswith("shipped-1 is current after mini-2;")


def test_the_list_as_json(place: Workplace) -> None:
    place.ask("models", "add", source(place, "mini-2"))
    rows: list[dict[str, Any]] = place.ask("models", "list")
    assert [list(row) for row in rows] == [
        ["version", "is_current", "is_shipped", "added_at", "promoted_at", "metrics", "fault", "refused"]
    ] * 2
    assert rows[1]["metrics"] == {"topic.accuracy": 0.8125, "topic.macro_f1": 0.75, "sentiment.accuracy": 0.875}


def test_the_list_shows_what_the_daemon_refused(place: Workplace) -> None:
    place.ask("models", "add", source(place, "mini-2"))
    place.ask("models", "promote", "mini-2")
    now = SystemClock().now()
    Registry(place.folder / "data/models", SystemClock()).refuse(
        Refusal(version="mini-2", reason="it lacks a layer", at=now, kept="shipped-1")
    )
    shown = place.call("models", "list").out
    assert "current, refused" in shown
    words = " ".join(shown.split())  # a cell may go over several lines
    assert "it lacks a" in words
    assert "shipped-1 labels instead" in words


def test_a_broken_folder_is_refused_with_the_reason(place: Workplace) -> None:
    folder = Path(source(place, "mini-2"))
    os.truncate(folder / "model.safetensors", 500)
    done = place.call("models", "add", str(folder))
    assert (done.code, done.out) == (BROKEN, "")
    assert done.err.startswith(f"monitor: {folder}: model.safetensors has 500 bytes")
    missing = place.call("models", "add", str(place.folder / "nowhere"))
    assert (missing.code, "no such folder" in missing.err) == (BROKEN, True)
    assert current(place) == ["shipped-1"]


def test_a_version_that_decayed_keeps_the_old_one_current(place: Workplace) -> None:
    place.ask("models", "add", source(place, "mini-2"))
    weights = place.folder / "data/models/mini-2/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    done = place.call("models", "promote", "mini-2")
    assert (done.code, done.out, "SHA-256" in done.err) == (BROKEN, "", True)
    assert current(place) == ["shipped-1"]
    os.truncate(weights, 9)
    assert "broken" in place.call("models", "list").out


def test_wrong_usage_exits_2_with_a_sentence(place: Workplace) -> None:
    done = place.call("models", "promote", "mini-9")
    assert (done.code, done.out) == (2, "")
    assert "no version 'mini-9'; expected one of: shipped-1" in done.err
    for line in (("models", "promote"), ("models", "add"), ("models", "unheard-of")):
        assert place.call(*line).code == 2
    nowhere = place.call("models", "rollback")
    assert (nowhere.code, "no way back" in nowhere.err) == (2, True)


def test_the_folder_is_a_setting(tmp_path: Path, place: Workplace) -> None:
    other = Workplace(tmp_path / "other", '[models]\nfolder = "elsewhere"\n')
    other.ask("models", "add", source(place, "mini-2"))
    assert (other.folder / "elsewhere/mini-2/config.json").is_file()


def test_it_works_without_torch(place: Workplace) -> None:
    script = (
        "import sys; from monitor.cli import main\n"
        f"sys.argv = ['monitor', '-c', {str(place.config)!r}, 'models', 'list', '--json']\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert not left.code\n"
        "heavy = {'torch', 'transformers', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert isinstance(json.loads(done.stdout), list)


def test_what_is_shipped_is_fit_to_be_promoted() -> None:
    if not registry.SHIPPED.is_dir():
        pytest.skip("this checkout ships no model")
    assert registry.check(registry.SHIPPED).version
