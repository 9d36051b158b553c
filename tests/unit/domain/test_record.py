"""Every record that travels on the bus comes back as it was sent; whatever else comes is refused with a reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.article import Article
from monitor.domain.dead_letters import DeadLetter
from monitor.domain.labels import LabelledArticle
from monitor.domain.record import Record, decode, encode, fingerprint
from monitor.domain.spikes import Spike
from monitor.errors import Reason, RecordError
from tests.factories import NOW, make_article, make_labelled, make_spike

LETTER = DeadLetter(
    id=fingerprint("x"), stage="classify", stream=None, key="k", value=bytes(range(256)), reason=Reason.INVALID,
    detail="d", failed_at=NOW,
)  # fmt: skip
RECORDS: list[Record] = [
    make_article(title="“Żółć” \x1b\0 🏦", guid="g", declared_language="en-US"),
    make_labelled(),
    make_labelled(label=None),
    make_spike(),
    LETTER,
    LETTER.model_copy(update={"value": b"", "replayed_at": NOW, "stream": "articles"}),
]
KINDS: list[type[Record]] = [Article, LabelledArticle, Spike, DeadLetter]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was_sent(record: Record) -> None:
    assert decode(type(record), encode(record)) == record
    assert encode(decode(type(record), encode(record))) == encode(record)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_of_another_kind_is_refused(record: Record) -> None:
    for kind in KINDS:
        if not isinstance(record, kind):
            with pytest.raises(RecordError) as caught:
                decode(kind, encode(record))
            assert caught.value.reason is Reason.INVALID


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_cut_short_is_refused(record: Record) -> None:
    value = encode(record)
    for end in range(0, len(value), 37):
        with pytest.raises(RecordError) as caught:
            decode(type(record), value[:end])
        assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": None},
        {"record": "article"},
        {"body": None},
        {"body": {}},
        {"body": {**json.loads(encode(make_article()))["body"], "extra": 1}},
        {"body": {**json.loads(encode(make_article()))["body"], "published_at": "2026-03-04T11:00:00"}},
    ],
)
def test_an_envelope_that_says_otherwise_is_refused(change: dict[str, object]) -> None:
    envelope = {**json.loads(encode(make_article())), **change}
    with pytest.raises(RecordError, match="Article") as caught:
        decode(Article, json.dumps(envelope).encode())
    assert caught.value.reason is Reason.INVALID


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()))
def test_what_is_no_record_is_refused(value: bytes) -> None:
    with pytest.raises(RecordError):
        decode(Article, value)


def test_the_parts_of_a_fingerprint_do_not_run_together() -> None:
    prints = {fingerprint("ab", "c"), fingerprint("a", "bc"), fingerprint("abc"), fingerprint("abc", "")}
    assert len(prints) == 4
    assert fingerprint("\ud800") != fingerprint("\udfff")
