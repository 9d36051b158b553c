"""What language a headline is in, whatever its feed declares."""

import pytest

from pipelines.ingest.language import LANGUAGES, UNKNOWN, detect

POLISH = "Bank wstrzymuje wypłaty dla klientów. Nadzór finansowy wszczął postępowanie w tej sprawie."
ENGLISH = "Bank halts withdrawals for customers. The financial regulator has opened an inquiry into the lender."


@pytest.mark.parametrize(
    ("text", "declared", "language"),
    [
        (POLISH, "en-US", "pl"),
        (POLISH, None, "pl"),
        (ENGLISH, "pl", "en"),
        (ENGLISH, "PL_pl", "en"),
        (ENGLISH, "", "en"),
        (ENGLISH.upper(), None, "en"),
        ("Die Bank stoppt Auszahlungen, die Aufsicht ermittelt gegen das Institut", "en", "de"),
        ("日本銀行は金利を据え置いた", "en", "ja"),
    ],
)
def test_the_text_decides(text: str, declared: str | None, language: str) -> None:
    assert detect(text, declared) == language


@pytest.mark.parametrize(
    "text",
    [
        "Tesla Q3 deliveries miss",
        "Oil slips 2%",
        "REG - Osmosis Fd Climate - Net Asset Value",
        "Apple shares fall",
        "Fed holds rates",
    ],
)
def test_a_short_english_headline_stays_english(text: str) -> None:
    assert detect(text, "en") == "en"
    assert detect(text, "en-GB") == "en"


@pytest.mark.parametrize("text", ["", " ", "🚨🚨", "1234 56%", "!?…", "\0"])
def test_what_has_no_letters_has_no_language(text: str) -> None:
    assert detect(text, "en") == UNKNOWN == "und"


@pytest.mark.parametrize("declared", ["x", "english", "en-", "-", "_", "und", "zz", "ß" * 35])
def test_any_declaration_may_be_nonsense(declared: str) -> None:
    assert detect(ENGLISH, declared) == "en"


def test_long_and_mixed_texts_have_one_of_the_known_languages() -> None:
    for text in (ENGLISH * 1000, POLISH + ENGLISH, "a", "Ω", "ё" * 500, "中" * 500):
        assert detect(text, None) in LANGUAGES


@pytest.mark.parametrize("title", ["SVB fails", "ECB holds", "Oil slips", "Tesla misses", "Bank opens branch"])
def test_a_headline_that_could_be_in_any_language_is_taken_for_english(title: str) -> None:
    assert detect(title, None) == "en"


@pytest.mark.parametrize(
    ("title", "language"),
    [
        ("Commerzbank streicht 900 Stellen", "de"),
        ("La BCE relève ses taux", "fr"),
        ("Telefónica gana un 20% más", "es"),
    ],
)
def test_but_not_one_that_clearly_is_in_another(title: str, language: str) -> None:
    assert detect(title, None) == language
