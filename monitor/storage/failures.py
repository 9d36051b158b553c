"""What a driver raises, as an error of ours: which setting it is about, and what to do."""

from typing import NamedTuple

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from monitor.errors import MonitorError, Reason, RecordError, StoreError


class ConflictError(StoreError):
    """Another transaction stood in the way of this one, which left no trace: to be tried again at once."""


class _Known(NamedTuple):
    reason: Reason
    remedy: str


_SERVER_RUNS = "check that the server runs, and host and port in database.url; tried again until it answers"
_LOGIN = _Known(Reason.AUTH, "check user and password in database.url, and pg_hba.conf on the server")
_CONFLICTS = ("40001", "40P01")
# Part of the text of SQLite's errors. Source: https://sqlite.org/rescode.html
_SQLITE: dict[str, _Known] = {
    "disk is full": _Known(Reason.STORAGE_FULL, "free some space on its disk"),
    "No space left": _Known(Reason.STORAGE_FULL, "free some space on its disk"),
    "readonly": _Known(Reason.STORAGE, "make the file, and its folder, writable"),
    "not a database": _Known(
        Reason.STORAGE, "name another file in database.url, or move this one away: it is made anew"
    ),
    "malformed": _Known(Reason.STORAGE, "put a backup in its place, or move it away: it is made anew, and empty"),
    "locked": _Known(Reason.STORAGE, "another process has been writing to it for long: find it, and let it end"),
    "unable to open": _Known(
        Reason.STORAGE, "name a file in database.url, in a folder that is there; both must be readable and writable"
    ),
}

# SQLSTATE, or the class it begins with. Source: PostgreSQL documentation, appendix A.
_KNOWN: dict[str, _Known] = {
    "28": _LOGIN,
    "3D000": _Known(Reason.CLIENT_ERROR, "make it with CREATE DATABASE, or name another in database.url"),
    "42501": _Known(Reason.AUTH, "grant it to the role in database.url, or name the role that owns the tables there"),
    "25006": _Known(
        Reason.STORAGE,
        "this server, or this role, only reads: name the primary in database.url, and see that"
        " default_transaction_read_only is off",
    ),
    "53100": _Known(Reason.STORAGE_FULL, "free some space on the disk of the server in database.url"),
    "53300": _Known(
        Reason.UNREACHABLE, "raise max_connections of the server in database.url, or run fewer copies of the stages"
    ),
    "57P": _Known(Reason.UNREACHABLE, "the server in database.url stops or starts; tried again until it answers"),
    "08": _Known(Reason.UNREACHABLE, _SERVER_RUNS),
}


def failure(error: Exception, url: URL) -> MonitorError:
    """A StoreError, or RecordError where the database refuses a value that it was given.

    Never names the password of `url`.
    """
    code = str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
    text = _safe(str(getattr(error, "orig", None) or error) or type(error).__name__, url)
    if url.get_backend_name() == "sqlite":
        known = next((known for part, known in _SQLITE.items() if part in text), None)
        where = f"database.url ({url.database or ':memory:'})"
        return StoreError(
            known.reason if known else Reason.STORAGE, f"{where}: {text}" + (f"; {known.remedy}" if known else "")
        )
    where = _where(url)
    if code.startswith("22"):
        return RecordError(Reason.INVALID, f"{where}: {text}")
    if code in _CONFLICTS:
        return ConflictError(Reason.STORAGE, f"{where}: {text}")
    if code:
        known = _KNOWN.get(code) or _KNOWN.get(code[:3]) or _KNOWN.get(code[:2])
        return StoreError(
            known.reason if known else Reason.STORAGE, f"{where}: {text}" + (f"; {known.remedy}" if known else "")
        )
    if isinstance(error, TimeoutError):
        return StoreError(Reason.TIMEOUT, f"{where}: no answer in time; {_SERVER_RUNS}")
    if isinstance(error, OSError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return StoreError(Reason.UNREACHABLE, f"{where}: {text}; {_SERVER_RUNS}")
    return StoreError(Reason.STORAGE, f"{where}: {text}")


def _where(url: URL) -> str:
    host = url.host or url.query.get("host") or "localhost"
    return f"database.url ({host}{f':{url.port}' if url.port else ''}/{url.database or ''})"


def _safe(text: str, url: URL) -> str:
    return text.replace(str(url.password), "***") if url.password else text
