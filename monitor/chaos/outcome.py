"""What a run leaves that must not depend on how it went."""

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

from pydantic_core import to_jsonable_python
from sqlalchemy import Table, select

from monitor.storage import tables as t
from monitor.storage.database import Database

# Real time, and what tells how a delivery went, differ from run to run.
_PARTS: dict[str, tuple[Table, frozenset[str]]] = {
    "articles": (t.article, frozenset()),
    "labels": (t.label, frozenset()),
    "trend rows": (t.trend, frozenset()),
    "dead letters": (t.dead_letter, frozenset({"failed_at"})),
    "spikes": (t.spike, frozenset({"published_at"})),
    "alerts": (t.alert, frozenset()),
    "spikes of alerts": (t.alert_spike, frozenset()),
    "groups": (t.alert_group, frozenset()),
    "verdicts": (t.alert_member, frozenset()),
    "decisions": (t.alert_decision, frozenset()),
    "messages": (t.message, frozenset()),
    "deliveries": (t.delivery, frozenset()),
}
DELIVERED = "delivered"

Rows = frozenset[str]
Outcome = Mapping[str, Rows]
"""By part, each row as a line of JSON."""


class Compared(NamedTuple):
    """One part of two outcomes. `missing` and `added`: what only the first, or only the second, has."""

    part: str
    rows: int
    expected: str
    found: str
    missing: list[str]
    added: list[str]

    @property
    def equal(self) -> bool:
        return not self.missing and not self.added


async def read(url: str, delivered: Mapping[str, str]) -> Outcome:
    """The outcome in this database; `delivered`: the ids that came to the receiver, each with what came.

    Raises: StoreError.
    """
    database = await Database.open(url)
    found: dict[str, Rows] = {}
    try:
        for part, (table, without) in _PARTS.items():
            columns = [column for column in table.columns if column.name not in without]
            async with database.read() as connection:
                rows = await connection.execute(select(*columns))
                found[part] = frozenset(_line(dict(row._mapping)) for row in rows)
    finally:
        await database.aclose()
    return {**found, DELIVERED: frozenset(f"{key} {body}" for key, body in delivered.items())}


def _line(row: dict[str, object]) -> str:
    return json.dumps(to_jsonable_python(row, bytes_mode="base64"), sort_keys=True)


def digest(outcome: Outcome, part: str | None = None) -> str:
    """One hash of a part, or of all parts."""
    rows = outcome[part] if part is not None else {f"{name} {digest(outcome, name)}" for name in outcome}
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()[:16]


def compare(expected: Outcome, found: Outcome) -> list[Compared]:
    """Part by part."""
    return [
        Compared(
            part,
            len(found[part]),
            digest(expected, part),
            digest(found, part),
            sorted(rows - found[part]),
            sorted(found[part] - rows),
        )
        for part, rows in expected.items()
    ]
