"""Writes the JSON Schemas of values on the bus and of a notification's body: `python -m tests.schemas`.

A test holds docs/schema to them.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from alerts.render import Payload, Renderer
from monitor.domain.article import Article
from monitor.domain.dead_letters import DeadLetter
from monitor.domain.labels import LabelledArticle
from monitor.domain.record import Record, envelope
from monitor.domain.spikes import Spike
from tests import mails

FOLDER = Path(__file__).parent.parent / "docs" / "schema"
KINDS: dict[str, type[Record]] = {
    "articles": Article,
    "labelled": LabelledArticle,
    "spikes": Spike,
    "dead-letters": DeadLetter,
}
"""The record of each stream, by the stream's name."""


def schema(kind: type[Record]) -> dict[str, Any]:
    """The schema of a value on the bus."""
    return _published(envelope(kind).model_json_schema(mode="serialization"))


def notification_schema() -> dict[str, Any]:
    """The schema of the JSON body of a notification."""
    described = TypeAdapter(Payload).json_schema(mode="serialization")
    return _published({"title": "Notification", "description": "The JSON body of a notification.", **described})


def _published(described: dict[str, Any]) -> dict[str, Any]:
    """Further fields are allowed: a newer release may send some."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_open(described)}


def _open(part: Any) -> Any:
    if isinstance(part, list):
        return [_open(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {key: _open(value) for key, value in part.items() if (key, value) != ("additionalProperties", False)}


def generated() -> dict[Path, str]:
    """The text of each file, by its path."""
    render = Renderer(mails.LINKS)
    written = {
        **{name: schema(kind) for name, kind in KINDS.items()},
        "notification": notification_schema(),
        "notification.example": render.payload(mails.firing()).model_dump(mode="json"),
        "digest.example": render.payload(mails.digest()).model_dump(mode="json"),
    }
    return {FOLDER / f"{name}.json": json.dumps(body, indent=2) + "\n" for name, body in written.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.name} is up to date\n")
