"""What is wrong from the start, and what comes from a newer release: which process ends how, and what it says."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from monitor import app
from monitor.bus.bus import Message
from monitor.bus.streams import Stream
from monitor.chaos.servers import free_port
from monitor.demo.servers import Outlets
from monitor.domain.record import encode
from tests.acceptance.stand import QUICK, SECRET, Stand, serving
from tests.brokers import broker
from tests.factories import make_article
from tests.postgres import Server

WRONG_PASSWORD = "hunter2"


def input_trial(folder: Path, _: float, postgres: Server, *, quick: bool = False) -> dict[str, Any]:
    """`ends`: starts that are refused, each with its exit code and message. `goes_on`: what the stages live through."""
    with broker() as bootstrap:
        return {
            "ends": _refused_starts(folder, postgres, bootstrap),
            "goes_on": _lived_through(folder, postgres, bootstrap, quick=quick),
        }


def _refused_starts(folder: Path, postgres: Server, bootstrap: str) -> dict[str, Any]:
    postgres.sql("CREATE ROLE reader LOGIN PASSWORD 'right';")
    postgres.sql("CREATE DATABASE still;")
    postgres.sql("ALTER DATABASE still SET default_transaction_read_only = on;")
    postgres.ask_for_passwords_of("reader")
    url = postgres.url
    cases = {
        "wrong bootstrap address": (f"127.0.0.1:{free_port()}", url),
        "wrong database password": (bootstrap, url.set(username="reader", password=WRONG_PASSWORD)),
        "read-only database": (bootstrap, url.set(database="still")),
        "kafka with SQLite": (bootstrap, make_url(f"sqlite+aiosqlite:///{folder}/tables.sqlite3")),
    }

    def start(name: str) -> dict[str, Any]:
        address, database = cases[name]
        given = database.render_as_string(hide_password=False)
        place = Stand(folder / name, address, given, outlets, kafka=QUICK | {"request_timeout_s": 2}).place
        ended = place.run("run", "aggregate")
        return {"exit_code": ended.code, "message": ended.err.strip()}

    with Outlets(SECRET) as outlets, ThreadPoolExecutor() as pool:
        return dict(zip(cases, pool.map(start, cases), strict=True))


def _lived_through(folder: Path, postgres: Server, bootstrap: str, *, quick: bool) -> dict[str, Any]:
    """A record of a newer schema, then a database that takes no writes for a while."""
    with serving(folder / "serves", postgres, bootstrap, quick=quick) as stand:
        marks = stand.marks()
        asyncio.run(_put(stand, json.dumps(json.loads(encode(make_article())) | {"v": 99}).encode()))
        stand.wait(lambda: stand.place.ask("dead-letters", "list"), "the record is a dead letter")
        name = make_url(stand.url).database
        postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on;")
        _end_connections(postgres, name)
        asyncio.run(_put(stand, encode(make_article(title="Bank opens"))))
        stand.published.append("Bank opens")
        stand.wait(lambda: _names_the_remedy(stand), "aggregate says what to do")
        postgres.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only;")
        _end_connections(postgres, name)
        stand.wait(lambda: stand.stored() >= len(stand.published), "the article is stored")
        letters = stand.place.ask("dead-letters", "list")
        return {
            "newer_schema": [{key: row[key] for key in ("stage", "stream", "reason", "detail")} for row in letters],
            **stand.finish(marks),
        }


def _end_connections(postgres: Server, name: str | None) -> None:
    """Those that are there already would go on writing."""
    postgres.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}';")


def _names_the_remedy(stand: Stand) -> bool:
    retries = [line for line in stand.process_of("aggregate").log.splitlines() if '"event": "stage_retries"' in line]
    return any("default_transaction_read_only is off" in line for line in retries)


async def _put(stand: Stand, value: bytes) -> None:
    bus = await app.open_bus(stand.settings())
    try:
        await bus.publish(Stream.ARTICLES, [Message("put", value)])
    finally:
        await bus.aclose()
