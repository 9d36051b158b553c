"""Archives through the whole chain: every line accounted for, trends equal to a recount, twice the same as once."""

import contextlib
import gzip
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from monitor.domain.record import utc
from tests.acceptance import archive
from tests.acceptance.archive import Archive
from tests.acceptance.command import ARCHIVE, FACTS, LIMIT_S, Daemon, Workplace, until

ALL = (*FACTS, "spike", "alert", "alert_spike", "notification", "dead_letter")
RESOLUTIONS = ("5m", "1h", "1d")
START = utc(2024, 5, 1)


@pytest.fixture(scope="module")
def made() -> Archive:
    return archive.make()


@pytest.fixture(scope="module")
def played(made: Archive, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, dict[str, Any]]:
    """A folder into which the archive was played, and the report."""
    place = Workplace(tmp_path_factory.mktemp("played"))
    return place, place.ask("replay", str(made.write(place.folder / "archive.jsonl.gz")))


def accounted(report: dict[str, Any]) -> int:
    return int(sum(report[part] for part in ("labelled", "other_language", "duplicates", "dead_letters", "expired")))


def test_every_item_is_accounted_for(made: Archive, played: tuple[Workplace, dict[str, Any]]) -> None:
    place, report = played
    assert report["read"] == accounted(report) == made.items
    assert (report["duplicates"], report["dead_letters"]) == (made.duplicates, made.dead_letters)
    assert report["accounted"]
    stored = place.rows("SELECT count(*), count(model_version) FROM article")
    assert stored == [(report["labelled"] + report["other_language"], report["labelled"])]


def test_every_unreadable_line_is_a_dead_letter_with_its_bytes(
    made: Archive, played: tuple[Workplace, dict[str, Any]]
) -> None:
    place, _ = played
    letters = place.rows("SELECT value, reason, stage FROM dead_letter")
    assert {(reason, stage) for _, reason, stage in letters} == {("malformed", "ingest"), ("no_text", "ingest")}
    kept = {value.decode().strip() for value, reason, _ in letters if reason == "malformed"}
    assert kept <= {line.strip() for line in made.lines}


def test_what_the_model_cannot_read_is_stored_and_not_labelled(
    made: Archive, played: tuple[Workplace, dict[str, Any]]
) -> None:
    place, report = played
    assert report["other_language"] > 200
    unlabelled = {title for (title,) in place.rows("SELECT title FROM article WHERE model_version IS NULL")}
    assert unlabelled == made.foreign
    languages = {language for (language,) in place.rows("SELECT language FROM article WHERE model_version IS NULL")}
    assert languages == {"pl", "de"}


def test_trends_equal_a_recount(played: tuple[Workplace, dict[str, Any]]) -> None:
    place, report = played
    for resolution in RESOLUTIONS:
        recount = place.ask("trends", "--resolution", resolution, "--recount")
        assert recount["equal"], recount
        assert recount["stored"] > 0
        whole = place.ask("trends", "all", "--resolution", resolution, "--limit", "100000")
        labelled = sum(row["positive"] + row["neutral"] + row["negative"] for row in whole)
        assert labelled == report["labelled"]
        assert sum(row["unlabelled"] for row in whole) == report["other_language"]


def test_the_burst_is_found(played: tuple[Workplace, dict[str, Any]]) -> None:
    place, report = played
    assert report["spikes"] == len(place.ask("spikes", "--limit", "1000")) > 0
    assert all(alert["deliveries"] == [] for alert in place.ask("alerts"))


def test_with_json_what_a_channel_prints_is_no_part_of_the_document(made: Archive, tmp_path: Path) -> None:
    place = Workplace(tmp_path, '[alerts.channels.screen]\nkind = "console"\n')
    done = place.call("replay", str(made.write(tmp_path / "archive.jsonl")), "--deliver", "--json")
    assert done.json()["spikes"] > 0
    told = [one for one in place.ask("deliveries", "--limit", "1000") if one["state"] == "delivered"]
    assert done.err.count("Why you: receiver default") == len(told) > 0


def test_a_second_replay_changes_nothing(played: tuple[Workplace, dict[str, Any]]) -> None:
    place, first = played
    before = place.dump(*ALL)
    report = place.ask("replay", str(place.folder / "archive.jsonl.gz"))
    assert place.dump(*ALL) == before
    assert (report["labelled"], report["other_language"]) == (0, 0)
    assert report["read"] == accounted(report) == first["read"]


def test_what_is_found_does_not_depend_on_what_an_earlier_process_had_stored(tmp_path: Path) -> None:
    file = tmp_path / "archive.jsonl"
    file.write_text("".join(json.dumps(item) + "\n" for item in _burst_across_two_chunks()))
    rules = "[detector]\nwarmup_days = 0.5\nmin_stories = 2\nper_week = 1000\ntheta = 2.0\n"
    place = Workplace(tmp_path, rules)
    query = "SELECT id, alert_id FROM spike JOIN alert_spike ON id = spike_id ORDER BY id"
    place.ask("replay", str(file))
    afresh, facts = place.rows(query), place.dump(*FACTS)
    with contextlib.closing(sqlite3.connect(place.folder / "data/monitor.sqlite3")) as connection, connection:
        connection.execute("UPDATE article SET seen = NULL")
        connection.execute("UPDATE trend SET stories = 0, negative_stories = 0, sources = 0")
        connection.execute("DELETE FROM trend WHERE key_kind = 'entity'")
        for table in ("trend_source", "checkpoint", "spike", "notification", "alert_spike", "alert"):
            connection.execute(f"DELETE FROM {table}")
    place.ask("replay", str(file))
    assert place.rows(query) == afresh != []
    assert place.dump(*FACTS) == facts


def _burst_across_two_chunks() -> Iterator[dict[str, str]]:
    """Three days, and at their end bad news within five minutes: the first half of it is in the first 500 items."""
    for number in range(520):
        in_burst = number >= 485
        moment = START + min(number, 485) * timedelta(minutes=10) + timedelta(seconds=number if in_burst else 0)
        bad = in_burst or number % 20 == 0
        text = "shares plunge after heavy loss and default fears" if bad else "holds its annual meeting"
        yield {"title": f"Firm {number} {text}", "date_published": moment.isoformat(), "source": f"wire {number % 3}"}


def test_classify_and_aggregate_may_be_processes_of_their_own(
    made: Archive, played: tuple[Workplace, dict[str, Any]], tmp_path: Path
) -> None:
    place = Workplace(tmp_path)
    file = made.write(tmp_path / "archive.jsonl.gz")
    waiting = subprocess.Popen(place.line("replay", str(file), "--spread"), stderr=subprocess.PIPE, text=True)
    until((tmp_path / "data/bus.sqlite3").exists, "the replay has begun")
    until(lambda: place.ask("status")["lag"]["classify"], "articles wait for classify")
    waiting.terminate()
    assert waiting.wait(LIMIT_S) == 1, "interrupted: nobody labels"
    waiting.communicate()
    with Daemon(place, "classify"), Daemon(place, "aggregate"):
        report = place.run("replay", str(file), "--spread", "--ahead", "700", "--json").json()
    assert report["read"] == accounted(report) == made.items
    assert report["recovered"] > 0
    expected = played[0].dump(*FACTS, "spike", "dead_letter")
    assert _timeless(place.dump(*FACTS, "spike", "dead_letter")) == _timeless(expected)


def _timeless(tables: dict[str, list[tuple[Any, ...]]]) -> dict[str, Any]:
    """Of spikes and dead letters the ids: when they were stated or refused may be real time."""
    return {name: rows if name in FACTS else [row[0] for row in rows] for name, rows in tables.items()}


def test_plain_and_gzip_are_equal_and_so_are_parts(
    made: Archive, played: tuple[Workplace, dict[str, Any]], tmp_path: Path
) -> None:
    place = Workplace(tmp_path)
    half = len(made.lines) // 2
    files = [
        made._replace(lines=lines).write(tmp_path / name)
        for name, lines in (("archive.jsonl", made.lines[:half]), ("second.jsonl", made.lines[half:]))
    ]
    report = place.ask("replay", *map(str, files))
    assert report["read"] == accounted(report) == made.items
    named = {"archive.jsonl.gz", "archive.jsonl", "second.jsonl"}  # the source of items that name none
    query = "SELECT title, published_at, language, source, model_version FROM article ORDER BY title, published_at"
    assert _without(place.rows(query), named) == _without(played[0].rows(query), named)


def _without(rows: list[tuple[Any, ...]], sources: set[str]) -> list[tuple[Any, ...]]:
    return [tuple("a file" if value in sources else value for value in row) for row in rows]


def test_an_archive_at_speed_tells_the_same_as_at_full_speed(tmp_path: Path) -> None:
    small = archive.make(120, seed=3)._replace(items=120)
    facts = []
    for speed in ("max", "900000"):
        place = Workplace(tmp_path / speed)
        report = place.ask("replay", str(small.write(place.folder / "archive.jsonl")), "--speed", speed)
        assert report["read"] == accounted(report) == small.items
        facts.append(_in_any_order(place))
    assert facts[0] == facts[1]


def _in_any_order(place: Workplace) -> dict[str, Any]:
    """The facts but for the order in which articles were counted: of those that wait in several partitions, the log
    fixes none, and at speed it is the machine that decides how many wait."""
    facts = place.dump()
    seen = [name for _, name, *_ in place.rows("PRAGMA table_info(article)")].index("seen")
    return {**facts, "article": [(*row[:seen], *row[seen + 1 :]) for row in facts["article"]]}


def test_an_interrupted_replay_says_so_and_can_be_taken_up_again(
    made: Archive, played: tuple[Workplace, dict[str, Any]], tmp_path: Path
) -> None:
    place = Workplace(tmp_path)
    file = made.write(tmp_path / "archive.jsonl.gz")
    process = subprocess.Popen(place.line("replay", str(file), "--speed", "100", "--json"), stdout=subprocess.PIPE)
    until((tmp_path / "data/bus.sqlite3").exists, "the replay has begun")
    until(lambda: place.ask("headlines"), "the first article")
    process.terminate()
    out, _ = process.communicate(timeout=LIMIT_S)
    report = json.loads(out)
    assert (process.returncode, report["interrupted"], report["accounted"]) == (1, True, True)
    assert report["read"] == accounted(report) < made.items
    assert not place.ask("replay", str(file))["interrupted"]
    assert place.dump() == played[0].dump()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("nothing.jsonl",), 1, "no such file"),
        ((".",), 1, "Is a directory"),
        (("broken.jsonl.gz",), 1, "malformed"),
        (("archive.jsonl", "--speed", "0"), 2, "--speed"),
        (("archive.jsonl", "--speed", "nan"), 2, "--speed"),
        ((), 2, "files"),
    ],
)
def test_what_cannot_be_played_is_refused_in_a_sentence(
    arguments: tuple[str, ...], code: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    archive.make(5).write(tmp_path / "archive.jsonl")
    (tmp_path / "broken.jsonl.gz").write_bytes(gzip.compress(b'{"title": "a"}\n' * 1000)[:-20])
    done = Workplace(tmp_path).call("replay", *arguments)
    assert (done.code, done.out) == (code, "")
    assert text in done.err
    assert "Traceback" not in done.err


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The first 4,000 lines of the recorded archive."""
    if not ARCHIVE.is_file():
        pytest.skip("the recorded archive is not here")
    path = tmp_path_factory.mktemp("recorded") / "recorded.jsonl"
    with gzip.open(ARCHIVE) as lines, path.open("wb") as part:
        part.writelines(islice(lines, 4000))
    yield path
    path.unlink()


def test_the_recorded_archive(recorded: Path, tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    report = place.ask("replay", str(recorded))
    assert report["read"] == accounted(report) == 4000
    assert place.rows("SELECT count(*) FROM article WHERE language = 'pl' AND model_version IS NOT NULL") == [(0,)]
    assert place.rows("SELECT count(*) FROM article WHERE language = 'pl' AND declared_language = 'en-US'") > [(100,)]
    for resolution in RESOLUTIONS:
        assert place.ask("trends", "--resolution", resolution, "--recount")["equal"]
    before = place.dump(*ALL)
    assert place.ask("replay", str(recorded))["duplicates"] == 4000 - report["dead_letters"]
    assert place.dump(*ALL) == before
