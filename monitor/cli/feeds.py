"""Commands about feeds: how they fare, what one of them gives, how to add many."""

import asyncio
import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from monitor import app as application
from monitor import plugins
from monitor.cli.context import settings as load_settings
from monitor.cli.context import with_store
from monitor.cli.output import AsJson, console, errors, print_facts, print_json, print_rows, without_passwords
from monitor.clock import SystemClock
from monitor.errors import ConfigError, FetchError, Mistake, Reason, RecordError
from monitor.settings import find_config
from monitor.storage.feeds import FeedState
from pipelines.ingest import opml
from pipelines.ingest.normalise import article
from pipelines.ingest.source import Note

app = typer.Typer(help="List, test and import feeds.", no_args_is_help=True)


@app.command("list")
def list_feeds(context: typer.Context, as_json: AsJson = False) -> None:
    """Every configured feed, when it is polled next, and what is wrong with it."""
    settings = load_settings(context)
    states = with_store(context, lambda store: store.feeds.all())
    rows: list[dict[str, Any]] = []
    for name, config in settings.feeds.items():
        state = states.get(name) or FeedState(name, config.address, {})
        if state.url != config.address:
            state = FeedState(name, config.address, {})
        rows.append({"feed": name, "group": config.group, **state._asdict(), "state": _state(state, config.enabled)})
    if as_json:
        print_json(without_passwords(rows))
        return
    print_rows(
        "Feeds",
        ("feed", "state", "articles", "last read (UTC)", "next poll (UTC)", "why"),
        (
            (
                row["feed"],
                row["state"],
                row["articles"],
                row["last_success_at"],
                None if row["parked"] else row["next_poll_at"],
                "; ".join(
                    part
                    for part in (
                        f"{row['reason']}: {row['detail']}" if row["reason"] else "",
                        f"moved to {row['moved_to']}" if row["moved_to"] else "",
                    )
                    if part
                ),
            )
            for row in rows
        ),
    )


def _state(state: FeedState, enabled: bool) -> str:
    if not enabled:
        return "disabled"
    if state.parked:
        return "parked"
    if state.failures:
        return f"failing x{state.failures}"
    return "never read" if state.last_success_at is None else "ok"


@app.command()
def resume(context: typer.Context, name: Annotated[str, typer.Argument(help="A parked or failing feed.")]) -> None:
    """Take a feed out of parking, or out of its backoff: the next start of the daemon polls it at once."""
    settings = load_settings(context)
    if name not in settings.feeds:
        raise ConfigError("command line", [Mistake("NAME", f"no feed {name!r} in the configuration")])
    state = with_store(context, lambda store: store.feeds.all()).get(name)
    if state is not None:
        fresh = state._replace(parked=False, failures=0, reason=None, detail=None, next_poll_at=None)
        with_store(context, lambda store: store.feeds.save(fresh))
    console.print(f"{name}: polled at the next start of the daemon")


@app.command("test")
def try_feed(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="URL, file, or the name of a configured feed.")],
    limit: Annotated[int, typer.Option(min=1, help="Most entries printed.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Read a feed once, store nothing, and show what the daemon would make of it."""
    settings = load_settings(context)
    configured = settings.feeds.get(target)
    address = configured.address if configured is not None else target
    result = asyncio.run(application.probe(settings, address))
    now = SystemClock().now()
    articles, refused = [], 0
    for entry in result.entries:
        try:
            articles.append(
                article(entry, source=target, fetched_at=now, plausibility=application.plausibility(settings))
            )
        except RecordError:
            refused += 1
    facts = {
        "feed": without_passwords(address),
        "entries": len(result.entries),
        "refused": refused,
        "note": _note(result.note),
        "moved_to": result.moved_to,
    }
    if as_json:
        print_json({**facts, "articles": [item.model_dump() for item in articles[:limit]]})
        return
    print_facts("Feed", facts)
    print_rows(
        "Entries",
        ("published (UTC)", "time from", "language", "title", "link"),
        ((item.published_at, item.time_basis, item.language, item.title, item.url) for item in articles[:limit]),
    )


def _note(note: Note | None) -> str | None:
    return None if note is None else f"{note.reason}: {note.detail}"


@app.command("import")
def import_opml(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="OPML list of feeds.")],
    write: Annotated[bool, typer.Option("--write", help="Append to the configuration file; else only print.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn an OPML list into feed tables for config.toml; feeds that are configured already are left out."""
    settings = load_settings(context)
    known = {config.address for config in settings.feeds.values()}
    taken = set(settings.feeds)
    new: list[dict[str, str]] = []
    unusable: list[str] = []
    skipped = 0
    for outline in _read_opml(file):
        if not _is_usable(outline.url):
            unusable.append(outline.url)
            continue
        if outline.url in known:
            skipped += 1
            continue
        known.add(outline.url)
        name = _name(outline.title or outline.url, taken)
        taken.add(name)
        new.append({"name": name, "group": outline.group, "url": outline.url})
    tables = "".join(
        f"\n[feeds.{feed['name']}]\ngroup = {_toml(feed['group'])}\nurl = {_toml(feed['url'])}\n" for feed in new
    )
    if write and new:
        _append(find_config(context.obj), f"\n# Imported from {_toml(file.name)}\n{tables}")
    if as_json:
        print_json({"feeds": new, "known_already": skipped, "unusable": unusable, "written": write})
        return
    console.print(tables, markup=False, highlight=False, soft_wrap=True)  # a wrapped address would be no TOML
    for address in unusable:
        errors.print(f"left out, no web address: {address}", markup=False, highlight=False, soft_wrap=True)
    done = "appended to the configuration" if write else "not written; --write appends them to the configuration"
    console.print(f"{len(new)} feeds {done}; {skipped} are configured already")


def _is_usable(address: str) -> bool:
    """Whether the configuration would take it: what is written there must not keep the daemon from starting."""
    try:
        plugins.load("pipelines.ingest.sources", "feed").Config(url=address)
    except ValueError:
        return False
    return True


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as config:
            config.write(text)
    except OSError as error:
        raise ConfigError(str(path), [Mistake("--write", f"cannot write: {error.strerror}")]) from error


def _read_opml(file: Path) -> list[opml.Outline]:
    try:
        found = opml.read(file.read_bytes())
    except OSError as error:
        raise FetchError(Reason.CLIENT_ERROR, f"{file}: {error.strerror}") from error
    except RecordError as error:
        raise FetchError(error.reason, f"{file}: {error.detail}") from error
    return found


def _name(title: str, taken: set[str]) -> str:
    """A table name in the style of the others: lower case, underscores, unique."""
    base = re.sub(r"[^a-z0-9]+", "_", title.lower().removeprefix("https://").removeprefix("http://")).strip("_")[:40]
    base = base or "feed"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    return name


def _toml(text: str) -> str:
    """A basic string: JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
