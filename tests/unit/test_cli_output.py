"""How commands print, and how they read times."""

import json
from datetime import UTC, datetime, timedelta, timezone
from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from monitor.cli import output
from monitor.cli.output import moment, print_facts, print_json, print_rows, sentiment
from monitor.domain.record import utc
from monitor.errors import ConfigError

NOW = utc(2026, 3, 10, 12)


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    page = StringIO()
    monkeypatch.setattr(output, "console", Console(file=page, width=140))
    return page


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, None),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("0m", NOW),
        ("2026-03-10", utc(2026, 3, 10)),
        ("2026-03-10T14:00", utc(2026, 3, 10, 14)),
        ("2026-03-10T14:00:00Z", utc(2026, 3, 10, 14)),
        ("2026-03-10T14:00+02:00", utc(2026, 3, 10, 12)),
    ],
)
def test_a_moment(given: str | None, meant: datetime | None) -> None:
    found = moment("--since", given, NOW)
    assert found == meant
    assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize(
    "given", ["", "h", "yesterday", "-2h", "2w", "99999999999d", "²h", "2026-13-01", "0001-01-01T00:00+14:00"]
)
def test_what_is_no_moment_is_named(given: str) -> None:
    with pytest.raises(ConfigError, match="--since: expected a time"):
        moment("--since", given, NOW)


def test_outside_text_is_printed_as_it_is(printed: StringIO) -> None:
    print_rows("Titles", ("title", "mood"), [("[bold]loss[/bold] [/]", sentiment("negative")), (Text("x"), "y")])
    print_facts("Facts", {"name": "[red]x"})
    assert "[bold]loss[/bold] [/]" in printed.getvalue()
    assert "[red]x" in printed.getvalue()


def test_a_table_without_rows_says_so(printed: StringIO) -> None:
    print_rows("Spikes", ("id",), [])
    assert printed.getvalue() == "Spikes: none\n"


def test_cells(printed: StringIO) -> None:
    there = datetime(2020, 3, 10, 14, tzinfo=timezone(timedelta(hours=2)))
    print_rows("Cells", list("abcdef"), [(None, True, False, 1 / 3, there, 7)])
    for cell in ("-", "yes", "no", "0.33", "2020-03-10 12:00", "7"):
        assert f" {cell} " in printed.getvalue()


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"at": NOW, "value": b"\xff", "title": "Zażółć"})
    assert json.loads(capsys.readouterr().out) == {"at": "2026-03-10T12:00:00Z", "value": "_w==", "title": "Zażółć"}
