"""Whom a text names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.names import MAX_NAMES, names


@pytest.mark.parametrize(
    ("title", "summary", "expected"),
    [
        ("Northfield Bank's struggles spell trouble for start-ups", "", ["Northfield Bank"]),
        ("European bank stocks sink as Northfield Bank jitters spread", "", ["Northfield Bank"]),
        (
            "Shares of Northfield fall; regulator closes Castor Insurance Holdings",
            "",
            ["Northfield", "Castor Insurance"],
        ),
        ("Bank of England raises rates", "", ["Bank of England"]),
        ("US President Ann Smith meets Mr Jones in New York on Monday", "", ["US", "Ann Smith", "Jones", "New York"]),
        ("U.S. stocks and issues at Delmar Steel weigh", "", ["US", "Delmar Steel"]),
        ("They moved to Delmar Steel, Brunt Motors (Tallis Fund)", "", ["Delmar Steel", "Brunt Motors", "Tallis Fund"]),
        ("Why the Fed paused. What comes next", "", ["Fed"]),
        # A lone first word might be anybody; inside a sentence it is a name.
        ("Adler warns of losses", "", []),
        ("Adler warns of losses", "The maker of shoes said Adler had cut its dividend.", ["Adler"]),
        # Nothing is told by headlines in capitals but what the summary and capitals of all letters tell.
        ("Regulators Back Northfield Deposits After NFB Collapse", "", ["NFB"]),
        ("Regulators Back Lender Deposits", "The rescue of Northfield Bank calmed markets.", ["Northfield Bank"]),
        ("shares fall after report", "", []),
        ("", "", []),
        ("銀行の株価が下落", "", []),
    ],
)
def test_names_are_found_and_other_capitals_are_not(title: str, summary: str, expected: list[str]) -> None:
    assert names(title, summary) == expected


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_has_few_names_each_once(title: str, summary: str) -> None:
    found = names(title, summary)
    assert len(found) == len(set(found)) <= MAX_NAMES
    assert all(name.strip() == name != "" for name in found)
    assert found == names(title, summary)
