"""Commands about alerts: which there are, what each rests on, who was told, and why not."""

import getpass
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer

from alerts.cleaning import clean
from alerts.labels import Labels
from alerts.words import counted, minute
from monitor.cli.alert_words import (
    alert_document,
    delivery_line,
    keys,
    name_meant,
    short_verdict,
    silenced,
    state,
    verdict,
)
from monitor.cli.context import settings as load_settings
from monitor.cli.context import with_store
from monitor.cli.output import (
    THE_SAME,
    AsJson,
    Limit,
    console,
    moment,
    print_facts,
    print_json,
    print_rows,
    stop,
    the_one,
)
from monitor.cli.read import Since, key_given
from monitor.cli.spike_words import amount, interval, sentence, span
from monitor.cli.try_receiver import try_receiver
from monitor.cli.verify import verify
from monitor.cli.why_not import why_not
from monitor.clock import SystemClock
from monitor.domain.spikes import Spike, StoryEvidence
from monitor.errors import ConfigError, Mistake
from monitor.settings import Settings
from monitor.storage.alerts import AlertRow
from monitor.storage.deliveries import Delivery
from monitor.storage.groups import DecisionRow
from monitor.storage.silences import Silence
from monitor.storage.store import Store
from monitor.why_not import Heard, heard_of, silence_of

app = typer.Typer(help="Alerts, the newest first: who was told, and why somebody was not.", invoke_without_command=True)
app.command("why-not")(why_not)
app.command()(verify)
app.command("test")(try_receiver)

MOST_OF_A_NAME, MOST_OF_A_COMMENT = 100, 1000
"""Characters kept of who says something, and of what they say."""

OnKey = Annotated[str | None, typer.Option("--key", help="Only on this: all, a topic, a source or a name.")]
Firing = Annotated[bool, typer.Option("--firing", help="Only those that fire now.")]


class _Listed(NamedTuple):
    row: AlertRow
    heard: list[Heard]
    deliveries: list[Delivery]
    silence: Silence | None


@app.callback()
@app.command("list", help=THE_SAME)
def list_alerts(
    context: typer.Context,
    limit: Limit = 20,
    since: Since = None,
    key: OnKey = None,
    firing: Firing = False,
    as_json: AsJson = False,
) -> None:
    """Alerts, the newest first: who was told, and why somebody was not."""
    if context.invoked_subcommand is not None:
        return
    settings = load_settings(context)
    start = moment("--since", since, SystemClock().now())
    kinds, name = key_given(key, "--key")

    async def ask(store: Store) -> list[_Listed]:
        meant = None if name is None else await name_meant(store, kinds, name)
        rows = await store.alerts.latest(limit=limit, since=start, name=meant, kinds=kinds, firing=firing)
        silences = await store.silences.active(SystemClock().now())
        return [await _listed(store, settings, row, silences) for row in rows]

    found = with_store(context, ask)
    if as_json:
        print_json([alert_document(*one) for one in found])
        return
    print_rows(
        "Alerts",
        ("id", "opened (UTC)", "key", "severity", "state", "stories", "receivers", "first story"),
        (
            (
                row.alert.id[:8],
                row.alert.opened_at,
                keys(row.alert),
                str(row.alert.severity),
                state(row) if silence is None else f"{state(row)}, {silenced(silence)}",
                max(len(row.alert.stories), *(spike.observed for spike in row.alert.spikes)),
                "\n".join(f"{one.group.receiver}: {short_verdict(one)}" for one in heard),
                next((story.title for story in row.alert.stories.values()), None),
            )
            for row, heard, _, silence in found
        ),
    )


async def _listed(store: Store, settings: Settings, row: AlertRow, silences: Sequence[Silence]) -> _Listed:
    labels = Labels(settings.alerts)
    told = {"labels": labels.of(row.alert.key, row.alert.severity)}
    labelled = row._replace(alert=row.alert.model_copy(update=told))
    deliveries = await store.deliveries.of_alert(row.alert.id)
    return _Listed(labelled, await heard_of(store, row), deliveries, silence_of(row, silences, labels))


class _Shown(NamedTuple):
    listed: _Listed
    decisions: list[DecisionRow]


Id = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the start of it.")]


async def find(store: Store, alert_id: str) -> AlertRow:
    """Raises: typer.Exit, unless there is one whose id begins like this."""
    return the_one("alert", "monitor alerts", alert_id, await store.alerts.get(alert_id), lambda row: row.alert.id)


@app.command()
def show(context: typer.Context, alert_id: Id, as_json: AsJson = False) -> None:
    """What an alert rests on, and how it stands with each receiver."""
    settings = load_settings(context)

    async def ask(store: Store) -> _Shown:
        row = await find(store, alert_id)
        decisions = await store.groups.decisions([row.alert.id])
        silences = await store.silences.active(SystemClock().now())
        return _Shown(await _listed(store, settings, row, silences), decisions)

    shown = with_store(context, ask)
    if as_json:
        print_json(_document(shown))
    else:
        _print(shown)


def _document(shown: _Shown) -> dict[str, Any]:
    alert = shown.listed.row.alert
    return {
        "told": sentence(alert.spikes[0]),
        "alert": alert_document(*shown.listed),
        "evidence": [_evidence(spike) for spike in alert.spikes],
        "decisions": [decision._asdict() for decision in shown.decisions],
    }


def _evidence(spike: Spike) -> dict[str, Any]:
    """What has to be known to state the spike again."""
    return {
        "spike": spike.id,
        "key": spike.key,
        "window": {"start": spike.start, "end": spike.end, "horizon_s": spike.horizon_s},
        "detected_at": spike.detected_at,
        "observed": spike.observed,
        "total": spike.total,
        "sources": spike.sources,
        "baseline": {"expected": spike.expected, "low": spike.low, "high": spike.high, "per_week": spike.per_week},
        "score": spike.score,
        "threshold": spike.threshold,
        "detector": spike.detector,
        "stories": [story.story_id for story in spike.stories],
        "articles": [story.article_id for story in spike.stories],
    }


def _print(shown: _Shown) -> None:
    row, heard, deliveries, silence = shown.listed
    alert = row.alert
    console.print(sentence(alert.spikes[0]), markup=False, highlight=False, soft_wrap=True)
    print_facts(
        f"Alert {alert.id}",
        {
            "key": keys(alert),
            "severity": str(alert.severity),
            "state": state(row),
            "opened (UTC)": alert.opened_at,
            "last change (UTC)": row.changed_at,
            "labels": ", ".join(f"{name}={value}" for name, value in alert.labels.items()),
            "silence": None if silence is None else silenced(silence),
            "acknowledged": None if row.acked_at is None else _acknowledged(row),
            "origin": row.origin,
        },
    )
    for spike in alert.spikes:
        print_facts(f"Spike {spike.id}", _spike_facts(spike))
    stories = alert.stories.values()
    print_rows(
        f"Stories ({len(stories)})",
        ("article", "published (UTC)", "negative", "story"),
        ((story.article_id[:8], story.published_at, story.probability, _lines(story)) for story in stories),
    )
    print_rows(
        "Receivers",
        ("receiver", "since (UTC)", "route", "what it was told"),
        ((one.group.receiver, one.since, one.group.route, verdict(one)) for one in heard),
    )
    print_rows(
        "Deliveries",
        ("id", "made (UTC)", "event", "delivery"),
        (
            (one.notification.id[:8], one.notification.created_at, str(one.notification.event), delivery_line(one))
            for one in deliveries
        ),
    )
    console.print(f"`monitor alerts verify {alert.id[:8]}` makes it again from the tables.", highlight=False)


def _acknowledged(row: AlertRow) -> str:
    when = "" if row.acked_at is None else f", {minute(row.acked_at)}"
    return f"by {row.acked_by}{when}{f': {row.ack_comment}' if row.ack_comment else ''}"


def _spike_facts(spike: Spike) -> dict[str, object]:
    return {
        "key": str(spike.key),
        "window (UTC)": f"{spike.start:%Y-%m-%d %H:%M} to {spike.end:%Y-%m-%d %H:%M}, {span(spike.end - spike.start)}",
        "detected (UTC)": f"{spike.detected_at:%Y-%m-%d %H:%M:%S}",
        "observed": f"{spike.observed} negative stories of {spike.total} from {counted('source', spike.sources)}",
        "expected": f"{amount(spike.expected)}{interval(spike)}",
        "score": f"{spike.score:.2f}",
        "threshold": None if spike.threshold is None else f"{spike.threshold:.2f}",
        "severity": str(spike.severity),
        "detector": spike.detector,
    }


def _lines(story: StoryEvidence) -> str:
    by = story.source if story.sources == 1 else f"{story.source} and {story.sources - 1} more"
    return "\n".join(line for line in (story.title, f"{story.topic}; by {by}", story.url) if line)


@app.command()
def ack(
    context: typer.Context,
    alert_id: Id,
    by: Annotated[str | None, typer.Option(help="Who sees to it; default: the user of this machine.")] = None,
    comment: Annotated[str, typer.Option(help="What is being done.")] = "",
    as_json: AsJson = False,
) -> None:
    """Acknowledge an alert: it is not repeated any more until it resolves."""
    who = author(by)
    why = clean(comment, MOST_OF_A_COMMENT)

    async def ask(store: Store) -> AlertRow:
        row = await find(store, alert_id)
        if row.closed_at is None and row.acked_by not in (None, who):
            return row
        if not await store.alerts.acknowledge(row.alert.id, who, why, SystemClock().now()):
            stop(f"alert {row.alert.id[:8]} on {keys(row.alert)} is over: there is nothing left to acknowledge")
        return (await store.alerts.get(row.alert.id))[0]

    row = with_store(context, ask)
    if as_json:
        print_json({"id": row.alert.id, "acked_at": row.acked_at, "acked_by": row.acked_by, "comment": row.ack_comment})
        return
    subject = f"Alert {row.alert.id[:8]} on {keys(row.alert)} is acknowledged"
    told = f"{subject} by {row.acked_by}."
    if row.acked_by != who and row.acked_at is not None:
        told = f"{subject} already by {row.acked_by} on {minute(row.acked_at)}; that stays."
    console.print(told, markup=False, highlight=False, soft_wrap=True)


def author(by: str | None) -> str:
    """Who says so, in one line. Raises: ConfigError; typer.Exit, where the system knows no name."""
    who = clean(by if by is not None else _os_user("--by"), MOST_OF_A_NAME)
    if not who:
        raise ConfigError("command line", [Mistake("--by", "expected a name")])
    return who


def _os_user(option: str) -> str:
    """Raises: typer.Exit, where the system knows no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        stop(f"this machine does not say who you are; give {option} NAME")
