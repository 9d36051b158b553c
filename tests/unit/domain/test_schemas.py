"""What stands on the bus, and what a notification carries, is as docs/schema says."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from alerts.links import Links
from alerts.render import Renderer
from monitor.bus.streams import Stream
from monitor.domain.alerts import Event, Notification
from monitor.domain.dead_letters import DeadLetter
from monitor.domain.record import WIRE_VERSION, Record, encode, fingerprint
from monitor.errors import Reason
from tests import mails, schemas
from tests.factories import NOW, make_article, make_labelled, make_notification, make_spike

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


def _validator(name: str) -> Any:
    published = json.loads((schemas.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
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


NOTIFICATIONS = [
    mails.firing(),
    mails.firing(event=Event.UPDATED),
    mails.firing(event=Event.REPEATED),
    mails.resolved(),
    mails.digest(),
    mails.digest(quiet=True),
    make_notification(event=Event.TEST),
    make_notification(event=Event.TEST, alerts=()),
]


@pytest.mark.parametrize("notification", NOTIFICATIONS)
@pytest.mark.parametrize("links", [mails.LINKS, None])
def test_a_body_keeps_to_the_schema(notification: Notification, links: Links | None) -> None:
    body = json.loads(Renderer(links).payload(notification).model_dump_json())
    _validator("notification").validate(body)
    for name in ("type", "timestamp", "data"):
        assert not _validator("notification").is_valid({key: value for key, value in body.items() if key != name})
    assert not _validator("notification").is_valid({**body, "type": "alert.forgotten"})
    assert _validator("notification").is_valid({**body, "mood": "calm"}), "a newer release may add"


@pytest.mark.parametrize("name", ["notification.example", "digest.example"])
def test_the_published_examples_keep_to_the_schema(name: str) -> None:
    example = json.loads((schemas.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    _validator("notification").validate(example)
