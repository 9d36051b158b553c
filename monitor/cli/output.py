"""How commands print: tables for people, JSON for programs."""

import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Never, TypeVar

import typer
from pydantic_core import to_json
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from monitor.errors import ConfigError, Mistake

_PIPED_WIDTH = 160
"""Columns of a table that is not printed on a terminal, unless COLUMNS says otherwise."""

_UNFOLDED_WIDTH = 1_000_000

console = Console(width=shutil.get_terminal_size((_PIPED_WIDTH, 50)).columns)
errors = Console(stderr=True)

THE_SAME = "The same as the command alone."
"""Help of a subcommand that is what its group does by itself: one function is both."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most rows printed.")]

_ROOMY = 120

T = TypeVar("T")

_SENTIMENT_STYLE = {"negative": "red", "positive": "green"}
_URL_PASSWORD = re.compile(r"^([A-Za-z][\w+.-]*://[^:/?#@]*:)[^@]*@")
_SPANS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def stop(text: str) -> Never:
    """Ends a command that cannot be done, with a sentence that says why, and what to do. Raises: typer.Exit."""
    errors.print(f"monitor: {text}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def require_id(given: str, listed_by: str) -> None:
    """Raises: ConfigError, if nothing is given: every id begins with that."""
    if not given.strip():
        expected = f"expected an id, or the start of one; `{listed_by}` lists those there are"
        raise ConfigError("command line", [Mistake("ID", expected)])


def the_one(what: str, listed_by: str, given: str, found: Sequence[T], id_of: Callable[[T], str]) -> T:
    """What an id, or the start of one, is to mean.

    Raises: ConfigError, if nothing is given; typer.Exit, unless it is one.
    """
    require_id(given, listed_by)
    if not found:
        stop(f"no {what} has an id that begins with {given!r}; `{listed_by}` lists those there are")
    if len(found) > 1:
        ids = ", ".join(id_of(one)[:12] for one in found[:5])
        more = ", ..." if len(found) > 5 else ""
        stop(f"{given!r} is the start of more than one id ({ids}{more}); give more of it")
    return found[0]


@contextmanager
def learning_bar(total: int, what: str = "learning again") -> Iterator[Callable[[int], None]]:
    """A bar for the articles that a detector learns from; to be told the number of the last one."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def json_alone(as_json: bool) -> Iterator[None]:
    """With --json standard output is one document: what else is printed meanwhile, by a console channel say, goes to
    standard error.
    """
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        yield


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(to_json(value, indent=2, bytes_mode="base64").decode() + "\n")


def print_rows(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; outside text is printed as it is, never read as markup."""
    table = Table(
        title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    cap = None if console.width >= _ROOMY else 16
    for number, name in enumerate(columns, start=1):
        # The last column holds the longest text, and takes the room that the others leave. The first is what is typed
        # into the next command: it stays whole, and the others make room for it.
        if number == len(columns):
            table.add_column(name, overflow="fold", min_width=min(12, console.width // len(columns) - 2))
        elif number == 1:
            table.add_column(name, overflow="ellipsis", no_wrap=True, max_width=cap)
        else:
            table.add_column(name, overflow="fold", max_width=cap)
    count = 0
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(_cell(cell)) for cell in row))
        count += 1
    if count:
        console.print(table)
    else:
        console.print(f"{title}: none")


def print_facts(title: str, facts: Mapping[str, object]) -> None:
    """A two-column table."""
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in facts.items():
        table.add_row(name, Text(_cell(value)))
    console.print(table)


def print_tree(tree: Tree) -> None:
    """A tree, a line each: folded at an edge, what is deep in it would lose its text."""
    Console(width=_UNFOLDED_WIDTH).print(tree)


def sentiment(value: str | None) -> Text:
    return Text(value or "-", style=_SENTIMENT_STYLE.get(value or "", ""))


def without_passwords(value: Any) -> Any:
    """The same, with the passwords in URLs hidden: those of a database, or of a feed."""
    if isinstance(value, dict):
        return {key: without_passwords(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_passwords(item) for item in value]
    return _URL_PASSWORD.sub(r"\1**********@", value) if isinstance(value, str) else value


def _is_recent(value: datetime) -> bool:
    """Within half a year: then seconds say more than the year does."""
    return abs(datetime.now(UTC) - value) < timedelta(days=180)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%m-%d %H:%M:%S" if _is_recent(value) else "%Y-%m-%d %H:%M")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def moment(option: str, value: str | None, now: datetime) -> datetime | None:
    """A time given on the command line: ISO 8601 (UTC unless it names a zone), or a span back from now such as 2h.

    Raises: ConfigError, naming the option.
    """
    if value is None:
        return None
    try:
        if (span := _span(value)) is not None:
            return now - span
        given = datetime.fromisoformat(value)
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    except (ValueError, OverflowError):
        expected = "expected a time such as 2026-03-10T14:00, or a span back from now such as 30m, 2h or 7d"
        raise ConfigError("command line", [Mistake(option, expected)]) from None


def duration(option: str, value: str) -> timedelta:
    """A length of time given on the command line, such as 30m, 2h or 1d. Raises: ConfigError, naming the option."""
    try:
        span = _span(value)
    except OverflowError:
        span = None
    if not span:
        raise ConfigError("command line", [Mistake(option, "expected a length of time such as 30m, 2h or 1d")])
    return span


def is_span(value: str) -> bool:
    """Whether it is written as a length of time is, such as 2h."""
    return value[-1:] in _SPANS and value[:-1].isdecimal()


def _span(value: str) -> timedelta | None:
    return timedelta(**{_SPANS[value[-1]]: int(value[:-1])}) if is_span(value) else None
