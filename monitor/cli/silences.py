"""Commands about silences: what nobody wants to hear of for a while."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, cast

import typer

from alerts.cleaning import clean
from alerts.labels import Labels
from alerts.words import counted, minute
from monitor.cli.alert_words import name_meant
from monitor.cli.alerts import MOST_OF_A_COMMENT, author
from monitor.cli.context import settings as load_settings
from monitor.cli.context import with_store
from monitor.cli.output import (
    THE_SAME,
    AsJson,
    console,
    duration,
    is_span,
    moment,
    print_json,
    print_rows,
    stop,
    the_one,
)
from monitor.cli.read import key_given
from monitor.clock import SystemClock
from monitor.domain.matchers import Matcher, Op, all_match, parse
from monitor.errors import ConfigError, Mistake
from monitor.storage.alerts import LIVE
from monitor.storage.silences import Silence
from monitor.storage.store import Store
from monitor.why_not import silence_of

app = typer.Typer(help="Silences: what nobody wants to hear of for a while.", invoke_without_command=True)

# A value that begins with a sign was meant for another operator: of key=~x no reading may make an equality with "~x".
_WITHOUT_QUOTES = re.compile(r'\s*([^\s=!~"]+)\s*(=~|!=|!~|=)(?![=~])\s*((?![=~\s])[^"]*?)\s*')
_NAMED = 3

Expired = Annotated[bool, typer.Option("--expired", help="Also those that are over.")]


@app.callback()
@app.command("list", help=THE_SAME)
def list_silences(context: typer.Context, expired: Expired = False, as_json: AsJson = False) -> None:
    """Silences, the first to end first."""
    if context.invoked_subcommand is not None:
        return
    now = SystemClock().now()
    found = with_store(context, lambda store: store.silences.all(since=None if expired else now))
    if as_json:
        print_json([_document(one, now) for one in found])
        return
    print_rows(
        "Silences",
        ("id", "state", "from (UTC)", "until (UTC)", "by", "comment", "matchers"),
        (
            (
                one.id[:8],
                _state(one, now),
                one.starts_at,
                one.ends_at,
                one.author,
                one.comment,
                "\n".join(str(matcher) for matcher in one.matchers),
            )
            for one in found
        ),
    )


@app.command()
def add(
    context: typer.Context,
    matchers: Annotated[
        list[str],
        typer.Argument(
            metavar="MATCHER",
            help='What alerts must match, all of it: severity="warning", key=~"Silicon.*"; a first word alone: a key.',
        ),
    ],
    comment: Annotated[str, typer.Option(help="Why.")],
    for_: Annotated[str | None, typer.Option("--for", help="For so long: 30m, 2h, 1d.")] = None,
    until: Annotated[str | None, typer.Option(help="Until then (UTC).")] = None,
    start: Annotated[str | None, typer.Option("--from", help="From then on (UTC); default: now.")] = None,
    by: Annotated[str | None, typer.Option(help="Who says so; default: the user of this machine.")] = None,
    as_json: AsJson = False,
) -> None:
    """Keep alerts quiet that match; they are still stored, and told of if they fire on when it ends."""
    now = SystemClock().now()
    wanted = read_matchers(matchers)
    starts_at = moment("--from", start, now) or now
    ends_at = _end(for_, until, starts_at, now)
    if ends_at <= now:  # of a length that is positive: it began too long ago
        ago = f"{start} is a time ago: " if start is not None and is_span(start) else ""
        over = f"{ago}it would have ended on {minute(ends_at)}; expected a later start, or a longer --for"
        raise ConfigError("command line", [Mistake("--from", over)])
    why = _why(comment)
    who = author(by)
    labels = Labels(load_settings(context).alerts)

    async def do(store: Store) -> tuple[Silence, list[str]]:
        meant = await _as_counted(store, matchers[0], wanted)
        silence = await store.silences.add(meant, starts_at, ends_at, author=who, comment=why, now=now)
        return silence, await _keys(store, silence, labels)

    silence, matched = with_store(context, do)
    if as_json:
        print_json({**_document(silence, now), "matches": matched})
        return
    console.print(f"{_told(silence)} {_matched(matched)}", markup=False, highlight=False, soft_wrap=True)


@app.command("update")
def update_silence(
    context: typer.Context,
    given: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the start of it.")],
    for_: Annotated[
        str | None, typer.Option("--for", help="For so long from its start, or if it has begun from now.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", "--end", help="Until then (UTC).")] = None,
    comment: Annotated[str | None, typer.Option(help="Why; default: as before.")] = None,
    by: Annotated[str | None, typer.Option(help="Who says so; default: the user of this machine.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a silence another end or comment: it ends, and one of the same alerts begins, with an id of its own."""
    if for_ is None and until is None and comment is None:
        raise ConfigError(
            "command line", [Mistake("--until", "expected what is to change: --for, --until or --comment")]
        )
    now = SystemClock().now()
    why = None if comment is None else _why(comment)
    who = author(by)
    labels = Labels(load_settings(context).alerts)

    async def do(store: Store) -> tuple[Silence, Silence, list[str]]:
        found = await store.silences.get(given)
        old = the_one("silence", "monitor silences --expired", given, found, lambda one: one.id)
        # What was silent before stays as it was: a silence that has begun goes on in another, from now.
        starts_at = max(old.starts_at, now)
        ends_at = old.ends_at if for_ is None and until is None else _end(for_, until, starts_at, now)
        if ends_at <= now:
            over = f"silence {old.id[:8]} is over; expected another end: --for 2h, or --until and a time"
            raise ConfigError("command line", [Mistake("--until", over)])
        new = await store.silences.replace(
            old, starts_at, ends_at, author=who, comment=old.comment if why is None else why, now=now
        )
        if new is None:
            stop(f"silence {old.id[:8]} has another end since a moment ago; look at it again: monitor silences")
        if new.id == old.id:
            stop(f"silence {old.id[:8]} says so already")
        return old, new, await _keys(store, new, labels)

    old, new, matched = with_store(context, do)
    if as_json:
        print_json({**_document(new, now), "replaces": old.id, "matches": matched})
        return
    told = f"{_told(new)} It stands for {old.id[:8]}, which has ended. {_matched(matched)}"
    console.print(told, markup=False, highlight=False, soft_wrap=True)


def _why(comment: str) -> str:
    """Raises: ConfigError, if it says nothing."""
    why = clean(comment, MOST_OF_A_COMMENT)
    if not why:
        raise ConfigError("command line", [Mistake("--comment", "expected why: others will ask")])
    return why


async def _keys(store: Store, silence: Silence, labels: Labels) -> list[str]:
    """The keys of the alerts that fire now and that it matches."""
    rows = await store.alerts.firing(LIVE)
    return sorted(str(row.alert.key) for row in rows if silence_of(row, [silence], labels))


def _told(silence: Silence) -> str:
    start, end = (f"{at:%Y-%m-%d %H:%M}" for at in (silence.starts_at, silence.ends_at))
    return f"Silence {silence.id[:8]}: {_matchers(silence)}, {start} to {end} UTC."


async def _as_counted(store: Store, first: str, matchers: tuple[Matcher, ...]) -> tuple[Matcher, ...]:
    """The matchers, with the name that is given alone as articles are counted on it."""
    if not _is_name(first):
        return matchers
    kinds, name = key_given(first, "MATCHER 1")
    meant = await name_meant(store, kinds, name or "")
    typed, counted_on = Matcher("key", "=", name or ""), Matcher("key", "=", meant)
    return tuple(counted_on if one == typed else one for one in matchers)


def _matched(keys: Sequence[str]) -> str:
    if not keys:
        return "It matches no alert that fires now."
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    verb = "fires" if len(keys) == 1 else "fire"
    return f"It matches {counted('alert', len(keys))} that {verb} now: {', '.join(keys[:_NAMED])}{more}."


def _end(length: str | None, until: str | None, starts_at: datetime, now: datetime) -> datetime:
    """When the silence ends, after it begins. Raises: ConfigError, unless one of the two says when."""
    if (length is None) == (until is None):
        raise ConfigError("command line", [Mistake("--for", "expected --for 2h, or --until and a time")])
    if length is not None:
        try:
            return starts_at + duration("--for", length)
        except OverflowError:
            raise ConfigError("command line", [Mistake("--for", "that is past the end of the calendar")]) from None
    if until is not None and is_span(until):
        ago = f"{until} is a time ago, as in --since; --for {until} is meant, perhaps"
        raise ConfigError("command line", [Mistake("--until", ago)])
    ends_at = moment("--until", until, now) or now
    if ends_at <= max(starts_at, now):
        begin = "now" if starts_at <= now else f"{minute(starts_at)}, when it begins"
        past = f"expected a time after {begin}; that is {minute(ends_at)}"
        raise ConfigError("command line", [Mistake("--until", past)])
    return ends_at


def read_matchers(given: Sequence[str]) -> tuple[Matcher, ...]:
    """Matchers as they are written on the command line; as in Alertmanager's amtool, a first word alone is a name: here
    that of the key.

    Raises: ConfigError.
    """
    found: list[Matcher] = []
    mistakes = []
    for place, text in enumerate(given):
        if place == 0 and _is_name(text):
            found += _of_key(text)
            continue
        try:
            found.append(_matcher(text))
        except ValueError as error:
            mistakes.append(Mistake(f"MATCHER {place + 1}", str(error)))
    if mistakes:
        raise ConfigError("command line", mistakes)
    # A silence that matches what has no label at all would match everything: a slip, and a loud one.
    if all_match(found, {}):
        expected = (
            "these match every alert, those without such a label too; expected one with a value that is not empty"
        )
        raise ConfigError("command line", [Mistake("MATCHER", expected)])
    return tuple(found)


def _is_name(first: str) -> bool:
    return not any(sign in first for sign in "=~")


def _of_key(given: str) -> list[Matcher]:
    """Raises: ConfigError, for a topic that is none."""
    kinds, name = key_given(given, "MATCHER 1")
    return [*(Matcher("kind", "=", kind) for kind in kinds or ()), Matcher("key", "=", name or "")]


def _matcher(text: str) -> Matcher:
    """Raises: ValueError."""
    try:
        return parse(text)
    except ValueError:
        # If the shell has taken the quotes away, what follows the operator is the value, blanks and all.
        found = _WITHOUT_QUOTES.fullmatch(text)
        if found is None:
            raise
        return Matcher(found[1], cast("Op", found[2]), found[3])


@app.command()
def expire(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Their ids, or the start of them.")],
) -> None:
    """End silences at once."""
    now = SystemClock().now()

    async def ask(store: Store) -> list[Silence]:
        wanted = []
        for given in ids:
            found = await store.silences.get(given)
            wanted.append(the_one("silence", "monitor silences --expired", given, found, lambda one: one.id))
        over = [one for one in wanted if not await store.silences.expire(one.id, now)]
        if over:
            stop(f"silence {', '.join(one.id[:8] for one in over)} is over already")
        return wanted

    for one in with_store(context, ask):
        console.print(f"Silence {one.id[:8]} has ended: {_matchers(one)}.", markup=False, highlight=False)


def _state(silence: Silence, now: datetime) -> str:
    if silence.ends_at <= now:
        return "expired"  # one that was ended before it began, too
    return "pending" if now < silence.starts_at else "active"


def _matchers(silence: Silence) -> str:
    return ", ".join(str(matcher) for matcher in silence.matchers)


def _document(silence: Silence, now: datetime) -> dict[str, Any]:
    return {
        **silence._asdict(),
        "matchers": [str(matcher) for matcher in silence.matchers],
        "state": _state(silence, now),
    }
