"""What all records share, and their form on the bus."""

import functools
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import to_json

from monitor.errors import Reason, RecordError

WIRE_VERSION = 2
"""Raised when readers of the version before could not read a record: a field goes or changes its meaning, or a closed
list gets one word more. A new field that may be left out needs no new version: readers skip what they do not know, so
that two releases of one version share a bus."""

UPGRADES: dict[int, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
    1: lambda _, body: body,  # keys may be entities since 2
}
"""For every version before the present one: makes of a record's name and body the body of the next version."""

UtcDatetime = Annotated[AwareDatetime, AfterValidator(lambda value: value.astimezone(UTC))]


class Record(BaseModel):
    """Base of every record: frozen, unknown fields refused, but for those that a newer release put on the bus."""

    model_config = ConfigDict(frozen=True, extra="forbid", val_json_bytes="base64", ser_json_bytes="base64")


R = TypeVar("R", bound=Record)


def encode(record: Record) -> bytes:
    """The record's value on the bus: JSON with the format's version and the record's name."""
    return to_json({"v": WIRE_VERSION, "record": type(record).__name__, "body": record}, bytes_mode="base64")


def decode(kind: type[R], value: bytes) -> R:
    """The record a bus value holds: of this version, or of an older one.

    Raises: RecordError, if the value is not JSON, is of another kind or a newer version, or lacks a field.
    """
    try:
        try:
            read = envelope(kind).model_validate_json(value, extra="ignore")
        except ValidationError:
            older = _upgraded(kind, value)
            if older is None:
                raise
            read = envelope(kind).model_validate_json(older, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = Reason.MALFORMED if first["type"] == "json_invalid" else Reason.INVALID
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(reason, f"{kind.__name__} {where}: {first['msg']}") from error
    body: R = read.body  # type: ignore[attr-defined]  # made below, one per kind
    return body


def _upgraded(kind: type[R], value: bytes) -> bytes | None:
    """The value as the present version has it; None, if it is not of an older one.

    Raises: RecordError, if it is of a newer one.
    """
    try:
        found = json.loads(value)
    except ValueError:
        return None
    version = found.get("v") if isinstance(found, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        return None
    if version > WIRE_VERSION:
        told = f"{kind.__name__} v: schema version {version} is newer than {WIRE_VERSION}, the newest known here"
        raise RecordError(Reason.SCHEMA_TOO_NEW, f"{told}; replay it once this process runs the newer release")
    if version not in UPGRADES or not isinstance(found.get("body"), dict):
        return None
    for step in range(version, WIRE_VERSION):
        found["body"] = UPGRADES[step](kind.__name__, found["body"])
    return json.dumps({**found, "v": WIRE_VERSION}).encode()


@functools.cache
def envelope(kind: type[R]) -> type[BaseModel]:
    """What stands on the bus around a record of this kind."""
    fields: dict[str, Any] = {
        "v": (Literal[WIRE_VERSION], ...),
        "record": (Literal[kind.__name__], ...),
        "body": (kind, ...),
    }
    return create_model(f"{kind.__name__}Envelope", __doc__=f"A record {kind.__name__} on the bus.", **fields)


def fingerprint(*parts: str) -> str:
    """A hash of what makes a thing the same thing.

    Shapes: 32 lower-case hexadecimal digits, the first half of a SHA-256 over the parts, each ended by a NUL.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    """A moment in UTC."""
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
