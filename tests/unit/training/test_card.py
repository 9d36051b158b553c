"""What lies beside the weights: complete, equal for equal figures, and read back by the registry."""

import hashlib
import json
import re
from datetime import date
from pathlib import Path

import pytest

from monitor.clock import ManualClock
from monitor.domain.labels import Topic
from pipelines.classify.registry import Registry
from pipelines.training.card import CARD, METRICS, REPORT, DataFile, Origin, Split, card, write
from pipelines.training.evaluate import Answers, Report, evaluate
from pipelines.training.rows import Row
from pipelines.training.train import Recipe
from tests.factories import NOW
from tests.models import make_model


@pytest.fixture
def report(by_rule: Answers, rows: list[Row]) -> Report:
    return evaluate(by_rule, rows, [row.text for row in rows[:20]], resamples=50)


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    file = tmp_path / "valid|1.csv"
    file.write_text("text,label\noil,0\n")
    return Origin(
        name="news-test",
        version="1.2.3",
        date=date(2026, 3, 4),
        licence="Apache-2.0",
        base="example/encoder",
        base_licence="Apache-2.0",
        recipe=Recipe(base="/somewhere/private", seed=11),
        files=(DataFile.of(file, role="evaluation", head="topic and sentiment", rows=1, licence="MIT"),),
        splits=(Split.of("training", ["oil", "gold"]),),
        environment={"torch": "2.5"},
    )


def test_everything_is_written_and_equal_when_written_again(report: Report, origin: Origin, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    names = {path.name for path in write(first, report, origin)}
    assert names == {path.name for path in first.iterdir()}
    assert names == {
        *(METRICS, REPORT, CARD),
        *(f"{kind}_{head}.png" for kind in ("confusion", "reliability") for head in ("topic", "sentiment")),
    }
    write(second, report, origin)
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert (first / "confusion_topic.png").read_bytes().startswith(b"\x89PNG")


def test_without_an_origin_there_is_no_card(report: Report, tmp_path: Path) -> None:
    assert CARD not in {path.name for path in write(tmp_path / "out", report)}


def test_metrics_are_json_without_exceptions(report: Report, tmp_path: Path) -> None:
    write(tmp_path, report)
    text = (tmp_path / METRICS).read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found["heads"]["topic"]["figures"]["rows"] == 60


def test_the_list_of_models_shows_the_figures(report: Report, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", ManualClock(NOW), shipped=tmp_path / "none")
    folder = make_model(tmp_path / "model", "v1")
    write(folder, report)
    registry.add(folder)
    topic = report.heads["topic"].figures
    metrics = registry.entries()[0].metrics
    assert metrics["topic.accuracy"] == topic.accuracy.value
    assert metrics["topic.macro_f1"] == topic.macro_f1.value
    assert "sentiment.accuracy" in metrics


def test_the_card_names_what_the_weights_were_made_of(report: Report, origin: Origin) -> None:
    text = card(report, origin)
    assert text.startswith("---\n")
    assert "base_model: example/encoder" in text
    assert "# news-test 1.2.3" in text
    assert "2026-03-04" in text
    assert hashlib.sha256(b"text,label\noil,0\n").hexdigest() in text
    assert hashlib.sha256(b"oil\0gold\0").hexdigest() in text
    assert "| seed | 11 |" in text
    assert "| torch | 2.5 |" in text
    assert "/somewhere/private" not in text
    accuracy = report.heads["sentiment"].figures.accuracy
    assert f"{100 * accuracy.value:.1f} ({100 * accuracy.low:.1f} to {100 * accuracy.high:.1f})" in text


def test_labels_judged_on_too_few_rows_are_named(report: Report, origin: Origin) -> None:
    limits = card(report, origin).split("## Limits")[1].split("## Data")[0]
    assert Topic.IPO in limits
    assert Topic.DIVIDEND not in limits  # it has thirty


def test_every_table_of_the_card_is_one(report: Report, origin: Origin) -> None:
    """Labels and file names hold the bar that parts cells."""
    body = card(report, origin).split("---\n", 2)[2]
    tables = [block for block in body.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 8
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_a_split_is_told_from_another_by_its_texts_and_their_order() -> None:
    one, other = Split.of("a", ["oil", "gold"]), Split.of("a", ["gold", "oil"])
    assert one.rows == other.rows == 2
    assert len({one.sha256, other.sha256, Split.of("a", ["oilgold"]).sha256}) == 3


def test_the_card_says_so_if_slips_are_put_right(report: Report, origin: Origin) -> None:
    assert "words.json" in card(report, origin, spelling=True)
    assert "words.json" not in card(report, origin)
