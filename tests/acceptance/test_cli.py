"""The command line as its users meet it: what they may rely on, and what it says when they err."""

import asyncio
import gzip
import json
import shlex
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor import __version__
from monitor.storage.database import sqlite_url
from monitor.storage.store import Store
from tests.acceptance import archive
from tests.acceptance.command import MONITOR, Workplace
from tests.acceptance.serving import Answer, Web, rss

READING = (
    ("headlines",),
    ("headlines", "--since", "2h", "--sentiment", "negative", "--source", "wire"),
    ("trends",),
    ("trends", "all", "--resolution", "5m"),
    ("trends", "--recount"),
    ("spikes",),
    ("alerts",),
    ("alerts", "list", "--firing", "--since", "2h"),
    ("alerts", "verify", "--all"),
    ("alerts", "why-not", "all"),
    ("silences", "--expired"),
    ("routes",),
    ("routes", "test", "--key", "Financials", "--severity", "critical"),
    ("deliveries",),
    ("dead-letters", "list", "--all"),
    ("feeds", "list"),
    ("status",),
    ("check",),
)
COMMANDS = (
    *("run", "demo", "replay", "check", "status", "headlines", "trends", "spikes", "alerts", "label"),
    *("spikes show", "spikes power", "alerts list", "alerts show", "alerts verify", "alerts ack", "alerts why-not"),
    *("alerts test", "silences list", "silences add", "silences update", "silences expire"),
    *("routes show", "routes test", "digests preview"),
    *("deliveries list", "deliveries show", "deliveries retry", "deliveries enable"),
    *("feeds list", "feeds resume", "feeds test", "feeds import", "dead-letters list", "dead-letters replay"),
)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A folder with something of everything an archive leaves."""
    config = '[feeds.wire]\nurl = "https://wire.example/rss"\n'
    place = Workplace(tmp_path_factory.mktemp("full"), config)
    place.ask("replay", str(archive.make(600).write(place.folder / "archive.jsonl")))
    return place


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_read_commands_print_json_and_tables(arguments: tuple[str, ...], full: Workplace, place: Workplace) -> None:
    for where in (place, full):
        assert isinstance(where.ask(*arguments), list | dict)
        shown = where.call(*arguments)
        assert (shown.code, bool(shown.out), shown.err) == (0, True, "")


def test_filters_filter(full: Workplace) -> None:
    some = full.ask("headlines", "--limit", "100000")
    assert {row["sentiment"] for row in some} == {"negative", "neutral", "positive", None}
    topic = next(row["topic"] for row in some if row["topic"])
    for option, key, value in (("--sentiment", "sentiment", "negative"), ("--topic", "topic", topic)):
        assert {row[key] for row in full.ask("headlines", "--limit", "100000", option, value)} == {value}
    moment = some[len(some) // 2]["published_at"]
    later = full.ask("headlines", "--limit", "100000", "--since", moment)
    earlier = full.ask("headlines", "--limit", "100000", "--until", moment)
    assert len(later) + len(earlier) == len(some)
    assert full.ask("headlines", "--limit", "1") == some[:1]


@pytest.mark.parametrize(
    "line",
    [
        "headlines --since yesterday",
        "headlines --topic Astrology",
        "headlines --sentiment sad",
        "headlines --limit 0",
        "trends --resolution 7m",
        "feeds resume nobody",
        "alerts verify",
        "alerts test nobody",
        "alerts why-not all --at soon",
        "silences add kind=all --comment x",
        "silences add severity!=critical --comment x --for 1h",
        "silences update abc",
        "digests preview nobody",
        "digests preview default --at 2999-01-01",
        "routes test --key all --label severity=high",
        "deliveries list --state lost",
        "deliveries retry",
        "dead-letters replay nobody",
        "label",
        "label text --file also.txt",
        "run nothing",
        "replay x.jsonl --speed slow",
        "unheard-of",
        "headlines --unheard-of",
    ],
)
def test_wrong_usage_exits_2_with_a_sentence(line: str, place: Workplace) -> None:
    done = place.call(*shlex.split(line))
    assert (done.code, done.out) == (2, "")
    assert done.err
    assert "Traceback" not in done.err


def test_version_and_help(place: Workplace) -> None:
    assert place.call("--version", config=False).out.strip() == f"monitor {__version__}"
    for command in COMMANDS:
        done = place.call(*command.split(), "--help")
        assert (done.code, command.split()[-1] in done.out) == (0, True), command


def test_a_reader_that_has_seen_enough_is_no_error(full: Workplace) -> None:
    for command in ("headlines --json --limit 1000", "headlines --limit 1000", "check"):
        line = f"{MONITOR} --config {full.config} {command} | head -n 1"
        done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60, check=False)
        assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


def test_label_one_text(place: Workplace) -> None:
    label = place.ask("label", "Profit soars at Northfield Bank")
    assert list(label) == ["text", "topic", "sentiment", "probabilities", "model_version"]
    assert label["sentiment"] == "positive"
    assert sum(label["probabilities"]["sentiment"].values()) == pytest.approx(1, abs=1e-4)
    assert "positive" in place.call("label", "Profit soars at Northfield Bank").out
    assert place.ask("label", "")["text"] == ""


def labels(place: Workplace, file: Path) -> list[dict[str, Any]]:
    done = place.call("label", "--file", str(file))
    assert done.code == 0, done
    return [json.loads(line) for line in done.out.splitlines()]


def test_label_a_file_in_order(place: Workplace) -> None:
    texts = [f"Profit rises in quarter {number}" for number in range(2_500)]
    texts[7], texts[8], texts[9] = "", "x" * 1_000_000, "Zażółć — naïve"
    file = place.folder / "texts.txt"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(texts).encode())
    found = labels(place, file)
    assert [row["text"] for row in found] == texts
    assert all(list(row) == ["text", "topic", "sentiment", "probabilities", "model_version"] for row in found)


@pytest.mark.parametrize("name", ["items.jsonl", "items.jsonl.gz"])
def test_label_json_lines(name: str, place: Workplace) -> None:
    items = [{"title": "Profit rises", "summary": "By 5%."}, {"title": "Loss", "description": "Deep."}, {"title": "A"}]
    body = "\n".join(json.dumps(item) for item in items).encode() + b'\n\n{"title": "half \\ud83d a pair"}\n'
    file = place.folder / name
    file.write_bytes(gzip.compress(body) if name.endswith("gz") else body)
    found = [row["text"] for row in labels(place, file)]
    assert found == ["Profit rises\nBy 5%.", "Loss\nDeep.", "A", "half \ud83d a pair"]


@pytest.mark.parametrize("line", [b"{bad", b"[1]", b'{"title": 3}', b"[" * 100_000])
def test_label_names_the_line_it_cannot_read(line: bytes, place: Workplace) -> None:
    file = place.folder / "items.jsonl"
    file.write_bytes(b'{"title": "fine"}\n' + line + b"\n")
    done = place.call("label", "--file", str(file))
    assert done.code == 1
    assert f"{file}, line 2:" in done.err
    assert "Traceback" not in done.err


def test_output_that_the_terminal_cannot_show_is_printed_all_the_same(place: Workplace) -> None:
    file = place.folder / "items.jsonl"
    file.write_text('{"title": "half \\ud83d a pair, Zażółć"}\n', encoding="utf-8")
    line = ["env", "LC_ALL=C", "PYTHONUTF8=0", "PYTHONIOENCODING=ascii", *place.line("label", "--file", str(file))]
    done = subprocess.run(line, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["text"] == "half \ud83d a pair, Zażółć"


def test_feeds_test(tmp_path: Path) -> None:
    with Web() as web:
        web.answers |= {"/rss": rss("One", "Two"), "/page": Answer(b"<html><body>x</body></html>", "text/html")}
        place = Workplace(
            tmp_path, f'[http]\nallow_private_addresses = true\n[feeds.wire]\nurl = "{web.url}/rss"\nenabled = false\n'
        )
        for target in (f"{web.url}/rss", "wire"):
            found = place.ask("feeds", "test", target)
            assert (found["entries"], found["refused"], found["note"]) == (2, 0, None)
            assert [item["title"] for item in found["articles"]] == ["One", "Two"]
        page = place.run("feeds", "test", f"{web.url}/page")
        assert (page.code, page.err) == (1, "monitor: not_a_feed: a web page\n")
        private = Workplace(tmp_path / "careful").call("feeds", "test", f"{web.url}/rss")
        assert (private.code, "refused_address" in private.err) == (1, True)
    assert place.dump("article", "feed") == {"article": [], "feed": []} if (tmp_path / "data").exists() else True


def test_feeds_test_of_files(place: Workplace) -> None:
    files = {
        "whole.xml": (rss("One").body, ""),
        "zipped.xml": (gzip.compress(rss("One").body), ""),
        "broken.xml": (b"\x1f\x8b\x08broken", "malformed: broken gzip file"),
        "page.html": (b"<!doctype html><title>x</title>", "not_a_feed: a web page"),
        "empty.xml": (b"", "empty"),
        "items.jsonl": (b'{"title": "One"}\n', ""),
        "cut.jsonl.gz": (gzip.compress(b'{"title": "One"}\n')[:-9], "malformed"),
    }
    for name, (body, error) in files.items():
        (place.folder / name).write_bytes(body)
        done = place.call("feeds", "test", str(place.folder / name), "--json")
        assert (done.code == 0) is (not error), done
        assert error in done.err
        assert error or json.loads(done.out)["entries"] == 1
    assert "No such file" in place.call("feeds", "test", "missing.xml").err


@pytest.fixture(scope="module", autouse=True)
def demos() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Both demos, side by side and beside all other tests here: most of their time is waiting."""
    started = {
        name: subprocess.Popen([str(MONITOR), "demo", *option, "--json"], stdout=subprocess.PIPE, text=True)
        for name, option in (("burst", ()), ("calm", ("--calm",)))
    }
    yield started
    for demo in started.values():
        demo.kill()
        demo.communicate()


def test_demo_tells_of_the_burst_once(demos: dict[str, subprocess.Popen[str]]) -> None:
    report = _report(demos["burst"])
    assert (report["emails"], report["webhooks"], report["webhooks_verified"]) == (1, 1, 1)
    assert report["alert_after_s"] <= 10


def test_demo_of_a_calm_day_tells_nothing(demos: dict[str, subprocess.Popen[str]]) -> None:
    report = _report(demos["calm"])
    assert (report["emails"], report["webhooks"]) == (0, 0)


def _report(demo: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, out
    report: dict[str, Any] = json.loads(out)
    assert report["as_expected"], report
    assert report["articles"] == report["published"]
    return report


def test_trends_of_a_key_have_no_holes_and_tell_zero_from_not_observed(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.ask("replay", str(archive.make(200).write(tmp_path / "archive.jsonl")))
    stored = place.ask("trends", "--resolution", "5m", "--limit", "100000")
    assert {row["observed"] for row in stored} == {None}  # an archive does not say who listened
    newest = max(datetime.fromisoformat(row["start"]) for row in stored)
    outage = newest - timedelta(minutes=50), newest - timedelta(minutes=20)

    async def listen() -> None:
        async with closing_store(place) as store:
            await store.coverage.heard("wire", newest - timedelta(hours=2), outage[0])
            await store.coverage.heard("wire", outage[1], newest + timedelta(minutes=5))

    asyncio.run(listen())
    until = (newest + timedelta(minutes=5)).isoformat()
    rows = place.ask("trends", "all", "--resolution", "5m", "--limit", "24", "--until", until)
    starts = [datetime.fromisoformat(row["start"]) for row in rows]
    assert starts == [newest - n * timedelta(minutes=5) for n in range(24)]
    counted = {row["start"]: row["articles"] for row in stored if row["key"] == ["all", "all"]}
    assert [row["articles"] for row in rows] == [counted.get(row["start"], 0) for row in rows]
    assert 0 in {row["articles"] for row in rows}
    assert [row["observed"] for row in rows] == [float(not outage[0] <= start < outage[1]) for start in starts]
    shown = place.call("trends", "all", "--resolution", "5m", "--limit", "24", "--until", until).out
    assert shown.count(" no ") == 6
    assert place.ask("trends", "source:nobody") == []


@asynccontextmanager
async def closing_store(place: Workplace) -> AsyncIterator[Store]:
    store = await Store.open(sqlite_url(place.folder / "data/monitor.sqlite3"))
    try:
        yield store
    finally:
        await store.aclose()
