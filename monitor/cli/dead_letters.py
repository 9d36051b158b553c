"""Commands about records that could not be processed."""

import asyncio
from typing import Annotated

import typer

from monitor import app as application
from monitor.bus.bus import Message
from monitor.bus.streams import Stream
from monitor.cli.context import settings as load_settings
from monitor.cli.context import with_store
from monitor.cli.output import AsJson, Limit, console, print_json, print_rows, require_id
from monitor.clock import SystemClock
from monitor.domain.dead_letters import DeadLetter
from monitor.errors import ConfigError, Mistake
from monitor.settings import Settings

app = typer.Typer(help="List and replay records that could not be processed.", no_args_is_help=True)


@app.command("list")
def list_letters(
    context: typer.Context,
    limit: Limit = 20,
    include_replayed: Annotated[bool, typer.Option("--all", help="Also those that were replayed.")] = False,
    as_json: AsJson = False,
) -> None:
    """The newest first, with the reason and the start of the original bytes."""
    replayed = None if include_replayed else False
    found = with_store(context, lambda store: store.dead_letters.list(limit=limit, replayed=replayed))
    if as_json:
        print_json([letter.model_dump(mode="json") for letter in found])
        return
    print_rows(
        "Dead letters",
        ("id", "failed (UTC)", "stage", "reason", "detail", "replayed (UTC)", "record"),
        (
            (
                letter.id[:8], letter.failed_at, letter.stage, letter.reason, letter.detail, letter.replayed_at,
                letter.value[:120].decode("utf-8", "replace"),
            )
            for letter in found
        ),
    )  # fmt: skip


@app.command()
def replay(
    context: typer.Context,
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids, or the start of them; default: all not replayed yet.")
    ] = None,
    limit: Limit = 10_000,
) -> None:
    """Put records on their stream again; what fails again is a dead letter again."""
    for one in ids or ():
        require_id(one, "monitor dead-letters list")
    settings = load_settings(context)
    done, refused = asyncio.run(_replay(settings, ids or [], limit))
    if ids and not done and not refused:
        raise ConfigError("command line", [Mistake("ID", "no dead letter has such an id")])
    console.print(
        f"{done} replayed; {refused} cannot be: they never were on a stream (their feed, or archive, still has them)"
    )


async def _replay(settings: Settings, ids: list[str], limit: int) -> tuple[int, int]:
    done = refused = 0
    async with application.open_core(settings, SystemClock()) as core:
        wanted: list[DeadLetter] = await core.store.dead_letters.list(
            limit=limit, ids=ids, replayed=None if ids else False
        )
        for letter in wanted:
            if letter.stream is None:
                refused += 1
                continue
            await core.bus.publish(Stream(letter.stream), [Message(letter.key, letter.value)])
            await core.store.dead_letters.mark_replayed(letter.id, core.clock.now())
            done += 1
    return done, refused
