"""Episodes: read strictly, matched as the document says, with intervals that hold."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.backtest.episodes import Episode, judge, median, read, share
from monitor.domain.record import utc
from monitor.domain.spikes import Severity
from monitor.domain.windows import ALL, Key
from monitor.errors import DatasetError
from tests.unit.backtest.past import BANKS, LAST, make_alarm, make_negative, make_played

START = utc(2026, 3, 4, 12)
END = utc(2026, 3, 5)


def written(folder: Path, text: str) -> Path:
    path = folder / "episodes.csv"
    path.write_text(text, encoding="utf-8")
    return path


def episodes(folder: Path, text: str) -> list[Episode]:
    return read(written(folder, text))


def test_a_row_becomes_an_episode(tmp_path: Path) -> None:
    text = "name,key,start,end,match,severity\nBank run,topic:*,2026-03-04T13:00+01:00,2026-03-05,bank|lender,Severe\n"
    (found,) = episodes(tmp_path, text)
    assert (found.name, found.key, found.start, found.end) == ("Bank run", "topic:*", START, END)
    assert found.match is not None
    assert found.match.is_in("A LENDER fails")
    assert not found.match.is_in("A broker fails")
    assert found.severity is Severity.SEVERE


def test_key_match_and_severity_may_be_missing_or_empty(tmp_path: Path) -> None:
    (without,) = episodes(tmp_path, "name,start,end\nA,2026-03-04T12:00,2026-03-05\n")
    (empty,) = episodes(tmp_path, "name,key,start,end,match,severity\nA,,2026-03-04T12:00,2026-03-05,,\n")
    assert without == empty == Episode("A", START, END)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1"),
        ("title,start,end\n", "line 1: no column name, unknown column title"),
        ("name,start,end,match,start,match\n", "line 1: match, start more than once"),
        (
            "name,start,end,match\nA,2026-03-04,2026-03-05,(?=a)b\n",
            "line 2, column match: not a regular expression of RE2",
        ),
        (
            "name,start,end,match\nA,2026-03-04,2026-03-05,(a)\\1\n",
            "line 2, column match: not a regular expression of RE2",
        ),
        ("name,start,end\n", "no episode"),
        ("name,start,end\nA,2026-03-04,2026-03-05\nB,yesterday,2026-03-05\n", "line 3, column start"),
        ("name,start,end\nA,2026-03-04,2026-13-05\n", "line 2, column end"),
        ("name,start,end\nA,2026-03-04,2026-03-04\n", "line 2, column end: expected a time after the start"),
        ("name,start,end\n,2026-03-04,2026-03-05\n", "line 2, column name"),
        ("name,start,end\nA,2026-03-04,2026-03-05\nA,2026-03-06,2026-03-07\n", "line 3, column name: 'A' again"),
        ("name,start,end,match\nA,2026-03-04,2026-03-05,(\n", "line 2, column match"),
        ("name,start,end,severity\nA,2026-03-04,2026-03-05,huge\n", "line 2, column severity"),
        ("name,start,end\nA,2026-03-04\n", "line 2: expected 3 fields"),
        ("name,start,end\nA,2026-03-04,2026-03-05,more\n", "line 2: expected 3 fields"),
        ('name,start,end\nA,2026-03-04,"2026\n', "expected CSV"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_column(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DatasetError) as caught:
        episodes(tmp_path, text)
    assert told in str(caught.value)
    assert "episodes.csv" in str(caught.value)
    assert "expected" in str(caught.value) or "give each" in str(caught.value) or "regular" in str(caught.value)


def test_no_expression_and_no_title_make_it_hang(tmp_path: Path) -> None:
    """Backtracking takes 2**60 steps over such a title."""
    (episode,) = episodes(tmp_path, r"name,start,end,match" "\n" r"A,2026-03-04T12:00,2026-03-05,^(\w+\s?)*!$" "\n")
    assert not episode.is_told_by(make_alarm(START, "a" * 60 + "?").spike)
    assert episode.is_told_by(make_alarm(START, "a" * 60 + "!").spike)
    assert not episode.holds(make_negative(START, "half a pair: \ud800"))


def test_case_is_no_matter_in_any_alphabet(tmp_path: Path) -> None:
    (episode,) = episodes(tmp_path, "name,start,end,match\nA,2026-03-04T12:00,2026-03-05,börse|κρίση\n")
    assert episode.is_told_by(make_alarm(START, "BÖRSE fällt", "ΚΡΊΣΗ").spike)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.csv: no such file"):
        read(tmp_path / "gone.csv")
    (tmp_path / "bytes.csv").write_bytes(b"name,start,end\n\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"bytes\.csv"):
        read(tmp_path / "bytes.csv")


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("", True),
        ("topic:Financials", True),
        ("TOPIC:fin*", True),
        ("topic:*", True),
        ("all", False),
        ("entity:*", False),
    ],
)
def test_a_key_is_a_pattern(key: str, told: bool) -> None:
    assert Episode("A", START, END, key).is_told_by(make_alarm(START).spike) is told


@pytest.mark.parametrize(("minutes", "told"), [(-1, False), (0, True), (719, True), (720, False)])
def test_the_end_is_not_included(minutes: int, told: bool) -> None:
    assert Episode("A", START, END).is_told_by(make_alarm(START + timedelta(minutes=minutes)).spike) is told


@pytest.mark.parametrize(
    ("titles", "told"),
    [
        (("Bank fails", "Bank run", "Rain"), True),
        (("Bank fails", "Snow", "Rain"), False),
        (("Bank fails",), True),
        (("Rain",), False),
    ],
)
def test_two_titles_have_to_match(tmp_path: Path, titles: tuple[str, ...], told: bool) -> None:
    (episode,) = episodes(tmp_path, "name,start,end,match\nA,2026-03-04T12:00,2026-03-05,bank\n")
    assert episode.is_told_by(make_alarm(START, *titles).spike) is told


def test_precision_recall_and_delay() -> None:
    alarms = [
        make_alarm(START - timedelta(hours=1), severity=Severity.WARNING),
        make_alarm(START + timedelta(minutes=40)),
        make_alarm(START + timedelta(hours=2)),
        make_alarm(START + timedelta(hours=3), key=ALL),
    ]
    wanted = [
        Episode("found", START, END, "topic:*", severity=Severity.SEVERE),
        Episode("missed", START + timedelta(days=2), END + timedelta(days=2), severity=Severity.SEVERE),
        Episode("not played", LAST + timedelta(days=1), LAST + timedelta(days=2)),
    ]
    verdict = judge(make_played(alarms), wanted)
    assert verdict.overall.precision[:2] == (2, 4)
    assert verdict.overall.recall[:2] == (1, 2)
    assert verdict.overall.delay[:2] == (1, 40.0)
    assert [heard.alarms for heard in verdict.episodes] == [2, 0, 0]
    assert [heard.in_span for heard in verdict.episodes] == [True, True, False]
    assert verdict.told == ((), ("found",), ("found",), ())
    assert verdict.by_severity[Severity.WARNING].precision[:2] == (0, 1)
    assert verdict.by_severity[Severity.SEVERE].precision[:2] == (2, 3)
    assert verdict.by_severity[Severity.SEVERE].recall[:2] == (1, 2)


def test_the_third_and_the_fourth_distinct_story() -> None:
    negatives = [
        make_negative(START - timedelta(minutes=5), "before"),
        *(make_negative(START + timedelta(minutes=10 * n), title) for n, title in enumerate("AABCBDE")),
        make_negative(START + timedelta(minutes=25), "of another key", Key("topic", "Macro")),
    ]
    verdict = judge(
        make_played([make_alarm(START + timedelta(minutes=55))], negatives), [Episode("A", START, END, str(BANKS))]
    )
    (heard,) = verdict.episodes
    assert heard.stories == 5
    assert (heard.third_at, heard.after_third_min) == (START + timedelta(minutes=30), 25.0)
    assert (heard.fourth_at, heard.after_fourth_min) == (START + timedelta(minutes=50), 5.0)


def test_too_few_stories_have_no_third() -> None:
    verdict = judge(make_played([make_alarm(START)], [make_negative(START, "A")]), [Episode("A", START, END)])
    (heard,) = verdict.episodes
    assert (heard.stories, heard.third_at, heard.after_third_min, heard.delay_min) == (1, None, None, 0.0)


def test_nothing_to_judge_has_no_figures() -> None:
    verdict = judge(make_played(first=None, last=None), [])
    assert verdict.overall.precision == verdict.overall.recall == (0, 0, None, None, None)
    assert verdict.overall.delay == (0, None, None, None)


@given(total=st.integers(1, 400), data=st.data())
def test_an_interval_holds_its_share(total: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, total))
    found, mirrored = share(hits, total), share(total - hits, total)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert mirrored.low == pytest.approx(1 - found.high, abs=2e-4)


def test_wilson_as_published() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: 15 of 148 and 0 of 20.
    assert share(15, 148)[3:] == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert share(0, 20)[3:] == pytest.approx((0.0, 0.1611), abs=1e-4)


@given(st.lists(st.floats(-1e4, 1e4, allow_nan=False), min_size=1, max_size=30))
def test_a_median_lies_in_its_interval_and_order_does_not_matter(delays: list[float]) -> None:
    found = median(delays)
    assert found.low is not None
    assert found.value is not None
    assert found.high is not None
    assert min(delays) - 0.1 <= found.low <= found.value <= found.high <= max(delays) + 0.1
    assert median(delays[::-1]) == found
