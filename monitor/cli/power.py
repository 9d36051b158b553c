"""The command that tells what the next spike would take."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple

import typer

from monitor import app as application
from monitor.cli.context import settings as load_settings
from monitor.cli.context import with_store
from monitor.cli.output import AsJson, console, print_json, print_rows, stop
from monitor.cli.read import key_given
from monitor.cli.spike_words import amount, how_often, interval, span
from monitor.clock import SystemClock
from monitor.domain.windows import Key
from monitor.settings import Settings
from monitor.storage.store import Store
from monitor.storage.timeline import keys_named
from pipelines.detect.detector import Power, Score

_MANY = 100_000
_CHECKPOINT = "detect"


class _Powers(NamedTuple):
    """By what was learned up to `learned_until`, the fetch of the last article that the checkpoint has in it."""

    learned_until: datetime | None
    keys: list[tuple[Key, list[Power], Score | None]]


_PEAK = 3.0


def power(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="all, a topic or a name; with its kind in front: entity:NAME.")],
    as_json: AsJson = False,
) -> None:
    """How many negative stories it would take to fire on a key now, by what the daemon has saved of its learning."""
    settings = load_settings(context)
    kinds, name = key_given(key)

    async def ask(store: Store) -> _Powers:
        kept = await store.sightings.checkpoint(_CHECKPOINT)
        if kept is None:
            stop("the daemon has not saved what it learned yet; it does every 5,000 articles and when it stops")
        watch = await asyncio.to_thread(application.build_watch, settings)
        if kept.version != watch.version:
            stop(
                "what the daemon saved was learned with other settings of [detector] or [detect];"
                " start it with these, and it learns again from the tables"
            )
        try:
            watch.load(kept.state)
        except ValueError as error:
            stop(f"what the daemon saved cannot be read: {error}; start it, and it learns from the tables")
        keys = [Key(kind, name or "") for kind in kinds] if kinds else await keys_named(store, name or "")
        watched = [one for one in keys if one.kind in settings.detect.keys]
        if not watched:
            stop(not_watched(key, keys, settings))
        last = await store.sightings.seen(after=kept.seen - 1, upto=kept.seen)
        learned_until = last[0].fetched_at if last else None
        return _Powers(learned_until, [(one, watch.power(one), watch.score(one)) for one in watched])

    found = with_store(context, ask)
    if as_json:
        print_json(
            {
                "learned_until": found.learned_until,
                "keys": [
                    {
                        "key": one,
                        "horizons": [each._asdict() for each in powers],
                        "score": score and score._asdict(),
                    }
                    for one, powers, score in found.keys
                ],
            }
        )
        return
    for one, powers, score in found.keys:
        _print_power(one, powers, score)
    console.print(_age(found.learned_until), markup=False, highlight=False, soft_wrap=True)


def not_watched(given: str, keys: Sequence[Key], settings: Settings) -> str:
    if not keys:
        return f"nothing is counted under {given!r}; for a name that had no article yet give its kind: entity:{given}"
    kinds = ", ".join(sorted(settings.detect.keys))
    return f"{keys[0]} is not watched for spikes; the kinds of key that are: {kinds} (detect.keys)"


def _print_power(key: Key, powers: Sequence[Power], score: Score | None) -> None:
    print_rows(
        f"What it takes to fire on {key}",
        ("within", "expected", "95 %", "negative stories needed, if nothing else comes"),
        (
            (
                span(timedelta(seconds=each.horizon_s)),
                amount(each.expected),
                f"{each.low:.0f} to {each.high:.0f}",
                _needed(each.needed),
            )
            for each in powers
        ),
    )
    if score is None:
        console.print("Now: too few negative stories for a score.", highlight=False)
        return
    # Below a peak nothing is known of how often a key comes there.
    often = f", which it reaches by itself about {how_often(score.per_week)}" if score.value > _PEAK else ""
    console.print(
        f"Now: {score.negative} negative stories of {score.stories} within"
        f" {span(timedelta(seconds=score.horizon_s))}, {amount(score.expected)} expected{interval(score)}:"
        f" score {score.value:.1f}{often}.",
        highlight=False,
    )


def _needed(stories: int | None) -> object:
    if stories is None:
        return "not looked at over so long: bad news is too usual"
    return stories if stories <= _MANY else f"more than {_MANY:,}"


def _age(learned_until: datetime | None) -> str:
    if learned_until is None:
        return "As learned up to an article that is no longer stored."
    age = SystemClock().now() - learned_until
    hours = age / timedelta(hours=1)
    told = (
        f"{age / timedelta(minutes=1):.0f} min" if hours < 2 else f"{hours:.0f} h" if hours < 48 else f"{age.days} days"
    )
    return f"As learned up to the article that came in at {learned_until:%Y-%m-%d %H:%M} UTC, {told} ago."
