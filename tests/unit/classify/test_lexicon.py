"""The word-list classifier: headlines no analyst would dispute, negation, and what holds for any text."""

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import plugins
from monitor.clock import SystemClock
from monitor.domain.labels import Label, Sentiment, Topic
from monitor.errors import InvariantError
from pipelines.classify.classifier import Classifier, ClassifierDeps
from pipelines.classify.models import _lexicon
from pipelines.classify.models.lexicon import READ_CHARS, Config, build

NEGATIVE, NEUTRAL, POSITIVE = Sentiment.NEGATIVE, Sentiment.NEUTRAL, Sentiment.POSITIVE
DEPS = ClassifierDeps(Path("models"), SystemClock())
CLASSIFIER = build(Config.example(), DEPS)

HEADLINES: list[tuple[str, Sentiment, Topic | None]] = [
    # banks in trouble
    ("Regional lender collapses after run on deposits", NEGATIVE, None),
    ("Depositors line up as bank run spreads to second lender", NEGATIVE, None),
    ("Regulators shut down bank in largest failure since 2008", NEGATIVE, None),
    ("Bank shares plunge as contagion fears mount", NEGATIVE, None),
    ("Government prepares bailout of troubled savings bank", NEGATIVE, None),
    ("Central bank offers emergency loan to stricken lender", NEGATIVE, Topic.CENTRAL_BANKS),
    ("Savings bank placed in receivership", NEGATIVE, None),
    ("Bank failures stoke fears of a credit crunch", NEGATIVE, None),
    ("Trading halted in bank stocks after rout", NEGATIVE, None),
    ("Bank customers pull deposits as crisis of confidence deepens", NEGATIVE, None),
    ("Bondholders wiped out in bank rescue", NEGATIVE, Topic.DEBT),
    ("Deposit outflows accelerate at mid-sized banks", NEGATIVE, None),
    ("FDIC seizes bank and protects insured deposits", NEGATIVE, None),
    ("Banking turmoil spreads to Europe", NEGATIVE, None),
    # companies in trouble
    ("Department store chain files for bankruptcy", NEGATIVE, Topic.COMPANY),
    ("Airline on the brink of insolvency, says auditor", NEGATIVE, None),
    ("Chipmaker issues profit warning", NEGATIVE, Topic.FINANCIALS),
    ("Carmaker cuts 4,000 jobs", NEGATIVE, Topic.COMPANY),
    ("Software group to lay off a tenth of its staff", NEGATIVE, Topic.COMPANY),
    ("Retailer misses quarterly profit estimates", NEGATIVE, Topic.FINANCIALS),
    ("Insurer swings to loss in third quarter", NEGATIVE, Topic.FINANCIALS),
    ("Toymaker's loss widens as sales slump", NEGATIVE, None),
    ("Miner slashes dividend", NEGATIVE, Topic.DIVIDEND),
    ("Brewer lowers full-year outlook", NEGATIVE, Topic.FINANCIALS),
    ("Developer defaults on dollar bonds", NEGATIVE, Topic.DEBT),
    ("Hackers steal customer records from payments firm", NEGATIVE, None),
    ("Carmaker recalls 300,000 vehicles over faulty brakes", NEGATIVE, Topic.COMPANY),
    ("Shares of exchange operator tumble 18%", NEGATIVE, Topic.STOCK_MOVEMENT),
    ("Biotech stock crashes after failed trial", NEGATIVE, None),
    # law
    ("Prosecutors charge executive with fraud", NEGATIVE, Topic.LEGAL),
    ("SEC opens probe into accounting at drugmaker", NEGATIVE, Topic.LEGAL),
    ("Investors sue broker over hidden losses", NEGATIVE, Topic.LEGAL),
    ("Watchdog fines bank for money laundering failures", NEGATIVE, Topic.LEGAL),
    ("Former trader found guilty of insider trading", NEGATIVE, Topic.LEGAL),
    # economy and markets
    ("Economy slides into recession", NEGATIVE, Topic.MACRO),
    ("Unemployment rises to ten-year high", NEGATIVE, Topic.MACRO),
    ("Inflation accelerates to 9.1%", NEGATIVE, Topic.MACRO),
    ("Factory output shrinks for third month", NEGATIVE, None),
    ("Wall Street tumbles on recession fears", NEGATIVE, Topic.MARKETS),
    ("Dow plunges 900 points in broad sell-off", NEGATIVE, Topic.MARKETS),
    ("Oil prices slump as demand weakens", NEGATIVE, Topic.ENERGY),
    ("Copper falls to lowest since March", NEGATIVE, Topic.METALS),
    ("Lira sinks to record low against the dollar", NEGATIVE, Topic.CURRENCIES),
    ("Missile attack disrupts port exports", NEGATIVE, None),
    # analysts
    ("UBS downgrades retailer to sell", NEGATIVE, Topic.ANALYST_UPDATE),
    ("Price target cut at Barclays on weak demand", NEGATIVE, Topic.ANALYST_UPDATE),
    ("Moody's cuts credit rating of utility to junk", NEGATIVE, None),
    # good news
    ("Chipmaker beats profit estimates and raises guidance", POSITIVE, Topic.FINANCIALS),
    ("Retailer posts record quarterly profit", POSITIVE, Topic.FINANCIALS),
    ("Shares of battery maker soar 25%", POSITIVE, Topic.STOCK_MOVEMENT),
    ("S&P 500 closes at record high", POSITIVE, Topic.MARKETS),
    ("Stocks rally as inflation cools", POSITIVE, None),
    ("Unemployment falls to lowest since 1969", POSITIVE, Topic.MACRO),
    ("Inflation slows more than expected", POSITIVE, Topic.MACRO),
    ("Economic growth accelerates in second half", POSITIVE, Topic.MACRO),
    ("Goldman upgrades airline to buy", POSITIVE, Topic.ANALYST_UPDATE),
    ("Price target raised at Jefferies on strong demand", POSITIVE, Topic.ANALYST_UPDATE),
    ("Bank raises dividend by 10%", POSITIVE, Topic.DIVIDEND),
    ("Drugmaker wins approval for asthma treatment", POSITIVE, Topic.COMPANY),
    ("Truck maker returns to profit as orders recover", POSITIVE, None),
    ("Jobless claims drop to three-month low", POSITIVE, Topic.MACRO),
    ("Consumer confidence improves", POSITIVE, Topic.MACRO),
    ("Software maker lifts outlook after strong quarter", POSITIVE, None),
    ("Gold climbs to all-time high", POSITIVE, Topic.METALS),
    # neither
    ("Utility to report third-quarter results on November 2", NEUTRAL, Topic.EARNINGS),
    ("Insurer to host conference call on Thursday", NEUTRAL, Topic.EARNINGS),
    ("Company declares quarterly cash dividend of $0.32", NEUTRAL, Topic.DIVIDEND),
    ("Grocer names Jane Smith chief financial officer", NEUTRAL, Topic.PERSONNEL),
    ("Lender appoints new chairman", NEUTRAL, Topic.PERSONNEL),
    ("Senate to vote on spending bill", NEUTRAL, Topic.POLITICS),
    ("ECB to publish minutes of June meeting", NEUTRAL, Topic.CENTRAL_BANKS),
    ("Ride-hailing company files for initial public offering", NEUTRAL, Topic.IPO),
    ("Private equity firm to acquire packaging group", NEUTRAL, Topic.MERGERS),
    ("Ten-year Treasury yield at 4.2% ahead of auction", NEUTRAL, Topic.DEBT),
    ("Fed chair to speak in Chicago on Friday", NEUTRAL, Topic.CENTRAL_BANKS),
    ("Parliament elects speaker", NEUTRAL, Topic.POLITICS),
    ("The museum is open on Sundays", NEUTRAL, Topic.GENERAL),
]

# The second text of each pair turns the first round, towards the side that is named.
TURNS: list[tuple[str, str, Sentiment]] = [
    ("Retailer posts loss", "Retailer narrows loss", POSITIVE),
    ("Loss widens at airline", "Loss narrows at airline", POSITIVE),
    ("Steelmaker reports losses", "Steelmaker cuts losses", POSITIVE),
    ("Country defaults on bonds", "Country avoids default on bonds", POSITIVE),
    ("Port strike begins", "Port strike averted", POSITIVE),
    ("Airline faces bankruptcy", "Airline averts bankruptcy", POSITIVE),
    ("Executive committed fraud", "Executive denies fraud", POSITIVE),
    ("Exports fall", "Exports fall less than expected", POSITIVE),
    ("Unemployment rises", "Unemployment falls", POSITIVE),
    ("Inflation rises", "Inflation cools", POSITIVE),
    ("Recession fears grow", "Recession fears ease", POSITIVE),
    ("Bank plans layoffs", "Bank plans no layoffs", POSITIVE),
    ("Trader found guilty", "Trader found not guilty", POSITIVE),
    ("Drugmaker misses estimates", "Drugmaker beats estimates", POSITIVE),
    ("Lender cuts dividend", "Lender does not cut dividend", POSITIVE),
    ("Worse than expected sales", "Better than expected sales", POSITIVE),
    ("Plant escapes damage", "Plant suffers damage", NEGATIVE),
    ("Drug wins approval", "Drug fails to win approval", NEGATIVE),
    ("Economy recovers", "Economy does not recover", NEGATIVE),
    ("Profit grows", "Profit never grows", NEGATIVE),
    ("Rescue succeeds in averting default", "Rescue fails to avert default", NEGATIVE),
    ("Sales rise", "Sales rise less than expected", NEGATIVE),
    ("Company raises forecast", "Company cuts forecast", NEGATIVE),
    ("Hopes of a deal rise", "Hopes of a deal fade", NEGATIVE),
]


def label(text: str) -> Label:
    return CLASSIFIER.label([text])[0]


@pytest.mark.parametrize(("headline", "sentiment", "topic"), HEADLINES)
def test_a_headline_is_labelled_as_an_analyst_would(headline: str, sentiment: Sentiment, topic: Topic | None) -> None:
    labelled = label(headline)

    assert labelled.top_sentiment is sentiment
    assert topic is None or labelled.top_topic is topic


@pytest.mark.parametrize(("before", "after", "towards"), TURNS)
def test_negation_turns_a_headline_round(before: str, after: str, towards: Sentiment) -> None:
    change = label(after).polarity - label(before).polarity

    assert change > 0.15 if towards is POSITIVE else change < -0.15


def test_negation_ends_with_its_clause() -> None:
    assert label("No word from the board, bank collapses").top_sentiment is NEGATIVE
    assert label("The merger is not dead, but fraud was found").top_sentiment is NEGATIVE


def test_negation_reaches_only_a_few_words() -> None:
    assert label("Not one of them on Main Street saw that the bank would collapse").top_sentiment is NEGATIVE


def test_a_concession_weighs_less_than_the_claim() -> None:
    assert label("Shares rally despite recession fears").top_sentiment is POSITIVE
    assert label("Shares slump despite record profit").top_sentiment is NEGATIVE


def test_a_question_says_less_than_a_statement() -> None:
    assert label("Is the bank insolvent?").polarity > label("The bank is insolvent").polarity


def test_the_title_weighs_more_than_the_summary() -> None:
    good, bad = "Shares soar after strong results", "Shares tumble after dismal results"

    assert label(f"{good}\n{bad}").top_sentiment is POSITIVE
    assert label(f"{bad}\n{good}").top_sentiment is NEGATIVE


def test_the_summary_decides_where_the_title_is_silent() -> None:
    assert label("Morning note\nThe lender filed for bankruptcy amid fraud claims").top_sentiment is NEGATIVE


@pytest.mark.parametrize(
    "text",
    ["", " \n ", "\n\n\n", "1234 5678", "🎉🎉🎉", "\x00\x07\x1b[31m", "$ % & #", "https://example.org/bank-collapse"],
)
def test_where_no_word_is_known_the_label_is_neutral_and_general(text: str) -> None:
    labelled = label(text)

    assert labelled.top_sentiment is NEUTRAL
    assert labelled.polarity == pytest.approx(0.0)
    assert labelled.top_topic is Topic.GENERAL


def test_every_label_has_its_probability() -> None:
    labelled = label("Oil rises")

    assert set(labelled.sentiment) == set(Sentiment)
    assert set(labelled.topic) == set(Topic)


@pytest.mark.parametrize("unit", ["bank collapses ", "x", "1", "u.", "+1", "$a", "a-", "not ", "ß", "😀", "\n", "s&"])
def test_only_the_beginning_of_a_long_text_is_read(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))

    assert label(text) == label(text[:READ_CHARS]) == label(text[: READ_CHARS * 2])
    assert label(text[:READ_CHARS] + " profit soars") == label(text)


def assert_distribution(probabilities: list[float]) -> None:
    assert all(0.0 <= probability <= 1.0 for probability in probabilities)
    assert sum(probabilities) == pytest.approx(1.0)


# Any text, and texts made of the lexicon's own words, which random letters do not hit.
vocabulary = sorted({word for headline, _, _ in HEADLINES for word in headline.split()})
vocabulary += sorted({word for pair in TURNS for text in pair[:2] for word in text.split()})
news = st.lists(
    st.sampled_from([*vocabulary, "?", ",", "\n", "despite", "less", "$XYZ", "+3%", "-2%"]), max_size=40
).map(" ".join)
texts = st.one_of(st.text(), st.text(string.printable), news)


@given(texts)
def test_any_text_has_two_distributions(text: str) -> None:
    labelled = label(text)

    assert_distribution(list(labelled.sentiment.values()))
    assert_distribution(list(labelled.topic.values()))


@given(st.lists(texts, max_size=6))
def test_order_is_kept_and_neighbours_do_not_matter(batch: list[str]) -> None:
    assert CLASSIFIER.label(batch) == [label(text) for text in batch]


@given(texts)
def test_upper_case_does_not_change_the_label(text: str) -> None:
    assert label(text.upper()) == label(text)


@given(st.text(max_size=20), st.integers(0, 20))
@settings(max_examples=20)
def test_upper_case_does_not_change_the_label_of_a_long_text(text: str, padding: int) -> None:
    long = "ŉ" * (READ_CHARS - padding) + text

    assert label(long.upper()) == label(long)


def test_typographic_apostrophes_are_apostrophes() -> None:
    assert label("Bank doesn’t cut jobs") == label("Bank doesn't cut jobs")


def test_two_builds_agree() -> None:
    other: Classifier = build(Config(), DEPS)

    assert other.version == CLASSIFIER.version
    assert other.label(["Bank fails"]) == CLASSIFIER.label(["Bank fails"])


def test_the_label_names_the_version() -> None:
    assert CLASSIFIER.version.startswith("lexicon-")
    assert label("Bank fails").model_version == CLASSIFIER.version


def test_it_is_found_by_its_kind() -> None:
    assert "lexicon" in plugins.kinds("pipelines.classify.models")
    assert plugins.load("pipelines.classify.models", "lexicon").Config().kind == "lexicon"


SMALL = """
skip = "the, of"
[score]
[words]
bank = "bank~, lender"
[sentiment.polarity]
"-2.0" = "{bank} fail~, run, drop~~, carry~, tie~, agree~, pass~, raise~"
[topics.Macro]
"1.0" = "bank~"
[topics.Markets]
"1.0" = "bank, bank"
"2.0" = "bank"
"""


def test_a_change_of_words_changes_the_version() -> None:
    assert _lexicon.parse(SMALL.encode()).version != _lexicon.parse(SMALL.replace("lender", "thrift").encode()).version


@pytest.mark.parametrize(
    "phrase",
    [
        *("lender failing", "banks failed", "run", "drops", "dropped", "dropping", "carries", "carried", "carrying"),
        *("ties", "tied", "tying", "agreed", "agreeing", "passes", "passed", "raised", "raising"),
    ],
)
def test_entries_are_written_out(phrase: str) -> None:
    cue, end = _lexicon.longest(phrase.split(), 0, _lexicon.parse(SMALL.encode()).cues)

    assert cue == ("polarity", -2.0)
    assert end == len(phrase.split())


def test_an_entry_may_speak_for_several_topics() -> None:
    said, _ = _lexicon.longest(["bank"], 0, _lexicon.parse(SMALL.encode()).topics)
    order = list(Topic)

    assert dict(said) == {order.index(Topic.MACRO): 1.0, order.index(Topic.MARKETS): 2.0}


@pytest.mark.parametrize("unseen", ["the run", "run of", "of the"])
def test_an_entry_with_words_that_are_not_seen_is_an_error(unseen: str) -> None:
    with pytest.raises(InvariantError, match=unseen):
        _lexicon.parse(SMALL.replace("run", unseen).encode())


def test_an_entry_with_two_senses_is_an_error() -> None:
    with pytest.raises(InvariantError, match="dropped"):
        _lexicon.parse(SMALL.replace("[topics.Macro]", '"2.0" = "dropped"\n[topics.Macro]').encode())
