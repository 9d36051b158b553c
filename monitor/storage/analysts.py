"""Who may only read: a role of PostgreSQL that sees the views with the stable names, and no table."""

import base64
import hashlib
import hmac
import os

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.errors import ConfigError, Mistake
from monitor.storage import tables as t
from monitor.storage.database import Database

VIEWS = ("alerts", "coverage_5m", "headlines", "spikes", "trend_1d", "trend_1h", "trend_5m")

_ROUNDS = 4096


class Analysts:
    """Roles that read the views."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def grant(self, role: str, password: str | None) -> bool:
        """Lets the role read the views; makes it where it is missing, and then returns True.

        `password` is given to a role that is made, and to one that exists; None leaves it as it is, or without one.
        The server is told a verifier of it only, so that no log of statements holds it.

        Raises: ConfigError, if the database has no roles, or this role could read the tables as well; StoreError.
        """
        async with self._database.write() as connection:
            if connection.dialect.name != "postgresql":
                told = "expected PostgreSQL: SQLite has no roles; there, rights on the file say who reads it"
                raise ConfigError("config.toml", [Mistake("database.url", told)])
            name = connection.dialect.identifier_preparer.quote_identifier(role)
            found = await connection.scalar(text("SELECT true FROM pg_roles WHERE rolname = :role"), {"role": role})
            if not found:
                await connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN")
                await connection.exec_driver_sql(f"ALTER ROLE {name} SET default_transaction_read_only = on")
            if password is not None:
                await connection.exec_driver_sql(f"ALTER ROLE {name} PASSWORD '{_verifier(password)}'")
            database, schema = await _place(connection)
            await connection.exec_driver_sql(f"GRANT CONNECT ON DATABASE {database} TO {name}")
            await connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
            await connection.exec_driver_sql(f"GRANT SELECT ON {', '.join(VIEWS)} TO {name}")
            await _expect_no_tables(connection, role)
        return not found


async def _place(connection: AsyncConnection) -> tuple[str, str]:
    """Names of the database and of the schema, as SQL spells them."""
    query = text("SELECT quote_ident(current_database()), quote_ident(current_schema())")
    database, schema = (await connection.execute(query)).one()
    return database, schema


async def _expect_no_tables(connection: AsyncConnection, role: str) -> None:
    query = text(
        "SELECT name FROM unnest(CAST(:names AS text[])) name WHERE has_table_privilege(:role, name, 'SELECT')"
    )
    names = sorted(t.metadata.tables)
    readable = sorted((await connection.execute(query, {"names": names, "role": role})).scalars())
    if readable:
        told = f"expected a role without rights of its own; {role} can read the tables {', '.join(readable)} already"
        raise ConfigError("command line", [Mistake("ROLE", told)])


def _verifier(password: str) -> str:
    """What PostgreSQL keeps instead of a password. Source: RFC 5803, RFC 7677; as psql's command `password` does."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_, stored_, server_ = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${_ROUNDS}:{salt_}${stored_}:{server_}"
