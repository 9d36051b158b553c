"""`monitor spikes show`: the sentence, the signs, and what was not observed."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from monitor.cli import spikes
from monitor.cli.spike_words import UNHEARD, ZERO, how_often, sentence, sparkline
from monitor.domain.labels import Sentiment
from monitor.domain.windows import ALL, Key
from monitor.storage.database import sqlite_url
from monitor.storage.store import Store
from tests.factories import NOW, make_spike
from tests.news import item, stated

app = typer.Typer()
app.callback()(lambda: None)
app.add_typer(spikes.app, name="spikes")

HOUR = timedelta(hours=1)


def test_the_sentence_has_the_numbers() -> None:
    spike = make_spike(
        key=Key("entity", "Silicon Valley Bank"),
        start=NOW - 12 * HOUR,
        observed=3,
        total=3,
        sources=2,
        expected=0.02,
        low=0.0,
        high=0.0,
        per_week=1 / 18,
    )
    assert sentence(spike) == (
        "Silicon Valley Bank: 3 negative stories of 3 from 2 sources in 12 h; 0.02 expected (95 %: 0 to 0);"
        " by itself it scores as high about once in 18 weeks."
    )
    assert sentence(make_spike(key=ALL, sources=1)).startswith(
        "All news: 14 negative stories of 18 from 1 source in 30"
    )
    assert "; 0.003 expected" in sentence(make_spike(expected=0.0031))
    assert "; less than 0.001 expected" in sentence(make_spike(expected=0.0))
    assert sentence(make_spike()).endswith("2.10 expected."), "an older release did not tell how often"


@pytest.mark.parametrize(
    ("per_week", "expected"),
    [
        (7.2, "7 times a week"),
        (1.0, "once a week"),
        (1 / 18, "once in 18 weeks"),
        (1 / 103, "once in 103 weeks"),
        (1 / 157, "once in 3 years"),
        (0.0, "once in more than 100 years"),
    ],
)
def test_how_often_is_told_in_the_unit_that_fits(per_week: float, expected: str) -> None:
    assert how_often(per_week) == expected


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=60))
def test_signs_rise_with_their_counts(buckets: list[tuple[int, bool]]) -> None:
    counts, unheard = [count for count, _ in buckets], [missed for _, missed in buckets]
    line = sparkline(counts, unheard)
    assert len(line) == len(counts)
    heard = sorted((count, sign) for count, sign, missed in zip(counts, line, unheard, strict=True) if not missed)
    bars = [sign for count, sign in heard if count]
    assert bars == sorted(bars)
    assert {sign for count, sign in heard if not count} <= {ZERO}
    assert {sign for sign, missed in zip(line, unheard, strict=True) if missed} <= {UNHEARD}


Run = Callable[..., tuple[Any, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs it in a folder; returns its exit code and what it prints."""
    config = tmp_path / "config.toml"
    config.write_text("")
    monkeypatch.setenv("MONITOR_CONFIG", str(config))

    def play(*arguments: str) -> tuple[Any, str, str]:
        code = app(["spikes", *arguments], standalone_mode=False)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return play


async def _fill(folder: Path) -> None:
    """Two spikes on a source that was not heard for the hour before them."""
    (folder / "data").mkdir(exist_ok=True)
    store = await Store.open(sqlite_url(folder / "data/monitor.sqlite3"))
    try:
        await store.articles.add([item("Wire reports losses", NOW - HOUR / 12, Sentiment.NEGATIVE, source="wire")])
        await store.coverage.heard("wire", NOW - 9 * HOUR, NOW - 2 * HOUR)
        await store.coverage.heard("wire", NOW - HOUR, NOW + 9 * HOUR)
        key = Key("source", "wire")
        first, second = (make_spike(id=f"abc{n}", key=key, start=NOW - HOUR, end=NOW) for n in range(2))
        await stated(store, first, second)
    finally:
        await store.aclose()


def test_what_was_not_observed_is_no_zero(run: Run, tmp_path: Path) -> None:
    asyncio.run(_fill(tmp_path))
    code, out, err = run("show", "abc1", "--json")
    assert (code, err) == (None, "")
    buckets = from_json(out)["trend"]["buckets"]
    assert [bucket["observed"] for bucket in buckets] == [0.0] * 12 + [1.0] * 18
    assert [bucket["in_window"] for bucket in buckets] == [False] * 12 + [True] * 12 + [False] * 6
    _, out, _ = run("show", "abc1")
    assert f"│ {UNHEARD * 12}{ZERO * 18} " in out
    assert "60 % observed" in out
    assert "not equal" in out, "the tables never held what this spike says of itself"


def test_too_little_of_an_id_names_those_there_are(run: Run, tmp_path: Path) -> None:
    asyncio.run(_fill(tmp_path))
    code, out, err = run("show", "abc")
    assert (code, out) == (1, "")
    assert "(abc0, abc1); give more of it" in err


def test_the_list_is_what_the_command_alone_prints(run: Run, tmp_path: Path) -> None:
    code, out, _ = run()
    assert (code, out) == (None, "Spikes: none\n")
    asyncio.run(_fill(tmp_path))
    _, out, _ = run("--json", "--limit", "1", "--key", "wire")
    assert [spike["id"] for spike in from_json(out)] == ["abc0"]
