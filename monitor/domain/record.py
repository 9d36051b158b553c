"""What all records share, and their form on the bus."""

import functools
import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import to_json

from monitor.errors import Reason, RecordError

WIRE_VERSION = 1

UtcDatetime = Annotated[AwareDatetime, AfterValidator(lambda value: value.astimezone(UTC))]


class Record(BaseModel):
    """Base of every record: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", val_json_bytes="base64", ser_json_bytes="base64")


R = TypeVar("R", bound=Record)


def encode(record: Record) -> bytes:
    """The record's value on the bus: JSON with the format's version and the record's name."""
    return to_json({"v": WIRE_VERSION, "record": type(record).__name__, "body": record}, bytes_mode="base64")


def decode(kind: type[R], value: bytes) -> R:
    """The record a bus value holds.

    Raises: RecordError, if the value is not JSON, is of another kind or another version, or lacks a field.
    """
    try:
        envelope = _envelope(kind).model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = Reason.MALFORMED if first["type"] == "json_invalid" else Reason.INVALID
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(reason, f"{kind.__name__} {where}: {first['msg']}") from error
    body: R = envelope.body  # type: ignore[attr-defined]  # made below, one per kind
    return body


@functools.cache
def _envelope(kind: type[R]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        "v": (Literal[WIRE_VERSION], ...),
        "record": (Literal[kind.__name__], ...),
        "body": (kind, ...),
    }
    return create_model(f"{kind.__name__}Envelope", **fields)


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
