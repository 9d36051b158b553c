"""`monitor silences add`: what is typed, what it comes to mean, and what it matches."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.silences import read_matchers
from monitor.domain.matchers import Matcher, Op
from monitor.domain.names import as_named, names
from monitor.domain.windows import Key
from monitor.errors import ConfigError
from monitor.storage.alerts import LIVE
from monitor.storage.store import Store
from tests.command_line import Fill, Run
from tests.factories import NOW, make_spike

OPS: tuple[Op, ...] = ("=", "!=", "=~", "!~")
FOR = ("--for", "2h", "--by", "mia", "--comment", "merger")


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize("quote", ['"', ""])
@pytest.mark.parametrize("value", ["Silicon.*|Signature.*", "Silicon Valley Bank", "Energy"])
@pytest.mark.parametrize("op", OPS)
def test_an_operator_is_read_with_and_without_quotes_and_blanks(op: Op, value: str, quote: str, blank: str) -> None:
    text = f"key{blank}{op}{blank}{quote}{value}{quote}"
    assert read_matchers(["kind=entity", text])[1] == Matcher("key", op, value)


@pytest.mark.parametrize("text", ['key=~"("', "key=~(", "key=~( a", 'key!~"["'])
def test_an_expression_that_is_none_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(ConfigError, match="MATCHER 2: no regular expression of RE2"):
        read_matchers(["kind=entity", text])


@pytest.mark.parametrize("text", ['key=="x"', "key==x", "key!=~x y", 'key="a" b', 'key="a",kind="entity"', '"a=b'])
def test_what_could_be_read_as_another_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="MATCHER 2: no matcher"):
        read_matchers(["kind=entity", text])


@pytest.mark.parametrize("text", ['key=~".*"', "key =~ .*", 'key=""', 'key!="x"', 'key!~"x y"'])
def test_a_silence_of_everything_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="match every alert"):
        read_matchers([text])


@pytest.fixture
def firing(fill: Fill) -> None:
    async def five(store: Store) -> None:
        for name in ("Vexley", "Silicon Valley Bank", "Signature Bank", "Silicon Works"):
            await store.alerts.take(make_spike(key=Key("entity", name)), LIVE, timedelta(minutes=30))
        over = make_spike(key=Key("entity", "Silicon Sands"), state="resolved", resolved_at=NOW)
        await store.alerts.take(over, LIVE, timedelta(minutes=30))

    fill(five)


@pytest.mark.usefixtures("firing")
@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ('key=~"Silicon.*|Signature.*"', "3 alerts that fire now: entity:Signature Bank, entity:Silicon Valley Bank,"),
        ('key=~".+"', "entity:Silicon Works and 1 more."),
        ("Vexley", "1 alert that fires now: entity:Vexley."),
        ("entity:Vexley Holdings", "1 alert that fires now: entity:Vexley."),
        ("Vexley Holdings plc", "1 alert that fires now: entity:Vexley."),
        ('key="Vexley Holdings"', "It matches no alert that fires now."),
    ],
)
def test_a_silence_says_what_it_matches_now(typed: str, told: str, run: Run) -> None:
    added = run("silences", "add", typed, *FOR)
    assert told in added.out
    is_name = "Holdings" in typed and "=" not in typed
    assert ("read as entity:Vexley;" in added.err) is is_name
    assert len(run("silences", "--json").json) == 1


@pytest.mark.usefixtures("firing")
def test_what_it_matches_is_in_the_document(run: Run) -> None:
    made = run("silences", "add", "entity:Vexley Holdings", *FOR, "--json").json
    assert (made["matches"], made["matchers"]) == (["entity:Vexley"], ['kind="entity"', 'key="Vexley"'])


def test_who_and_why_are_one_line_without_controls(run: Run) -> None:
    typed = ("--by", "m\x1b[1mia\n", "--comment", "first\nsecond\x07", "--for", "1h", "--json")
    made = run("silences", "add", "Vexley", *typed).json
    assert (made["author"], made["comment"]) == ("m[1mia", "first second")
    with pytest.raises(ConfigError, match="--comment"):
        run("silences", "add", "Vexley", "--for", "1h", "--comment", "\x1b\x07")


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Vexley Holdings plc", "Vexley"),
        ("Apple, Inc.", "Apple"),
        ("The Bank of England", "Bank of England"),
        ("President Ann Smith", "Ann Smith"),
        ("Vexley", "Vexley"),
        ("vexley holdings", "vexley holdings"),
        ("Northfield bank", "Northfield bank"),
        ("Vexley; Northfield", "Vexley; Northfield"),
        ("Holdings", "Holdings"),
        ("", ""),
    ],
)
def test_a_typed_name_gets_the_form_of_articles_names(typed: str, kept: str) -> None:
    assert as_named(typed) == kept


_WORD = st.sampled_from(
    ("Vexley", "Northfield", "Bank", "of", "England", "Holdings", "Corp", "The", "US", "President", "Q1", "500", "fell")
)


@given(st.lists(_WORD, min_size=1, max_size=9).map(" ".join))
def test_a_name_that_articles_have_stays_as_it_is(title: str) -> None:
    for name in names(f"shares of {title} fell", title):
        assert as_named(name) == name


# Another end, another comment.


@pytest.mark.usefixtures("firing")
def test_a_silence_gets_another_end_and_keeps_what_was(run: Run) -> None:
    old = run("silences", "add", 'key=~"Silicon.*"', "kind=entity", *FOR, "--json").json
    new = run("silences", "update", old["id"][:8], "--for", "1d", "--by", "kim", "--json").json
    assert (new["matchers"], new["comment"], new["author"]) == (old["matchers"], "merger", "kim")
    assert (new["replaces"], new["state"], new["matches"]) == (
        old["id"],
        "active",
        ["entity:Silicon Valley Bank", "entity:Silicon Works"],
    )
    assert datetime.fromisoformat(new["ends_at"]) - datetime.fromisoformat(new["starts_at"]) == timedelta(days=1)
    [held] = run("silences", "--json").json
    before, _ = run("silences", "--expired", "--json").json
    assert held["id"] == new["id"] != old["id"]
    assert (before["id"], before["state"], before["ends_at"]) == (old["id"], "expired", new["starts_at"])
    refused = run("silences", "update", "no", "--for", "1h")
    assert (refused.code, "no silence has an id that begins with 'no'" in refused.err) == (1, True)


def test_only_what_is_given_changes_and_one_that_is_over_can_be_renewed(run: Run) -> None:
    old = run("silences", "add", "kind=all", *FOR, "--json").json
    new = run("silences", "update", old["id"], "--comment", "night\nshift", "--json").json
    assert (new["ends_at"], new["comment"]) == (old["ends_at"], "night shift")
    with pytest.raises(ConfigError, match="--until"):  # over, and no new end
        run("silences", "update", old["id"], "--comment", "again")
    told = run("silences", "update", old["id"], "--end", "2999-01-01T08:00").out
    assert f"to 2999-01-01 08:00 UTC. It stands for {old['id'][:8]}, which has ended." in told.replace("\n", " ")
    assert len(run("silences", "--json").json) == 2


def test_a_silence_to_come_keeps_its_start(run: Run) -> None:
    start = "2998-12-31T08:00"
    old = run(
        "silences", "add", "kind=all", "--from", start, "--for", "2h", "--by", "mia", "--comment", "x", "--json"
    ).json
    new = run("silences", "update", old["id"], "--for", "3h", "--by", "mia", "--json").json
    assert (new["starts_at"], new["state"]) == (old["starts_at"], "pending")
    assert new["ends_at"].startswith("2998-12-31T11:00")
    assert {one["id"]: one["state"] for one in run("silences", "--expired", "--json").json} == {
        old["id"]: "expired",
        new["id"]: "pending",
    }
    same = run("silences", "update", new["id"], "--comment", "x", "--by", "mia")
    assert (same.code, "says so already" in same.err) == (1, True)
    # Back to what it was at first, which had been ended for it.
    back = run("silences", "update", new["id"], "--for", "2h", "--by", "mia", "--json").json
    assert back["id"] == old["id"]
    assert [one["id"] for one in run("silences", "--json").json] == [old["id"]]


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ((), "--until"),
        (("--for", "1h", "--until", "2999-01-01"), "--for"),
        (("--for", "soon"), "--for"),
        (("--until", "2020-01-01"), "--until"),
        (("--comment", "\x07 "), "--comment"),
        (("--comment", "x", "--by", " "), "--by"),
    ],
)
def test_an_update_is_checked_as_a_new_silence_is(typed: tuple[str, ...], named: str, run: Run) -> None:
    silence = run("silences", "add", "kind=all", *FOR, "--json").json
    with pytest.raises(ConfigError, match=named):
        run("silences", "update", silence["id"], *typed)
    [held] = run("silences", "--expired", "--json").json
    assert (held["id"], held["ends_at"]) == (silence["id"], silence["ends_at"])


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (("--from", "2h", "--for", "1h"), "--from: 2h is a time ago: it would have ended on .* a longer --for"),
        (("--from", "2020-01-01", "--for", "1h"), "--from: it would have ended on 2020-01-01 01:00 UTC"),
        (("--until", "2h"), "--until: 2h is a time ago, as in --since; --for 2h is meant, perhaps"),
        (("--until", "2020-01-01"), "--until: expected a time after now; that is 2020-01-01 00:00 UTC"),
        (
            ("--from", "2999-01-02", "--until", "2999-01-01"),
            "--until: expected a time after 2999-01-02 00:00 UTC, when it begins; that is 2999-01-01 00:00 UTC",
        ),
    ],
)
def test_an_end_that_cannot_be_names_what_was_given(typed: tuple[str, ...], told: str, run: Run) -> None:
    with pytest.raises(ConfigError, match=told):
        run("silences", "add", "kind=all", "--comment", "x", *typed)
    assert run("silences", "--expired", "--json").json == []


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (("alerts", "why-not", "topic:Nope"), "KEY"),
        (("trends", "topic:Nope"), "KEY"),
        (("alerts", "--key", "topic:Nope"), "--key"),
        (("spikes", "--key", "topic:Nope"), "--key"),
        (("silences", "add", "topic:Nope", *FOR), "MATCHER 1"),
        (("headlines", "--topic", "Nope"), "--topic"),
    ],
)
def test_a_topic_that_is_none_names_what_was_given(command: tuple[str, ...], named: str, run: Run) -> None:
    with pytest.raises(ConfigError, match=f"{named}: expected a topic, one of: .*Financials"):
        run(*command)
