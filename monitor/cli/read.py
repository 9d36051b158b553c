"""Commands that only read: what was said, and how it went."""

from datetime import timedelta
from heapq import merge
from itertools import islice
from typing import Annotated, cast

import typer

from monitor.cli.context import settings, with_store
from monitor.cli.output import AsJson, Limit, moment, print_json, print_rows, sentiment
from monitor.clock import SystemClock
from monitor.domain.labels import Sentiment, Topic
from monitor.domain.windows import RESOLUTIONS_S, KeyKind, WindowStats
from monitor.errors import ConfigError, Mistake
from monitor.storage.store import Store
from monitor.storage.timeline import Point, keys_named, points, timeline

Since = Annotated[str | None, typer.Option(help="From then on: a time (UTC) or a span back from now, such as 2h.")]
Until = Annotated[str | None, typer.Option(help="Before then: a time (UTC) or a span back from now.")]


def register(app: typer.Typer) -> None:
    for command in (headlines, trends):
        app.command()(command)


def headlines(
    context: typer.Context,
    limit: Limit = 20,
    since: Since = None,
    until: Until = None,
    topic: Annotated[str | None, typer.Option(help="Only this topic.")] = None,
    sentiment_: Annotated[Sentiment | None, typer.Option("--sentiment", help="Only this sentiment.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    as_json: AsJson = False,
) -> None:
    """Articles with their labels, the newest first."""
    now = SystemClock().now()
    start, end = moment("--since", since, now), moment("--until", until, now)
    found = with_store(
        context,
        lambda store: store.articles.headlines(
            limit=limit, since=start, until=end, topic=_topic(topic), sentiment=sentiment_, source=source
        ),
    )
    if as_json:
        print_json(
            [
                {**item.article.model_dump(), **{k: v for k, v in item._asdict().items() if k != "article"}}
                for item in found
            ]
        )
        return
    print_rows(
        "Headlines",
        ("published (UTC)", "source", "sentiment", "topic", "title"),
        (
            (
                item.article.published_at,
                item.article.source,
                sentiment(item.sentiment),
                item.topic or f"not labelled ({item.article.language})",
                item.article.title,
            )
            for item in found
        ),
    )


def _topic(given: str | None, named: str = "--topic") -> Topic | None:
    """The topic meant: its name in any case, or the start of it."""
    if given is None:
        return None
    matches = [topic for topic in Topic if topic.casefold().startswith(given.casefold())]
    exact = [topic for topic in matches if topic.casefold() == given.casefold()]
    if len(exact or matches) != 1:
        raise ConfigError("command line", [Mistake(named, f"expected a topic, one of: {', '.join(Topic)}")])
    return (exact or matches)[0]


def trends(
    context: typer.Context,
    key: Annotated[
        str | None,
        typer.Argument(
            help="all, a topic, a source or a name; then buckets without any article too; default: every key."
        ),
    ] = None,
    resolution: Annotated[str, typer.Option(help=f"Width of a bucket: {', '.join(RESOLUTIONS_S)}.")] = "1h",
    limit: Limit = 40,
    since: Since = None,
    until: Until = None,
    recount: Annotated[
        bool, typer.Option("--recount", help="Count anew from the labels, and tell whether it is equal.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Counts by key and bucket, the newest first."""
    if resolution not in RESOLUTIONS_S:
        raise ConfigError("command line", [Mistake("--resolution", f"expected one of: {', '.join(RESOLUTIONS_S)}")])
    if recount:
        _recount(context, resolution, as_json)
        return
    kinds, name = key_given(key)
    now = SystemClock().now()
    start, end = moment("--since", since, now), moment("--until", until, now)

    async def ask(store: Store) -> list[Point]:
        if name is None:
            rows = await store.articles.trends(
                resolution=resolution, since=start, until=end, limit=limit, newest_first=True
            )
            return await points(store, rows, now)
        asked = await keys_named(store, name, kinds)
        lines = [
            await timeline(store, one, resolution=resolution, now=now, since=start, until=end, limit=limit)
            for one in asked
        ]
        return list(islice(merge(*lines, key=lambda point: point.stats.start, reverse=True), limit))

    found = with_store(context, ask)
    if as_json:
        print_json(
            [
                {
                    **row.model_dump(),
                    "articles": row.articles,
                    "negative_share": row.negative_share,
                    "mean_polarity": row.mean_polarity,
                    "observed": observed,
                }
                for row, observed in found
            ]
        )
        return
    print_rows(
        f"Trends, buckets of {resolution}",
        (
            *("start (UTC)", "pos", "neu", "neg", "unlab", "stories", "neg st", "srcs"),
            *("share", "polar", "observed", "key"),
        ),
        (
            (
                row.start,
                *_counts(row, observed),
                row.negative_share,
                row.mean_polarity,
                _observed(observed),
                str(row.key),
            )
            for row, observed in found
        ),
    )


def _counts(row: WindowStats, observed: float | None) -> tuple[int | None, ...]:
    """Counts of a bucket; without an article, what nobody listened to is not zero."""
    counts = (row.positive, row.neutral, row.negative, row.unlabelled, row.stories, row.negative_stories, row.sources)
    return (None,) * len(counts) if observed == 0 and not row.articles else counts


def _observed(share: float | None) -> str | None:
    if share is None:
        return None
    if share in (0, 1):
        return "yes" if share else "no"
    return f"{min(99, max(1, round(100 * share)))} %"


def key_given(given: str | None, named: str = "KEY") -> tuple[list[KeyKind] | None, str | None]:
    """The key meant: "all", a topic in any case, a source, or either as tables print it, with its kind in front.

    Raises: ConfigError, for a topic that is none; it names what was given by `named`.
    """
    if given is None:
        return None, None
    kind, colon, name = given.partition(":")
    if colon and kind == "topic":
        return ["topic"], str(_topic(name, named))
    if colon and kind in ("source", "entity"):
        return [cast("KeyKind", kind)], name
    topics = [topic for topic in Topic if topic.casefold() == given.casefold()]
    return None, str(topics[0]) if topics else given


def _recount(context: typer.Context, resolution: str, as_json: bool) -> None:
    found = settings(context)
    trends = with_store(context, lambda store: store.recount(resolution, negative_from=found.detect.negative_from))
    if found.database.retention_days and trends.counted:
        # Hours and days outlive their articles, and what was told before the first that is left is not known any more.
        trends = trends.since(min(stats.end for stats in trends.counted) + timedelta(days=1))
    differing = trends.differing
    result = {
        "resolution": resolution,
        "stored": len(trends.stored),
        "recounted": len(trends.counted),
        "differing": len(differing),
    }
    if as_json:
        print_json({**result, "equal": not differing})
    else:
        print_rows("Recount", tuple(result), [tuple(result.values())])
    raise typer.Exit(1 if differing else 0)
