"""Every record that travels on the bus comes back as it was sent; whatever else comes is refused with a reason."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import record
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
        {"v": 0},
        {"v": None},
        {"record": "article"},
        {"body": None},
        {"body": {}},
        {"body": {**json.loads(encode(make_article()))["body"], "published_at": "2026-03-04T11:00:00"}},
    ],
)
def test_an_envelope_that_says_otherwise_is_refused(change: dict[str, object]) -> None:
    envelope = {**json.loads(encode(make_article())), **change}
    with pytest.raises(RecordError, match="Article") as caught:
        decode(Article, json.dumps(envelope).encode())
    assert caught.value.reason is Reason.INVALID


def test_a_newer_version_says_so() -> None:
    value = json.dumps({"v": record.WIRE_VERSION + 1, "record": "Article", "body": {"headline": "x"}}).encode()
    told = f"schema version {record.WIRE_VERSION + 1} is newer than {record.WIRE_VERSION}"
    with pytest.raises(RecordError, match=told) as caught:
        decode(Article, value)
    assert caught.value.reason is Reason.SCHEMA_TOO_NEW


def test_what_a_newer_release_of_this_version_adds_is_skipped() -> None:
    labelled = make_labelled()
    envelope = json.loads(encode(labelled))
    envelope["sent_by"] = "2.0"
    envelope["body"]["mood"] = {"calm": 0.5}
    envelope["body"]["article"]["words"] = 12
    assert decode(LabelledArticle, json.dumps(envelope).encode()) == labelled


def test_a_record_made_here_takes_no_unknown_field() -> None:
    with pytest.raises(ValueError, match="mood"):
        make_article(mood="calm")


def test_an_older_version_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the release will that has version 3, in which a name changed, and a time had been in seconds before that."""
    old = json.loads(encode(make_article()))
    old["v"] = 1
    old["body"]["headline"] = old["body"].pop("title")
    old["body"]["fetched_s"] = NOW.timestamp()
    del old["body"]["fetched_at"]

    def to_2(name: str, body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "fetched_at": datetime.fromtimestamp(body["fetched_s"], UTC).isoformat()}

    def to_3(name: str, body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "title": body["headline"]} if name == "Article" else body

    monkeypatch.setattr(record, "WIRE_VERSION", 3)
    monkeypatch.setattr(record, "UPGRADES", {1: to_2, 2: to_3})
    record.envelope.cache_clear()
    try:
        assert json.loads(encode(make_article()))["v"] == 3
        assert decode(Article, json.dumps(old).encode()) == make_article(fetched_at=NOW)
        with pytest.raises(RecordError, match="LabelledArticle") as caught:
            decode(LabelledArticle, json.dumps(old).encode())
        assert caught.value.reason is Reason.INVALID
    finally:
        record.envelope.cache_clear()


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()))
def test_what_is_no_record_is_refused(value: bytes) -> None:
    with pytest.raises(RecordError):
        decode(Article, value)


def test_the_parts_of_a_fingerprint_do_not_run_together() -> None:
    prints = {fingerprint("ab", "c"), fingerprint("a", "bc"), fingerprint("abc"), fingerprint("abc", "")}
    assert len(prints) == 4
    assert fingerprint("\ud800") != fingerprint("\udfff")
