"""What stands on the bus is as docs/schema says."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from monitor.bus.streams import Stream
from monitor.domain.dead_letters import DeadLetter
from monitor.domain.record import WIRE_VERSION, Record, encode, fingerprint
from monitor.errors import Reason
from tests import schemas
from tests.factories import NOW, make_article, make_labelled, make_spike

RECORDS: list[tuple[Stream, Record]] = [
    (Stream.ARTICLES, make_article(title="\x1b\0 “Żółć” 🏦", guid="g", url=None, declared_language="en-US")),
    (Stream.LABELLED, make_labelled()),
    (Stream.LABELLED, make_labelled(label=None)),
    (Stream.SPIKES, make_spike()),
    (
        Stream.DEAD_LETTERS,
        DeadLetter(
            id=fingerprint("x"), stage="classify", stream=None, key="k", value=b"\xff", reason=Reason.SCHEMA_TOO_NEW,
            detail="d", failed_at=NOW,
        ),
    ),
]  # fmt: skip


def _validator(stream: Stream) -> Any:
    published = json.loads((schemas.FOLDER / f"{stream}.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(published)
    return Draft202012Validator(published, format_checker=FormatChecker())


def test_the_published_schemas_are_what_the_code_says() -> None:
    assert {path: path.read_text(encoding="utf-8") for path in schemas.FOLDER.glob("*.json")} == schemas.generated(), (
        "run `python -m tests.schemas`"
    )


def test_every_stream_has_one() -> None:
    assert set(schemas.KINDS) == set(Stream) == {stream for stream, _ in RECORDS}


@pytest.mark.parametrize(("stream", "record"), RECORDS)
def test_what_is_sent_keeps_to_it(stream: Stream, record: Record) -> None:
    _validator(stream).validate(json.loads(encode(record)))


@pytest.mark.parametrize(("stream", "record"), RECORDS)
def test_it_is_no_empty_promise(stream: Stream, record: Record) -> None:
    sent = json.loads(encode(record))
    assert not _validator(stream).is_valid({**sent, "v": WIRE_VERSION + 1})
    assert not _validator(stream).is_valid({**sent, "record": "Letter"})
    for name in _validator(stream).schema["$defs"][type(record).__name__]["required"]:
        assert not _validator(stream).is_valid({**sent, "body": {**sent["body"], name: []}}), name
    assert _validator(stream).is_valid({**sent, "body": {**sent["body"], "mood": "calm"}}), "a newer release may add"
