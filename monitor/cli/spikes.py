"""Commands about spikes: which there were, what each rests on, and what the next would take."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, NamedTuple

import typer

from monitor import app as application
from monitor.cli.context import settings as load_settings
from monitor.cli.context import with_store
from monitor.cli.output import (
    AsJson,
    Limit,
    console,
    learning_bar,
    moment,
    print_facts,
    print_json,
    print_rows,
    the_one,
)
from monitor.cli.power import power
from monitor.cli.read import Since, key_given
from monitor.cli.spike_words import UNHEARD, ZERO, amount, interval, sentence, span, sparkline
from monitor.clock import SystemClock
from monitor.domain.spikes import Spike, StoryEvidence
from monitor.domain.windows import RESOLUTIONS_S, WindowStats, bucket_start
from monitor.settings import Settings
from monitor.storage.store import Store
from monitor.storage.timeline import Point, timeline
from pipelines.detect.recompute import Difference, Recount, Replay, recount, replay

app = typer.Typer(help="Bursts of negative stories, the newest first.", invoke_without_command=True)
app.command()(power)

_MANY = 100_000
_FINE_UP_TO_S = 7200


@app.callback()
def spikes(
    context: typer.Context,
    limit: Limit = 20,
    since: Since = None,
    key: Annotated[str | None, typer.Option(help="Only on this: all, a topic, a source or a name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bursts of negative stories, the newest first."""
    if context.invoked_subcommand is not None:
        return
    start = moment("--since", since, SystemClock().now())
    kinds, name = key_given(key, "--key")

    async def ask(store: Store) -> list[Spike]:
        return await store.spikes.latest(limit=limit, since=start, key=name, kinds=kinds)

    found = with_store(context, ask)
    if as_json:
        print_json([spike.model_dump() for spike in found])
        return
    print_rows(
        "Spikes",
        ("id", "detected (UTC)", "key", "severity", "stories", "score", "first story"),
        (
            (
                spike.id[:8],
                spike.detected_at,
                str(spike.key),
                str(spike.severity),
                f"{spike.observed}/{spike.total}",
                f"{spike.score:.1f}",
                spike.stories[0].title if spike.stories else None,
            )
            for spike in found
        ),
    )


class _Shown(NamedTuple):
    spike: Spike
    resolution: str
    trend: list[Point]
    recount: Recount
    replay: Replay | None


@app.command()
def show(
    context: typer.Context,
    spike_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the start of it.")],
    with_replay: Annotated[
        bool,
        typer.Option(
            "--replay", help="Let a new detector learn from all stored articles up to then, and compare its score."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What a spike rests on, and whether the tables still give the same."""
    settings = load_settings(context)

    async def ask(store: Store) -> _Shown:
        found = await store.spikes.get(spike_id)
        spike = the_one("spike", "monitor spikes", spike_id, found, lambda spike: spike.id)
        resolution, trend = await _trend(store, spike)
        counted = await recount(store, spike, negative_from=settings.detect.negative_from)
        again = await _replayed(store, settings, spike, counted.counted.upto) if with_replay else None
        return _Shown(spike, resolution, trend, counted, again)

    shown = with_store(context, ask)
    if as_json:
        print_json(_document(shown))
    else:
        _print(shown)


async def _trend(store: Store, spike: Spike) -> tuple[str, list[Point]]:
    """The buckets of the window, as many before, and half as many after as far as anything is known; the oldest first.

    Where nothing was polled, as in an archive, a bucket without an article is one of which nothing is known.
    """
    length = spike.end - spike.start
    resolution = "5m" if length.total_seconds() <= _FINE_UP_TO_S else "1h"
    width_s = RESOLUTIONS_S[resolution]
    first = bucket_start(spike.start - length, width_s)
    found = await timeline(
        store,
        spike.key,
        resolution=resolution,
        now=SystemClock().now(),
        since=first,
        until=spike.end + length / 2,
        limit=_MANY,
    )
    known = {point.stats.start: point for point in found}
    width = timedelta(seconds=width_s)
    end = max([spike.end, *(point.stats.end for point in found[:1])])
    starts = [first + n * width for n in range(-((first - end) // width))]
    empty = (Point(WindowStats(key=spike.key, start=start, end=start + width), None) for start in starts)
    return resolution, [known.get(point.stats.start, point) for point in empty]


def _is_inside(spike: Spike, point: Point) -> bool:
    return point.stats.end > spike.start and point.stats.start < spike.end


async def _replayed(store: Store, settings: Settings, spike: Spike, upto: int) -> Replay:
    watch = await asyncio.to_thread(application.build_watch, settings)
    with learning_bar(upto) as progress:
        return await replay(store, spike, watch, upto=upto, progress=progress)


def _document(shown: _Shown) -> dict[str, Any]:
    counted, again = shown.recount, shown.replay
    return {
        "told": sentence(shown.spike),
        "spike": shown.spike.model_dump(),
        "trend": {
            "resolution": shown.resolution,
            "buckets": [
                {
                    **point.stats.model_dump(exclude={"key"}),
                    "observed": point.observed,
                    "in_window": _is_inside(shown.spike, point),
                }
                for point in shown.trend
            ],
        },
        "recount": {
            "equal": not counted.differences,
            "counted": {**counted.counted._asdict(), "stories": [one.model_dump() for one in counted.counted.stories]},
            "differences": _listed(counted.differences),
            "why": counted.why,
        },
        "replay": again
        and {
            "equal": not again.differences,
            "articles": again.articles,
            "spike": again.spike and again.spike.model_dump(),
            "differences": _listed(again.differences),
            "why": again.why,
        },
    }


def _listed(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    return [one._asdict() for one in differences]


def _print(shown: _Shown) -> None:
    spike = shown.spike
    console.print(sentence(spike), markup=False, highlight=False, soft_wrap=True)
    print_facts(f"Spike {spike.id}", _facts(spike))
    print_rows(
        f"Stories ({len(spike.stories)} of {spike.observed})",
        ("published (UTC)", "negative", "story"),
        ((story.published_at, story.probability, "\n".join(_lines(story))) for story in spike.stories),
    )
    _print_trend(shown)
    _print_outcome("The evidence, counted again from the tables", shown.recount.differences, shown.recount.why)
    if shown.replay is not None:
        title = f"The score, learned again from {shown.replay.articles} stored articles"
        _print_outcome(title, shown.replay.differences, shown.replay.why)
    else:
        console.print("--replay learns again from all stored articles, and compares the score too.", highlight=False)


def _lines(story: StoryEvidence) -> list[str]:
    """A story as one cell: the column that is as wide as the screen lets it."""
    articles = f"{story.articles} article{'' if story.articles == 1 else 's'}"
    by = story.source if story.sources == 1 else f"{story.source} and {story.sources - 1} more"
    return [line for line in (story.title, f"{story.topic}; {articles} by {by}", story.url) if line]


def _facts(spike: Spike) -> dict[str, object]:
    return {
        "key": str(spike.key),
        "severity": str(spike.severity),
        "state": spike.state,
        "window (UTC)": f"{spike.start:%Y-%m-%d %H:%M} to {spike.end:%Y-%m-%d %H:%M}",
        "detected (UTC)": f"{spike.detected_at:%Y-%m-%d %H:%M:%S}",
        "horizon": span(spike.end - spike.start),
        "negative stories observed": spike.observed,
        "stories in all": spike.total,
        "expected": f"{amount(spike.expected)}{interval(spike)}",
        "score": f"{spike.score:.2f} standard deviations",
        "fires from": None if spike.threshold is None else f"{spike.threshold:.2f}",
        "reached by itself": None if spike.per_week is None else f"{spike.per_week:.3g} times a week",
        "sources": spike.sources,
        "detector": spike.detector,
    }


def _print_trend(shown: _Shown) -> None:
    points, spike = shown.trend, shown.spike
    inside = "".join("^" if _is_inside(spike, point) else " " for point in points)
    first, last = points[0].stats.start, points[-1].stats.end
    stories = [point.stats.stories for point in points]
    negative = [point.stats.negative_stories for point in points]
    unheard = [point.observed == 0 and not point.stats.articles for point in points]
    print_facts(
        f"Trend, {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, a sign per {shown.resolution}",
        {
            f"stories, at most {max(stories)}": sparkline(stories, unheard),
            f"negative, at most {max(negative)}": sparkline(negative, unheard),
            "window": inside,
            "signs": f"{ZERO} none, {UNHEARD} not observed; {_observed(points)}",
        },
    )


def _observed(points: Sequence[Point]) -> str:
    known = [point.observed for point in points if point.observed is not None]
    return f"{100 * sum(known) / len(known):.0f} % observed" if known else "what was observed is not known"


def _print_outcome(title: str, differences: Sequence[Difference], why: Sequence[str]) -> None:
    if differences:
        print_differences(f"{title}: not equal", differences, why)
    else:
        console.print(f"{title}: equal.", markup=False, highlight=False)


def print_differences(title: str, differences: Sequence[Difference], why: Sequence[str]) -> None:
    """What was stated, what comes out now, and what the tables tell of why."""
    print_rows(title, ("what", "stated", "now"), ((one.what, *map(_told, one[1:])) for one in differences))
    for reason in why:
        console.print(f"  {reason}", markup=False, highlight=False, soft_wrap=True)


def _told(value: Any) -> object:
    return f"{value:.6g}" if isinstance(value, float) else str(value) if isinstance(value, tuple) else value
