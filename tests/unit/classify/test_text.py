"""What a model reads of a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.classify.text import READ_CHARS, normalise


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("AT&amp;T cuts dividend https://t.co/abc", "AT&T cuts dividend"),
        ("AT&amp;amp;T", "AT&T"),
        ("Title\nSummary of it", "Title. Summary of it"),
        ("Really?\n\n  Yes\r\nno", "Really? Yes. no"),
        ("RT @wire: Oil jumps", "Oil jumps"),
        ("pic.twitter.com/xyz $AAPL up", "$AAPL up"),
        ("co\xadop\u200b b\x00c\ud800d", "coop b c d"),
        ("ﬁrm １２％", "firm 12%"),
        ("https://only.link/there", ""),
        ("", ""),
        ("\n \n", ""),
    ],
)
def test_marks_of_the_medium_are_taken_away(text: str, read: str) -> None:
    assert normalise(text) == read


@given(st.text())
def test_the_outcome_is_one_line_without_runs_of_space(text: str) -> None:
    read = normalise(text)
    assert read == " ".join(read.split())
    assert read.isprintable()


@given(st.text(alphabet=st.characters(codec="ascii", categories=("L", "N")) | st.just(" ")))
def test_plain_text_is_left_alone(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text) == " ".join(text.split())


def test_a_megabyte_is_cut_before_it_costs_anything() -> None:
    assert len(normalise("word " * 200_000)) <= READ_CHARS
    assert len(normalise("ﷺ" * 1_000_000)) <= READ_CHARS
