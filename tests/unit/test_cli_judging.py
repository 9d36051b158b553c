"""`monitor evaluate` and `monitor explain`: what they take, what they print, how they refuse."""

import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from monitor import cli
from monitor.cli import output
from monitor.cli.evaluate import mapping
from monitor.cli.explain import page, show
from monitor.errors import ConfigError
from pipelines.classify.explain import Explanation, Word
from pipelines.classify.heads import SENTIMENT
from pipelines.classify.models._network import Network
from tests.networks import ByRule

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """What was loaded; all of it turns out to be a network of rules."""
    calls: list[tuple[Any, Any]] = []

    def load(name: Any, *, labels: Any = None, **_: Any) -> ByRule:
        calls.append((name, labels))
        return ByRule((SENTIMENT,)) if "finbert" in str(name) else ByRule()

    monkeypatch.setattr(Network, "load", load)
    return calls


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, loaded: list[Any]
) -> Command:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "model").mkdir()
    (tmp_path / "both.csv").write_text(
        "text,topic,sentiment\noil falls,Macro,negative\ndividend rises,Dividend,positive\n"
    )
    (tmp_path / "mood.csv").write_text("text,label\nsteel falls,0\nsteel rises,1\ncopper stays,2\n")
    (tmp_path / "about.csv").write_text("text,label\na dividend,4\n")
    (tmp_path / "labels.json").write_text(
        json.dumps({"topic": {"4": "Dividend"}, "sentiment": {"0": "Bearish", "1": "Bullish", "2": "Neutral"}})
    )

    def run(*arguments: str) -> tuple[int, str, str]:
        page = StringIO()
        monkeypatch.setattr(output, "console", Console(file=page, width=80))
        monkeypatch.setattr(sys, "argv", ["monitor", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        told = capsys.readouterr()
        return code, told.out + page.getvalue(), told.err

    return run


def test_rows_of_all_files_are_judged_together(command: Command, loaded: list[Any]) -> None:
    code, out, _ = command(
        "evaluate", "model", "both.csv", "--sentiment", "mood.csv", "--topic", "about.csv",
        "--labels", "labels.json", "--json",
    )  # fmt: skip
    assert code == 0
    found = json.loads(out)
    assert found["headline"]["sentiment"]["rows"] == 5
    assert found["headline"]["topic"]["rows"] == 3
    assert found["headline"]["sentiment"]["accuracy"] == 1
    assert loaded == [(Path("model"), {})]


def test_a_model_from_elsewhere_says_what_its_labels_mean(command: Command, loaded: list[Any]) -> None:
    code, out, _ = command(
        "evaluate", "someone/finbert", "both.csv", "--map", "LABEL_0=negative", "--map", "a=b=positive", "--json"
    )
    assert code == 0
    assert list(json.loads(out)["heads"]) == ["sentiment"]
    assert loaded == [("someone/finbert", {"LABEL_0": "negative", "a=b": "positive"})]


def test_tables_tell_of_training_texts(command: Command) -> None:
    code, out, _ = command(
        "evaluate", "model", "--sentiment", "mood.csv", "--labels", "labels.json", "--training", "mood.csv"
    )
    assert code == 0
    assert "macro F1" in out
    assert "every text has a near-duplicate among the training texts" in out


def test_figures_are_left_in_a_folder(command: Command, tmp_path: Path) -> None:
    code, _, _ = command("evaluate", "model", "both.csv", "--output", "out/here")
    assert code == 0
    assert {"metrics.json", "confusion_topic.png"} <= {path.name for path in (tmp_path / "out/here").iterdir()}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["evaluate", "model"], "expected labelled texts"),
        (["evaluate", "model", "none.csv"], "none.csv: no such file"),
        (["evaluate", "model", "mood.csv"], "no column topic or sentiment"),
        (["evaluate", "model", "--sentiment", "mood.csv"], "a number needs --labels"),
        (["evaluate", "model", "both.csv", "--labels", "none.json"], "none.json: not a JSON file"),
        (["evaluate", "model", "both.csv", "--map", "LABEL_0"], "expected LABEL=MEANING"),
        (["evaluate", "model", "both.csv", "--output", "config.toml"], "--output: a folder that can be written"),
        (["evaluate", "v9", "both.csv"], "no version 'v9'"),
        (["explain", "oil", "--label", "gloomy"], "--label: expected one of"),
        (["explain", "oil", "--head", "topic", "--label", "negative"], "--label: expected one of"),
        (["explain", "https://example.com"], "TEXT: expected words"),
        (["explain", "oil", "--model", "v9"], "no version 'v9'"),
    ],
)
def test_what_is_wrong_is_named_and_ends_with_two(command: Command, arguments: list[str], told: str) -> None:
    code, out, err = command(*arguments)
    assert code == 2
    assert told in " ".join(err.split())
    assert not out


@pytest.mark.parametrize("given", ["negative", "=negative", "LABEL_0="])
def test_half_a_meaning_is_none(given: str) -> None:
    with pytest.raises(ConfigError, match="--map"):
        mapping([given])


HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def explanation() -> Explanation:
    words = (Word("[bold]falls", 2.0), Word(HOSTILE, 0.9), Word("but", 0.01), Word('"rises', -0.4), Word("late", None))
    return Explanation(
        text=" ".join(word.text for word in words),
        head="sentiment",
        label="negative",
        probabilities={"negative": 0.9, "neutral": 0.06, "positive": 0.04},
        words=words,
        log_odds=2.2,
        baseline=-0.3,
        delta=0.001,
        steps=50,
        model_version="<b>v1",
    )


def test_signs_say_without_colour_what_speaks_for_and_against(
    explanation: Explanation, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = StringIO()
    monkeypatch.setattr(output, "console", Console(file=told, width=200))
    show(explanation)
    assert f'[bold]falls(+++) {HOSTILE}(++) but "rises(-) late' in told.getvalue()
    assert "negative, 90.0 %" in told.getvalue()
    assert "the model does not read: 1" in told.getvalue()


def test_the_page_escapes_what_it_is_given_and_fetches_nothing(explanation: Explanation) -> None:
    found = page([explanation])
    assert HOSTILE not in found
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in found
    assert "&lt;b&gt;v1" in found
    assert "http" not in found.replace("http-equiv", "")
    assert "default-src 'none'" in found
    assert "color-scheme: light dark" in found
