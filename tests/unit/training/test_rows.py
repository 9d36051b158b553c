"""Reading labelled rows: every format, and what is said of what cannot be read."""

import json
from pathlib import Path

import pytest

from monitor.domain.labels import Sentiment, Topic
from monitor.errors import DatasetError
from pipelines.training.rows import Labels, Row, read

NONE = Labels({}, {})
NUMBERS = Labels({"0": "Dividend"}, {"0": "Bearish", "1": "bullish"})


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_csv_with_names_and_with_gaps(tmp_path: Path) -> None:
    name = write(
        tmp_path / "a.csv",
        'text,topic,sentiment\n"Payout raised, again",dividend,Bullish\nRates held,Fed | Central Banks,\nNothing,,\n',
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
        ("a.csv", "text,topic\nx,Macro,more\n", "row 1: more cells"),
        ("a.csv", "text,topic\n", "no labelled row"),
        ("a.csv", "text,topic\nx,\n", "no labelled row"),
        ("a.csv", "", "no labelled row"),
        ("a.jsonl", '{"text": "x", "topic": "Macro"}\n{"text": \n', "row 2: not JSON"),
        ("a.jsonl", "[1]\n", r"row 1: \[1\] is not an object"),
        ("a.jsonl", '{"text": NaN, "topic": "Macro"}\n', "row 1, column text: nan is not a text"),
        ("a.jsonl", '{"text": "x", "topic": "Macro"}\n{"topic": "Macro"}\n', "row 2, column text: None is not a text"),
        ("a.parquet", "no parquet", "not a Parquet file"),
        ("a.txt", "text", "not one of .csv, .jsonl, .parquet"),
    ],
)
def test_what_is_wrong_is_told_with_file_row_and_column(tmp_path: Path, file: str, content: str, said: str) -> None:
    name = write(tmp_path / file, content)
    with pytest.raises(DatasetError, match=said) as caught:
        read(name, NONE)
    assert file in str(caught.value)


def test_a_file_that_is_not_there_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        read(str(tmp_path / "absent.csv"), NONE)
    (tmp_path / "a.csv").write_bytes(b"text,topic\n\xff\xfe,Macro\n")
    with pytest.raises(DatasetError, match="cannot be read"):
        read(str(tmp_path / "a.csv"), NONE)


def test_label_names_that_are_no_table_are_refused(tmp_path: Path) -> None:
    for content in ("[]", "{", '{"topic": 3}'):
        path = tmp_path / "labels.json"
        path.write_text(content)
        with pytest.raises(DatasetError, match=r"labels.json"):
            Labels.read(path)
