"""`monitor train` and `monitor evaluate` on the files of a user."""

import json
import sys
from pathlib import Path

import pytest

from tests.acceptance.command import Workplace
from tests.tiny import make_tiny

LINES = [f"bank {'rises' if n % 2 else 'falls'} by {n},{'positive' if n % 2 else 'negative'},Macro" for n in range(40)]


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    place = Workplace(tmp_path / "place")
    (place.folder / "mine.csv").write_text("\n".join(["text,sentiment,topic", *LINES]))
    make_tiny(place.folder / "base", ours=False, spread=0.1)
    return place


def train(place: Workplace, *more: str, file: str = "mine.csv") -> tuple[str, ...]:
    folder = place.folder
    return (
        "train", str(folder / file), "--base", str(folder / "base"), "--output", str(folder / "out"), "--version", "v1",
        "--epochs", "1", "--newswire", "5", "--joined", "3", "--holdout", "0.2", "--batch", "8", "--max-tokens", "32",
        *more,
    )  # fmt: skip


def test_from_a_file_to_a_judged_and_promoted_model(place: Workplace) -> None:
    done = place.run(*train(place), limit_s=120)
    assert done.code == 0, done
    assert "Traceback" not in done.err
    out = str(place.folder / "out")
    judged = place.ask("evaluate", out, str(place.folder / "mine.csv"))
    assert judged["headline"]["sentiment"]["rows"] == 40
    assert place.call("models", "add", out).code == 0
    assert place.call("models", "promote", "v1").code == 0
    assert any(entry["version"] == "v1" and entry["is_current"] for entry in place.ask("models", "list"))
    again = place.call(*train(place))
    assert again.code == 2
    assert "there is a model in it already" in again.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text,sentiment\nbank,good\n", "row 1, column sentiment: unknown label 'good'"),
        ("headline,mood\nbank,good\n", "no column topic or sentiment"),
        ("text,sentiment\nbank,negative\n", "too few"),
    ],
)
def test_wrong_files_are_told_in_a_sentence(place: Workplace, content: str, said: str) -> None:
    (place.folder / "wrong.csv").write_text(content)
    done = place.call(*train(place, file="wrong.csv"))
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_bad_version_or_no_file_is_a_mistake_on_the_command_line(place: Workplace) -> None:
    done = place.call("train", "--output", "x", "--version", "../up", str(place.folder / "mine.csv"))
    assert (done.code, "--version" in done.err) == (2, True)
    done = place.call("train", "--output", "x", "--version", "v1")
    assert (done.code, "FILES" in done.err) == (2, True)


def test_a_model_can_be_explained(place: Workplace, tmp_path: Path) -> None:
    pytest.importorskip("captum")
    model = str(make_tiny(tmp_path / "tiny"))
    page = tmp_path / "why.html"
    done = place.call("explain", "<b>Bank</b> falls", "--model", model, "--html", str(page), "--json")
    assert done.code == 0, done
    found = json.loads(done.out)
    assert found
    assert "<b>Bank</b>" not in page.read_text()


def test_without_the_extra_it_is_said_what_to_install(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pipelines.classify.explain", raising=False)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    done = place.call("explain", "Bank falls", "--model", str(place.folder / "base"))
    assert done.code == 1
    assert "news-monitor[training]" in done.err
