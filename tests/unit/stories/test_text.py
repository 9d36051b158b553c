"""What is read of an article: marks, sources, datelines, and kinds of words."""

import pytest

from pipelines.stories.text import CALENDAR, KIND, NAME, NEGATIVE, NUMBER, POSITIVE, bases, read

HEADLINE = "Harbour authority shelves expansion of container port"


@pytest.mark.parametrize(
    "dressed",
    [
        f"UPDATE 2-{HEADLINE}",
        f"RPT-UPDATE 1-{HEADLINE}",
        f"CORRECTED - {HEADLINE}",
        f"REFILE-{HEADLINE}",
        f"CORRECTED (OFFICIAL)-{HEADLINE}",
        HEADLINE.replace("authority", "authority (NYSE: HBR)"),
        HEADLINE.replace("authority", "authority <7906.T>"),
        f"BREAKING: {HEADLINE}",
        f"Exclusive: {HEADLINE}",
        f"Live: {HEADLINE}",
        f"[UPDATE] {HEADLINE}",
        f"{HEADLINE} (update 3)",
        f"{HEADLINE} - Reuters",
        f"{HEADLINE} | Financial Times",
        f"{HEADLINE} – Lakeside Courier",
        f"{HEADLINE} - lakesidecourier.com",
        f"{HEADLINE} By Reuters",
        f"Reuters: {HEADLINE}",
        f"  {HEADLINE.upper()}  ",
        HEADLINE.replace("authority", "authority's"),
        HEADLINE.replace("o", "ó"),
        f"<b>{HEADLINE}</b>",
    ],
)
def test_marks_sources_and_dress_are_not_the_story(dressed: str) -> None:
    assert bases(read(dressed, "").title) == bases(read(HEADLINE, "").title)


@pytest.mark.parametrize(
    "title",
    ["Form 8.3 - Ostrava Foods plc", "Velden plc - Holding(s) in Company", "Orsett Group - Director Shareholding"],
)
def test_what_stands_after_a_dash_in_a_filing_is_no_source(title: str) -> None:
    last = title.rsplit(" - ", 1)[1]
    assert bases(read(last, "").title) <= bases(read(title, "").title)


@pytest.mark.parametrize(
    ("word", "kind"),
    [("Kestrel", NAME), ("4.8", NUMBER), ("25,000", NUMBER), ("Monday", CALENDAR), ("Q3", CALENDAR), ("2019", CALENDAR),
     ("gains", POSITIVE), ("plunged", NEGATIVE)],
)  # fmt: skip
def test_kinds(word: str, kind: int) -> None:
    codes = {code & ~KIND: code & KIND for code in read(f"the report on {word} was then published online", "").title}
    alone = next(iter(bases(read(f"{word}", "").title)))
    assert codes[alone] == kind


@pytest.mark.parametrize(
    "summary",
    [
        "LONDON (Reuters) - The port's owner gave up its plans, citing costs.",
        "(Reuters) - The port's owner gave up its plans, citing costs.",
        "By Reuters The port's owner gave up its plans, citing costs.",
        f"{HEADLINE}. The port's owner gave up its plans, citing costs.",
        "The port’s owner gave up its plans, citing costs",
    ],
)
def test_datelines_and_a_repeated_title_are_left_out_of_the_summary(summary: str) -> None:
    said = read(HEADLINE, "The port's owner gave up its plans, citing costs.").summary
    assert bases(read(HEADLINE, summary).summary) == bases(said)


def test_an_update_and_a_cut_title_are_noticed() -> None:
    assert read(f"UPDATE 2-{HEADLINE}", "").updated
    assert not read(f"RPT-{HEADLINE}", "").updated
    assert read("Harbour authority shelves expansion of contai...", "").cut
    assert not read(HEADLINE, "").cut


def test_a_script_without_spaces_is_read_by_the_character() -> None:
    assert len(read("丰田公布第二季度财报", "").title) > 5


@pytest.mark.parametrize("title", ["", "   ", "...", "|", "-", "the of", "\ud800", "(((" * 100, "- " * 150, "<" * 300])
def test_anything_can_be_read(title: str) -> None:
    assert read(title, title).title == read(title, title).title
