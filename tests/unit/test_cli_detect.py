"""`monitor detect`: what it takes, what it prints, how it refuses."""

import csv
import gzip
import io
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from monitor.cli import detect
from monitor.errors import ConfigError, DatasetError

app = typer.Typer()
app.callback()(lambda: None)
detect.register(app)

START = datetime(2026, 3, 2, tzinfo=UTC)


Run = Callable[..., tuple[list[list[str]], str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs it, on standard input if that is given; returns the rows it prints, and its remarks."""

    def play(*arguments: str, given: str = "") -> tuple[list[list[str]], str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(given.encode()))))
        app(["detect", *arguments], standalone_mode=False)
        printed = capsys.readouterr()
        return list(csv.reader(io.StringIO(printed.out))), printed.err

    return play


def a_series(rows: int = 600, odd: int = 500) -> list[str]:
    rng = random.Random(4)
    values = [95.0 if row == odd else round(rng.gauss(40, 2), 2) for row in range(rows)]
    return [f"{START + timedelta(minutes=5 * row):%Y-%m-%d %H:%M:%S},{value}" for row, value in enumerate(values)]


def events(burst: int = 8) -> list[str]:
    rows = [f"{START + timedelta(hours=4 * n):%Y-%m-%dT%H:%M:%SZ},oil,{int(n % 5 == 0)},s{n}" for n in range(100)]
    late = START + timedelta(days=17)
    return [*rows, *(f"{late + timedelta(minutes=n):%Y-%m-%dT%H:%M:%SZ},oil,1,b{n}" for n in range(burst))]


def test_a_series_comes_back_row_by_row_with_scores(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "series.csv"
    file.write_text("\n".join(["timestamp,value", *a_series()]) + "\n")
    rows, remarks = run("--csv", str(file))
    assert rows[0] == ["timestamp", "value", "anomaly_score"]
    assert [",".join(row[:2]) for row in rows[1:]] == a_series()
    scores = [float(row[2]) for row in rows[1:]]
    assert scores[500] > 0.9
    assert max(scores[:500] + scores[505:]) < 0.6
    assert remarks == ""


def test_other_columns_are_kept_and_the_order_of_columns_is_free(run: Run) -> None:
    rows, _ = run("--csv", "-", given='site,Value,Timestamp\n"a, b",3,1700000000\n"",4,1700000300\n')
    assert rows == [
        ["site", "Value", "Timestamp", "anomaly_score"],
        ["a, b", "3", "1700000000", "0.000000"],
        ["", "4", "1700000300", "0.000000"],
    ]


def test_a_compressed_file_with_a_byte_order_mark_is_read(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "series.csv.gz"
    file.write_bytes(gzip.compress("\ufefftimestamp,value\n2026-03-02,1\n".encode()))
    assert len(run("--csv", str(file))[0]) == 2


def test_gaps_and_steps_back_are_scored_with_a_remark(run: Run) -> None:
    rows = a_series()
    rows[450] = rows[450].partition(",")[0] + ","
    rows[451] = rows[451].partition(",")[0] + ",NaN"
    rows[500], rows[501] = rows[501], rows[500]
    found, remarks = run("--csv", "-", given="\n".join(["timestamp,value", *rows]))
    assert found[451][2] == found[452][2] == "0.000000"
    assert "line 452 has no value" in remarks
    assert "line 453 has no value" in remarks
    assert "line 503 lies before the row above it" in remarks
    assert float(found[502][2]) > 0.9


def test_a_series_that_is_all_warm_up_says_so(run: Run) -> None:
    rows, remarks = run("--csv", "-", given="timestamp,value\n2026-03-02,4\n2026-03-03,5\n")
    assert [row[2] for row in rows[1:]] == ["0.000000"] * 2
    assert "--warmup-rows" in remarks


def test_many_remarks_are_summed_up(run: Run) -> None:
    rows = "\n".join(f"2026-03-02T{hour:02}:00,nan" for hour in range(20))
    _, remarks = run("--csv", "-", given=f"timestamp,value\n{rows}\n")
    assert remarks.count("has no value") == 5
    assert "15 more lines" in remarks


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "is empty"),
        ("when,value\n1,2\n", "line 1: expected a header with timestamp and value"),
        ("2026-03-02,4\n", "line 1: expected a header"),
        ("timestamp,value,anomaly_score\n", "line 1: has a column anomaly_score"),
        ("timestamp,value\n2026-03-02,4\n2026-03-03,four\n", "line 3: value 'four' is no number"),
        ("timestamp,value\n2026-03-02,1e155\n", "line 2: value '1e155' is too large"),
        ("timestamp,value\n2026-03-02,4\nyesterday-ish,5\n", "line 3: time 'yesterday-ish'"),
        ("timestamp,value\n2026-03-02,4\n10/03/2026,5\n", "line 3: time '10/03/2026' is not understood"),
        ("timestamp,value\n1700000000,4\n1700000000000,4\n", "line 3: .* numbers above are seconds"),
        ("timestamp,value,Value\n2026-03-02,4,5\n", "line 1: has 2 columns value; remove or rename"),
        ("timestamp,value,Timestamp\n2026-03-02,4,5\n", "line 1: has 2 columns timestamp; remove or rename"),
        ("timestamp,value\n2026-03-02,4,5\n", "line 2: 3 fields; the header has 2"),
        ('timestamp,value\n"2026-03-02,4\n', "line 2: .*comma-separated"),
    ],
)
def test_a_wrong_series_is_refused_by_line(run: Run, given: str, expected: str) -> None:
    with pytest.raises(DatasetError, match=f"standard input: {expected}"):
        run("--csv", "-", given=given)


@pytest.mark.parametrize("header", ["time,key,neg,story\n", ""])
def test_an_alert_is_one_row_at_the_time_of_its_event(run: Run, header: str) -> None:
    rows, _ = run("--events", "-", given=header + "\n".join(events()))
    assert rows[0] == ["time", "key", "score"]
    assert [row[1] for row in rows[1:]] == ["oil"]
    assert rows[1][0] in {line.partition(",")[0] for line in events()[-6:]}
    assert float(rows[1][2]) >= 4


def test_options_reach_the_detector(run: Run) -> None:
    given = "\n".join(events())
    assert len(run("--events", "-", "--theta", "40", given=given)[0]) == 1
    assert len(run("--events", "-", "--warmup-days", "30", given=given)[0]) == 1
    assert len(run("--events", "-", "--per-week", "0", given=given)[0]) == 1
    with_all = run("--csv", "-", "--warmup-rows", "0", given="timestamp,value\n1,1\n2,1\n3,1\n4,1\n5,1\n6,1\n7,999\n")[
        0
    ]
    assert float(with_all[-1][2]) > 0


def test_the_same_words_are_the_same_story(run: Run) -> None:
    rows = events(0)
    late = START + timedelta(days=17)
    titles = ["Oil falls!", "OIL FALLS", "oil  falls", "Oil, falls."] * 4
    rows += [f'{late + timedelta(minutes=n):%Y-%m-%dT%H:%M:%SZ},oil,1,"{title}"' for n, title in enumerate(titles)]
    assert len(run("--events", "-", given="\n".join(rows))[0]) == 1
    rows += [f"{late + timedelta(minutes=30 + n):%Y-%m-%dT%H:%M:%SZ},oil,1," for n in range(8)]
    assert len(run("--events", "-", given="\n".join(rows))[0]) == 2, "those without a story are one each"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("100,oil,maybe,s", "neg is 'maybe'; expected 0 or 1"),
        ("100,,1,s", "the key is empty"),
        ("100,oil,1", "3 fields; expected 4: time,key,neg,story"),
        ("soon,oil,1,s", "time 'soon' is not understood"),
        ("-99999,oil,1,s", "27.8 h before an earlier row"),
        ("99999999,oil,1,s", "1157 days after the row before"),
    ],
)
def test_a_wrong_event_is_refused_by_line(run: Run, row: str, expected: str) -> None:
    with pytest.raises(DatasetError, match=f"standard input: line 3: .*{expected}"):
        run("--events", "-", given=f"time,key,neg,story\n0,oil,0,a\n{row}\n")


def test_the_header_of_events_has_to_be_whole(run: Run) -> None:
    with pytest.raises(DatasetError, match="line 1: expected the columns time,key,neg,story"):
        run("--events", "-", given="time,key,story\n")
    with pytest.raises(DatasetError, match="line 1: has 2 columns key; remove or rename all but one"):
        run("--events", "-", given="time,key,neg,story,Key\n")


def test_one_file_is_needed_and_it_has_to_be_there(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either --csv FILE or --events FILE"):
        run()
    with pytest.raises(ConfigError, match="either --csv FILE or --events FILE"):
        run("--csv", "a", "--events", "b")
    with pytest.raises(DatasetError, match=r"^\S+none\.csv: No such file or directory; expected a file"):
        run("--csv", str(tmp_path / "none.csv"))
    with pytest.raises(DatasetError, match=rf"^{tmp_path}: Is a directory; expected a file"):
        run("--events", str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "zone"),
    [(("--csv", "-"), "EST"), (("--csv", "-"), "CET"), (("--events", "-"), "EST"), (("--events", "-"), "CET")],
)
def test_a_zone_that_is_several_is_refused(run: Run, arguments: tuple[str, str], zone: str) -> None:
    header = "timestamp,value" if arguments[0] == "--csv" else "time,key,neg,story"
    rest = "4" if arguments[0] == "--csv" else "oil,1,s"
    with pytest.raises(DatasetError, match=f"standard input: line 2: time '2026-03-10 10:00 {zone}' is not understood"):
        run(*arguments, given=f"{header}\n2026-03-10 10:00 {zone},{rest}\n")


def test_days_as_numbers_are_days(run: Run) -> None:
    """As seconds all of them would lie within hours, and earlier ones be what is refused."""
    rows = [f"{START + timedelta(days=n):%Y%m%d},oil,{int(n % 5 == 0)},s{n}" for n in range(60)]
    burst = [f"{START + timedelta(days=60):%Y%m%d},oil,1,b{n}" for n in range(9)]
    found, _ = run("--events", "-", given="\n".join([*rows, *burst]))
    assert [row[0] for row in found[1:]] == [f"{START + timedelta(days=60):%Y%m%d}"]


def test_events_in_milliseconds_alert_as_in_seconds(run: Run) -> None:
    def in_unit(factor: int) -> str:
        split = [line.partition(",") for line in events()]
        return "\n".join(f"{int(datetime.fromisoformat(at).timestamp()) * factor},{rest}" for at, _, rest in split)

    seconds, milliseconds = (run("--events", "-", given=in_unit(factor))[0][1:] for factor in (1, 1000))
    assert [row[2] for row in seconds] == [row[2] for row in milliseconds] != []


def test_an_empty_file_is_refused(run: Run) -> None:
    with pytest.raises(DatasetError, match="standard input: is empty; expected a header"):
        run("--csv", "-", given="\n")
    with pytest.raises(DatasetError, match="standard input: is empty; expected rows of time,key,neg,story"):
        run("--events", "-", given="\n")


@pytest.mark.parametrize(("option", "header"), [("--csv", "timestamp,value\n"), ("--events", "time,key,neg,story\n")])
def test_a_header_without_rows_is_told_of(run: Run, option: str, header: str) -> None:
    rows, remarks = run(option, "-", given=header)
    assert len(rows) == 1
    assert "has no row below the header" in remarks
    assert "warm-up" not in remarks


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("before", [0, 1, 5000])
def test_what_is_not_utf_8_is_named_by_line(run: Run, tmp_path: Path, before: int, newline: str) -> None:
    file = tmp_path / "latin.csv"
    lines = ["timestamp,value,site", *(f"{n},1,köln" for n in range(before))]
    file.write_bytes(newline.join([*lines, ""]).encode() + b"9999,1,k\xf6ln")
    with pytest.raises(DatasetError, match=f"line {before + 2}: is not UTF-8 text; save the file as UTF-8"):
        run("--csv", str(file))


def test_a_file_that_is_cut_off_is_named_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(7)
    whole = gzip.compress("\n".join(["timestamp,value", *(f"{n},{rng.random()}" for n in range(9000))]).encode())
    file = tmp_path / "cut.csv.gz"
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"cut\.csv\.gz: line (\d+): is cut off; fetch or compress") as caught:
        app(["detect", "--csv", str(file)], standalone_mode=False)
    read = capsys.readouterr().out.splitlines()
    assert f"line {len(read) + 1}:" in str(caught.value)
    assert len(read) > 1000
    file.write_bytes(whole[:-4] + b"none")
    with pytest.raises(DatasetError, match=r"line \d+: is damaged: "):
        app(["detect", "--csv", str(file)], standalone_mode=False)


def test_it_writes_as_it_reads() -> None:
    code = "import typer; from monitor.cli import detect; app = typer.Typer(); detect.register(app); app()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "--csv", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("timestamp,value\n2026-03-02,1\n")
        process.stdin.flush()
        assert process.stdout.readline() == "timestamp,value,anomaly_score\n"
        assert process.stdout.readline() == "2026-03-02,1,0.000000\n"
        process.stdin.write("2026-03-03,2\n")
        process.stdin.close()
        assert process.stdout.readline() == "2026-03-03,2,0.000000\n"
        assert process.wait() == 0
