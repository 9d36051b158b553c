"""Many rows in one statement, past what the SQL toolkit does for each row."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import JSON, Dialect, Table
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from monitor.storage.tables import Utc

Rows = Sequence[tuple[Any, ...]]


class Bulk:
    """An INSERT into one table whose text never changes with the number of rows, so drivers keep it prepared.

    PostgreSQL gets one array a column, SQLite the rows one by one inside its own process: each the fastest it has.
    Rows go in in the order given, so that writers who sort alike never wait for each other in a circle.

    Shapes: rows are tuples in the order of the table's columns; a JSON column takes JSON text.
    """

    def __init__(
        self, table: Table, dialect: Dialect, *, add: Sequence[str] = (), count: tuple[str, Table] | None = None
    ) -> None:
        """Rows whose primary key is there are left out; with `add`, these columns are added to what is there.

        `count`: a column, which rows come without: it says how many rows the other table holds under the same key.
        """
        self._arrays = dialect.name == "postgresql"
        quote = dialect.identifier_preparer.quote
        given = [column for column in table.columns if count is None or column.name != count[0]]
        types = [column.type.dialect_impl(dialect) for column in given]
        self._processors: list[tuple[int, Callable[[Any], Any]]] = [
            (place, processor)
            for place, kind in enumerate(types)
            if not isinstance(kind, JSON) and (processor := _processor(kind, dialect)) is not None
        ]
        name = quote(table.name)
        names = [quote(column.name) for column in given]
        key = [quote(column.name) for column in table.primary_key]
        if self._arrays:
            arrays = ", ".join(f"${n}::{kind.compile(dialect)}[]" for n, kind in enumerate(types, 1))
            rows = f"unnest({arrays}) AS given ({', '.join(names)})"
            values = f"SELECT * FROM {rows}"  # noqa: S608  names of ours
        else:
            rows = f"(SELECT {', '.join(f'? AS {column}' for column in names)}) AS given"
            values = f"VALUES ({', '.join('?' * len(types))})"
        sums = ", ".join(f"{quote(c)} = {name}.{quote(c)} + excluded.{quote(c)}" for c in add)
        if count is not None:
            counted, other = quote(count[0]), quote(count[1].name)
            same = " AND ".join(f"{other}.{column} = given.{column}" for column in key)
            names.append(counted)
            # SQLite would take ON CONFLICT for a join without the WHERE.
            values = f"SELECT given.*, (SELECT count(*) FROM {other} WHERE {same}) FROM {rows} WHERE true"  # noqa: S608
            sums += f", {counted} = excluded.{counted}"
        columns = ", ".join(names)
        conflict = f"({', '.join(key)}) DO UPDATE SET {sums}" if add else "DO NOTHING"
        self._insert = f"INSERT INTO {name} ({columns}) {values} ON CONFLICT {conflict}"
        self._known = f"SELECT {key[0]} FROM {name} WHERE {key[0]} IN (SELECT value FROM json_each(?))"  # noqa: S608
        self._returning = f"{self._insert} RETURNING {key[0]}"

    async def insert(self, connection: AsyncConnection, rows: Rows) -> None:
        if rows:
            await connection.exec_driver_sql(self._insert, self._bound(rows))

    async def insert_new(self, connection: AsyncConnection, rows: Rows) -> set[str]:
        """Inserts, and returns the keys of the rows that were not there; for tables whose first column is their key."""
        if not rows:
            return set()
        if self._arrays:
            return set((await connection.exec_driver_sql(self._returning, self._bound(rows))).scalars())
        # The only writer, since its transaction began: nobody comes between the question and the answer.
        ids = [row[0] for row in rows]
        known = set((await connection.exec_driver_sql(self._known, (to_json(ids).decode(),))).scalars())
        await self.insert(connection, [row for row in rows if row[0] not in known])
        return set(ids) - known

    def _bound(self, rows: Rows) -> Any:
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for place, processor in self._processors:
            columns[place] = [processor(value) for value in columns[place]]
        return tuple(columns) if self._arrays else list(zip(*columns, strict=True))


def _processor(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    return _utc_text if isinstance(kind, Utc) and dialect.name == "sqlite" else kind.bind_processor(dialect)


@lru_cache(4096)  # a batch has some buckets, and thousands of rows
def _utc_text(moment: datetime) -> str:
    """The text that SQLAlchemy's own, slower processor makes of a moment in UTC."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")
