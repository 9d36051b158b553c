"""Reading labelled rows: every format, and what is said of what cannot be read."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from monitor.domain.labels import Sentiment, Topic
from monitor.errors import DatasetError
from pipelines.training import files
from pipelines.training.rows import Labels, Row, read

NONE = Labels({}, {})
NUMBERS = Labels({"0": "Dividend"}, {"0": "Bearish", "1": "bullish"})
DEEP = 100_000  # more than Python's own limit on any machine


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def pack(path: Path, text: str) -> str:
    path.write_bytes(gzip.compress(text.encode()))
    return str(path)


def test_csv_with_names_and_with_gaps(tmp_path: Path) -> None:
    name = write(
        tmp_path / "a.csv",
        'text,topic,sentiment\n"Payout raised, again",dividend,Bullish\nRates held,Fed | Central Banks, \nNothing,,\n',
    )
    assert read(name, NONE) == [
        Row("Payout raised, again", Topic.DIVIDEND, Sentiment.POSITIVE),
        Row("Rates held", Topic.CENTRAL_BANKS, None),
    ]


def test_a_column_label_answers_the_one_question_asked(tmp_path: Path) -> None:
    name = write(tmp_path / "a.csv", "text,label\nBank falls https://t.co/x,0\nBank rises,1\n")
    assert [row.sentiment for row in read(name, NUMBERS, only="sentiment")] == [Sentiment.NEGATIVE, Sentiment.POSITIVE]
    assert read(name, NUMBERS, only="sentiment")[0].text == "Bank falls"
    with pytest.raises(DatasetError, match="no column topic or sentiment; it has text, label"):
        read(name, NUMBERS)


def test_jsonl_and_parquet_say_the_same(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {"text": "Oil jumps", "topic": "Energy | Oil", "sentiment": None},
        {"text": "Up", "topic": None, "sentiment": "positive"},
    ]
    lines = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows) + "\n")
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read(lines, NONE) == read(str(tmp_path / "a.parquet"), NONE)
    assert len(read(lines, NONE)) == 2


def test_in_jsonl_each_row_says_what_it_is_labelled_for(tmp_path: Path) -> None:
    rows = [
        {"text": "Unread"},
        {"text": "Up", "sentiment": "positive"},
        {"text": "Oil jumps", "topic": "Energy | Oil"},
        {"text": "Bank falls", "label": "negative"},
    ]
    name = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert read(name, NONE) == [Row("Up", None, Sentiment.POSITIVE), Row("Oil jumps", Topic.ENERGY, None)]
    assert read(name, NONE, only="sentiment") == [
        Row("Up", None, Sentiment.POSITIVE),
        Row("Bank falls", None, Sentiment.NEGATIVE),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "text, sentiment\nBank rises, positive\n",
        "\ufeffText,SENTIMENT \r\nBank rises,positive\r\n",
        "text;sentiment\nBank rises;positive\n",
        "text\tsentiment\nBank rises\tpositive\n",
        '"text"|"sentiment"\n"Bank rises"|positive\n',
        "id;text;sentiment;at\n1;Bank rises;positive;8,5\n",
        "\n  \ntext,sentiment\n\nBank rises,positive\n \n",
        "text,sentiment\rBank rises,positive\r",
    ],
)
def test_a_header_is_known_by_its_names_however_it_is_written(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv").write_bytes(content.encode())
    assert read(str(tmp_path / "a.csv"), NONE) == [Row("Bank rises", None, Sentiment.POSITIVE)]


def test_names_of_columns_are_known_in_every_format(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    row = {" Title": "Bank rises", "Sentiment": "positive"}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "a.parquet")
    lines = write(tmp_path / "a.jsonl", json.dumps(row))
    assert read(lines, NONE) == read(str(tmp_path / "a.parquet"), NONE) == [Row("Bank rises", None, Sentiment.POSITIVE)]


def test_packed_files_are_read(tmp_path: Path) -> None:
    rows = [Row("Bank rises", None, Sentiment.POSITIVE)]
    assert read(pack(tmp_path / "a.csv.gz", "text,sentiment\nBank rises,positive\n"), NONE) == rows
    assert read(pack(tmp_path / "a.JSONL.GZ", '{"text": "Bank rises", "sentiment": "positive"}\n'), NONE) == rows


def test_a_packed_file_that_is_cut_off_or_is_none_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"text,sentiment\nBank rises,positive\n")
    for content in (whole[:-10], whole[:12] + bytes(len(whole)), b"text,sentiment\n"):
        (tmp_path / "a.csv.gz").write_bytes(content)
        with pytest.raises(DatasetError, match=r"a.csv.gz: not a whole gzip file"):
            read(str(tmp_path / "a.csv.gz"), NONE)


def test_a_line_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LONGEST", 100)
    monkeypatch.setattr(csv, "field_size_limit", lambda _: None)
    long = "up " * 50
    with pytest.raises(DatasetError, match="row 2: a line of more than 100 characters"):
        read(pack(tmp_path / "a.csv.gz", f"text,sentiment\nup,positive\n{long},positive\n"), NONE)
    with pytest.raises(DatasetError, match="row 1: a line of more than 100 characters"):
        read(pack(tmp_path / "a.jsonl.gz", json.dumps({"text": long, "sentiment": "positive"})), NONE)


@pytest.mark.parametrize("whole", ["1", "1.0", " 1. ", "1.00"])
def test_a_whole_number_is_read_however_a_column_with_gaps_is_written(tmp_path: Path, whole: str) -> None:
    name = write(tmp_path / "a.csv", f"text,sentiment\nBank rises,{whole}\nBank opens,\n")
    assert read(name, NUMBERS) == [Row("Bank rises", None, Sentiment.POSITIVE)]
    with pytest.raises(DatasetError, match=r"unknown label .* \(a number needs --labels\)"):
        read(name, NONE)


@pytest.mark.parametrize("said", ["1.5", "-1", "7", "True", "1e0"])
def test_a_number_that_is_not_listed_is_refused(tmp_path: Path, said: str) -> None:
    with pytest.raises(DatasetError, match=f"row 1, column sentiment: unknown label '{said}'"):
        read(write(tmp_path / "a.csv", f"text,sentiment\nBank rises,{said}\n"), NUMBERS)


@pytest.mark.parametrize("said", ["NaN", "nan", "None", "null", "N/A"])
def test_a_word_for_nothing_is_not_taken_for_an_empty_cell(tmp_path: Path, said: str) -> None:
    with pytest.raises(DatasetError, match=rf"unknown label '{said}' \(leave the cell empty if there is none\)"):
        read(write(tmp_path / "a.csv", f"text,sentiment\nBank rises,{said}\n"), NUMBERS)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (
            "a.csv",
            "text,topic\nfine,Macro\nbad,Wether\n",
            r"row 2, column topic: unknown label 'Wether'; known: .*Macro",
        ),
        ("a.csv", "text,topic\nbad,7\n", r"row 1, column topic: unknown label '7' \(a number needs --labels\)"),
        ("a.csv", "body,topic\nx,Macro\n", "no column text; it has body, topic"),
        ("a.csv", "text,topic\nx,Macro,more\n", r"row 1: more cells than the header has columns \(3, not 2\)"),
        ("a.csv", "text,topic\nx,Macro\n\ny\n", r"row 2: fewer cells than the header has columns \(1, not 2\)"),
        ("a.csv", "text,topic\n", "no labelled row"),
        ("a.csv", "text,topic\nx,\n", "no labelled row"),
        ("a.csv", "", "a.csv: is empty"),
        ("a.csv", " \n\n", "a.csv: is empty"),
        ("a.csv", "text,topic,topic\nx,Macro,IPO\n", "a.csv: two columns named topic"),
        ("a.csv", "Text,text,topic\nx,y,IPO\n", "a.csv: two columns named text"),
        ("a.csv", 'text,topic\nx,Macro\n"y" z,Macro\n', "row 2: .* is there a quotation mark too few"),
        ("a.csv", 'text,topic\n"y,Macro\nz,Macro\n', "row 1: unexpected end of data; is there a quotation mark"),
        ("a.csv", '"text,topic\ny,Macro\n', "header: unexpected end of data"),
        ("a.jsonl", "", "a.jsonl: is empty"),
        ("a.jsonl", "\n", "no labelled row"),
        ("a.jsonl", '{"text": "x", "topic": "Macro"}\n{"text": \n', r"row 2: not JSON: Expecting value \(column 9\)"),
        ("a.jsonl", "[1]\n", "row 1: not an object"),
        ("a.jsonl", "[" * DEEP + "\n", "row 1: .*nested too deep"),
        ("a.jsonl", '{"text": "x", "topic": ' + "[" * DEEP + "]" * DEEP + "}\n", "row 1: .*nested too deep"),
        ("a.jsonl", '{"text": "x", "topic": ' + "[" * 200 + "]" * 200 + "}\n", "row 1, column topic: unknown label"),
        ("a.jsonl", '{"text": "x", "topic": ' + "9" * 5000 + "}\n", "row 1: .*too many digits"),
        ("a.jsonl", '{"text": "x", "topic": "Macro", "topic": "IPO"}\n', "row 1: two columns named topic"),
        ("a.jsonl", '{"text": NaN, "topic": "Macro"}\n', "row 1, column text: nan is not a text"),
        ("a.jsonl", '{"text": null, "topic": "Macro"}\n', "row 1, column text: no text"),
        ("a.jsonl", '{"topic": "Macro"}\n', "row 1: no column text; it has topic"),
        (
            "a.jsonl",
            '{"text": "x", "topic": "Macro"}\n\n{"title": "y", "topic": "Macro"}\n',
            "row 3, column text: no text; the row has title, topic",
        ),
        ("a.jsonl", '{"text": "x", "mood": "up"}\n{"text": "y"}\n', "no column topic or sentiment; it has text, mood"),
        ("a.parquet", "", "a.parquet: is empty"),
        ("a.parquet", "no parquet", "not a Parquet file"),
        ("a.txt", "text", "not one of .csv, .jsonl, .parquet, the first two also as .gz"),
        ("a.parquet.gz", "text", "not one of .csv, .jsonl, .parquet"),
    ],
)
def test_what_is_wrong_is_told_with_file_row_and_column(tmp_path: Path, file: str, content: str, said: str) -> None:
    name = write(tmp_path / file, content)
    with pytest.raises(DatasetError, match=said) as caught:
        read(name, NONE)
    assert file in str(caught.value)
    assert len(str(caught.value)) < 700 + len(name)


def test_of_a_parquet_file_only_the_columns_that_matter_are_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    late = pyarrow.array([10**17], pyarrow.timestamp("ms"))
    columns = {"text": pyarrow.array(["Bank rises"]), "mood": pyarrow.array(["positive"]), "at": late}
    name = str(tmp_path / "a.parquet")
    parquet.write_table(pyarrow.table({**columns, "sentiment": columns["mood"]}), name)
    assert read(name, NONE) == [Row("Bank rises", None, Sentiment.POSITIVE)]
    parquet.write_table(pyarrow.table(columns), name)
    with pytest.raises(DatasetError, match="no column topic or sentiment; it has text, mood, at"):
        read(name, NONE)
    parquet.write_table(pyarrow.table({"at": late}), name)
    with pytest.raises(DatasetError, match="no column text; it has at"):
        read(name, NONE)
    parquet.write_table(pyarrow.table({"text": columns["text"], "topic": late}), name)
    with pytest.raises(DatasetError, match=r"a.parquet, rows 1 to 1: cannot be read"):
        read(name, NONE)


def test_a_parquet_file_with_one_column_twice_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_arrays([["a"], ["b"], ["positive"]], names=["text", "text", "sentiment"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=r"a.parquet: two columns named text"):
        read(str(tmp_path / "a.parquet"), NONE)


def test_a_file_that_is_not_there_and_a_folder_in_its_place(tmp_path: Path) -> None:
    for absent in ("absent.csv", "absent.jsonl.gz"):
        with pytest.raises(DatasetError, match=f"{absent}: no such file"):
            read(str(tmp_path / absent), NONE)
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(DatasetError, match=r"a.csv: is a folder, not a file"):
        read(str(tmp_path / "a.csv"), NONE)


@pytest.mark.parametrize(
    ("file", "content", "place"),
    [
        ("a.csv", b"text,topic\nfine,Macro\nSoci\xe9t\xe9,Macro\n", "row 2"),
        ("a.csv", "text,topic\nfine,Macro\n".encode("utf-16"), "header"),
        ("a.jsonl", b'{"text": "fine", "topic": "Macro"}\n{"text": "Soci\xe9t\xe9"}\n', "row 2"),
    ],
)
def test_bytes_that_are_no_text_are_told_with_their_row_and_the_remedy(
    tmp_path: Path, file: str, content: bytes, place: str
) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DatasetError, match=f"{file}, {place}: not UTF-8; save it as UTF-8"):
        read(str(tmp_path / file), NONE)


def test_label_names_are_read_by_whole_number(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text('\ufeff{"sentiment": {"0": "Bearish", "1.0": "bullish"}}', encoding="utf-8")
    assert Labels.read(path) == Labels({}, {"0": "Bearish", "1": "bullish"})
    name = write(tmp_path / "a.csv", "text,sentiment\nBank rises,1\n")
    assert read(name, Labels.read(path)) == [Row("Bank rises", None, Sentiment.POSITIVE)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", r'expected label names as \{"topic": \{"0": '),
        (b"{}", "expected label names as"),
        (b"3", "expected label names as"),
        (b'{"0": "negative"}', "'0': expected label names as"),
        (b'{"topic": 3}', "'topic': expected label names as"),
        (b'{"sentiment": ["negative"]}', "'sentiment': expected label names as"),
        (b'{"sentiments": {"0": "negative"}}', "'sentiments': expected label names as"),
        (b'{"sentiment": {"1": "happy"}}', "sentiment 1: unknown label 'happy'; known: negative"),
        (b'{"sentiment": {"1": 2}}', "sentiment 1: unknown label 2; known: negative"),
        (b'{"sentiment": {"1": "negative", "1.0": "positive"}}', "sentiment: '1' stands there twice"),
        (b'{"topic": {}, "topic": {"0": "IPO"}}', "'topic' stands there twice"),
        (b"{", "not JSON"),
        (b"[" * DEEP, "nested too deep"),
        (b'{"sentiment": {"1": "\xe9"}}', "not UTF-8; save it as UTF-8"),
    ],
)
def test_label_names_that_are_none_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=said) as caught:
        Labels.read(path)
    assert str(caught.value).startswith(str(path))


def test_label_names_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"labels.json: not a JSON file of label names: No such file"):
        Labels.read(tmp_path / "labels.json")
    with pytest.raises(DatasetError, match="not a JSON file of label names: Is a directory"):
        Labels.read(tmp_path)
