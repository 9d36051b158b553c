"""The pieces in which an archive is played."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.domain.record import utc
from monitor.replay import Report, _chunks
from pipelines.ingest.intake import Arrival

MARCH = "2023-03-10T12:00:00Z"


def write(path: Path, *items: Any) -> Path:
    path.write_text("".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in items))
    return path


def arrivals(*files: Path) -> list[Arrival]:
    return [arrival for chunk, _ in _chunks(files) for arrival in chunk]


def test_pieces_are_bounded_and_in_order(tmp_path: Path) -> None:
    titles = [f"item {number}" for number in range(1201)]
    file = write(tmp_path / "a.jsonl", *({"title": title} for title in titles))
    assert [len(chunk) for chunk, _ in _chunks([file])] == [500, 500, 201]
    assert [arrival.entry.title for arrival in arrivals(file)] == titles


def test_what_cannot_be_read_is_refused_in_its_place(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"title": "a"}, "{broken", "", "   ", "[]", {"title": "b"})
    ((taken, refused),) = _chunks([file])
    assert [arrival.entry.title for arrival in taken] == ["a", "b"]
    assert [item.raw.strip() for item in refused] == [b"{broken", b"[]"]


def test_an_empty_archive_has_no_pieces(tmp_path: Path) -> None:
    assert list(_chunks([write(tmp_path / "a.jsonl"), write(tmp_path / "b.jsonl", "", "")])) == []


@pytest.mark.parametrize("date", [None, "", "soon", "1970-01-01", "2099-01-01", "1989-12-31T23:59:59Z", 5, ["x"]])
def test_a_date_that_cannot_be_believed_is_the_predecessor_s(date: Any, tmp_path: Path) -> None:
    items = [{"title": "a", "date_published": MARCH}, {"title": "b", "date_published": date}]
    fetched = [arrival.fetched_at for arrival in arrivals(write(tmp_path / "a.jsonl", *items))]
    assert fetched == [utc(2023, 3, 10, 12)] * 2
    first = arrivals(write(tmp_path / "b.jsonl", items[1]))
    assert first[0].fetched_at == utc(1990, 1, 1)


def test_every_date_is_in_utc(tmp_path: Path) -> None:
    items = [{"title": "a", "date_published": text} for text in ("2023-03-10 14:00:00+02:00", "2023-03-10 12:00:00")]
    fetched = [arrival.fetched_at for arrival in arrivals(write(tmp_path / "a.jsonl", *items))]
    assert fetched == [utc(2023, 3, 10, 12)] * 2
    assert all(moment.utcoffset() == timedelta(0) for moment in fetched)


def test_a_moment_still_to_come_is_not_believed(tmp_path: Path) -> None:
    tomorrow = SystemClock().now() + timedelta(days=1)
    file = write(tmp_path / "a.jsonl", {"title": "a", "date_published": tomorrow.isoformat()})
    assert arrivals(file)[0].fetched_at == utc(1990, 1, 1)


def test_an_item_without_a_source_counts_for_its_file(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", {"title": "a"}, {"title": "b", "source": "wire"})
    second = write(tmp_path / "b.jsonl", {"title": "c"})
    assert [arrival.source for arrival in arrivals(first, second)] == ["a.jsonl", "wire", "b.jsonl"]


def test_what_is_accounted_for() -> None:
    report = Report(
        read=11,
        labelled=5,
        other_language=2,
        duplicates=2,
        dead_letters=1,
        expired=1,
        spikes=0,
        recovered=3,
        took_s=1.0,
    )
    assert report.accounted
    assert not report._replace(duplicates=1).accounted
