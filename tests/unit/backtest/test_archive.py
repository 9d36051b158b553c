"""An archive is looked through before anything starts."""

import gzip
import os
from pathlib import Path

import pytest

from monitor.backtest.archive import survey
from monitor.errors import DatasetError

GOOD = b'{"title": "Bank fails"}\n'


def write(path: Path, body: bytes) -> Path:
    path.write_bytes(body)
    return path


def test_lines_are_counted_and_the_first_unreadable_is_told(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", GOOD + b"\n{broken\n" + GOOD + b"[]\n")
    two = write(tmp_path / "two.jsonl.gz", gzip.compress(GOOD))
    found = survey([one, two])
    assert (found.items, found.unreadable) == (5, 2)
    assert found.first_unreadable is not None
    assert "one.jsonl, line 3" in found.first_unreadable
    assert survey([two]) == (1, 0, None)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the file is empty"),
        (b"garbage\n", "line 1"),
        pytest.param(gzip.compress(GOOD * 5000)[:60], "after line", id="cut off"),  # its bytes hold the time
        (b"\x1f\x8bnot gzip at all", "after line 0"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(tmp_path: Path, body: bytes, told: str) -> None:
    path = write(tmp_path / "bad.jsonl.gz", body)
    with pytest.raises(DatasetError) as caught:
        survey([path])
    assert str(path) in str(caught.value)
    assert told in str(caught.value)
    assert "expected" in str(caught.value) or "fetch the file again" in str(caught.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        survey([tmp_path / "gone.jsonl"])
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(DatasetError, match="more than once"):
            survey([path])
