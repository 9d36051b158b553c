"""The command that tells what kept a key from alerting."""

from datetime import timedelta
from typing import Annotated, Any

import typer

from alerts.words import minute
from monitor import app as application
from monitor.cli.alert_words import (
    delivery_document,
    heard_document,
    name_meant,
    silence_document,
    silenced,
    state,
    verdict,
)
from monitor.cli.context import settings as load_settings
from monitor.cli.context import with_store
from monitor.cli.output import AsJson, console, learning_bar, moment, print_facts, print_json, print_rows, stop
from monitor.cli.power import not_watched
from monitor.cli.read import key_given
from monitor.cli.spike_words import amount, how_often, interval, span
from monitor.clock import SystemClock
from monitor.domain.windows import Key
from monitor.settings import Settings
from monitor.storage.store import Store
from monitor.storage.timeline import keys_named
from monitor.why_not import Answer, Cause, Evidence, Learned
from monitor.why_not import why_not as find_out

_PEAK = 3.0


def why_not(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="all, a topic, a source or a name; with its kind in front: entity:NAME.")],
    at: Annotated[str | None, typer.Option(help="At that time (UTC), or a span back from now; default: now.")] = None,
    as_json: AsJson = False,
) -> None:
    """What kept a key from alerting: too little bad news, a silence, quiet hours, a budget ..."""
    settings = load_settings(context)
    now = SystemClock().now()
    then = moment("--at", at, now) or now
    if then > now:
        stop("--at is in the future")
    kinds, name = key_given(key)

    async def ask(store: Store) -> list[Answer]:
        meant = await name_meant(store, kinds, name or "")
        found = [Key(kind, meant) for kind in kinds] if kinds else await keys_named(store, meant)
        if not found:
            stop(not_watched(key, found, settings))
        # A source may have the name of a company: what nobody watches is told only where nothing else is meant.
        asked = [one for one in found if one.kind in settings.detect.keys] or found[:1]
        with learning_bar((await store.articles.totals())["articles"]) as progress:
            return [
                await find_out(
                    store,
                    one,
                    then,
                    as_it_stands=at is None,
                    settings=settings.detect,
                    alerts=settings.alerts,
                    untaught=lambda: application.build_watch(settings),
                    progress=progress,
                )
                for one in asked
            ]

    answers = with_store(context, ask)
    if as_json:
        print_json([_document(answer, settings) for answer in answers])
        return
    for answer in answers:
        _print(answer, settings)


def told(answer: Answer, settings: Settings) -> str:
    """The answer in one sentence."""
    key, evidence, learned = answer.key, answer.evidence, answer.learned
    match answer.cause:
        case Cause.NOT_WATCHED:
            kinds = ", ".join(sorted(settings.detect.keys))
            return f"{key} is not watched for spikes; the kinds of key that are: {kinds} (detect.keys)."
        case Cause.ALERT:
            return _told_of_alert(answer)
        case Cause.NOT_TAKEN_UP:
            spike = (
                "" if answer.spike is None else f" {answer.spike.id[:8]} was stated {minute(answer.spike.detected_at)}"
            )
            return f"{key}: the spike{spike}, and no alert has come of it yet; is the alerts stage running?"
    if evidence is None:
        return f"{key}: nothing is known."
    within = f"in the {span(evidence.span)} before"
    if learned is None:
        if not evidence.stories:
            return f"{key}: no story came in {within[3:]}."
        return f"{key}: none of the {evidence.stories} stories {within} is bad news."
    if answer.cause is Cause.WARMING_UP:
        return f"{key}: the detector is warming up; it states nothing before it knows what is usual."
    if learned.score is None:
        return f"{key}: {_count(evidence)} {within}, too few close together; it takes {_needs(learned)}."
    value, bar = f"{learned.score.value:.1f}", f"{learned.bar.score:.1f}"
    match answer.cause:
        case Cause.JUST_FIRED:
            return f"{key} has fired within two hours: nothing is stated so soon after, whatever the score ({value})."
        case Cause.BELOW_THRESHOLD:
            return (
                f"{key}: the score is {value}, below the {bar} from which it fires{_which(learned)}{_missing(learned)}."
            )
        case Cause.TOO_FEW_SOURCES:
            fewest = f"{learned.sources} sources; detect.min_sources asks for {settings.detect.min_sources}"
            return f"{key}: the score is {value}, but its bad news comes from {fewest}."
        case Cause.TOO_OLD:
            hours = f"{settings.detect.alert_horizon_s / 3600:g} h"
            return (
                f"{key}: the score is {value}, but all {evidence.negative} negative stories came in over {hours} after"
                " they were published: they are no news (detect.alert_horizon_s)."
            )
    return (
        f"{key}: the score {value} is enough now, and was not when its last negative story came in;"
        " a key is judged when it draws one."
    )


def _told_of_alert(answer: Answer) -> str:
    row = answer.alert
    if row is None:
        return f"{answer.key}: nothing is known."
    quiet_at = row.alert.resolved_at
    start = f"{answer.key} fires since {minute(row.alert.opened_at)} (alert {row.alert.id[:8]})"
    if quiet_at is not None and quiet_at <= answer.at:
        start = f"{answer.key} has been quiet since {minute(quiet_at)}, and its alert {row.alert.id[:8]} is not over"
    if answer.silence is not None:
        start = f"{start}; {silenced(answer.silence)}"
    if not answer.heard:
        return f"{start}; it waits to be matched against the routes."
    return f"{start}; {'; '.join(f'{one.group.receiver}: {verdict(one)}' for one in answer.heard)}."


def _count(evidence: Evidence) -> str:
    return f"{evidence.negative} negative stor{'y' if evidence.negative == 1 else 'ies'} of {evidence.stories}"


def _needs(learned: Learned) -> str:
    """How many negative stories would fire, each number with the longest horizon that it does for."""
    longest = {power.needed: power.horizon_s for power in learned.powers if power.needed is not None}
    told = [f"{needed} within {span(timedelta(seconds=horizon_s))}" for needed, horizon_s in longest.items()]
    return " or ".join(told) or "more than anybody publishes"


def _which(learned: Learned) -> str:
    bar = learned.bar
    if bar.score == bar.of_all:
        return ""
    return ": it has fired lately" if bar.score == bar.again else ": by itself it comes too near to that too often"


def _missing(learned: Learned) -> str:
    """How many stories it would have taken over the horizon that says most."""
    score = learned.score
    if score is None:
        return ""
    needed = next((power.needed for power in learned.powers if power.horizon_s == score.horizon_s), None)
    if needed is None:
        return ""
    within = span(timedelta(seconds=score.horizon_s))
    return f"; {needed} negative stories within {within} would do if nothing else came, there are {score.negative}"


def _print(answer: Answer, settings: Settings) -> None:
    console.print(told(answer, settings), markup=False, highlight=False, soft_wrap=True)
    if answer.behind:
        console.print(
            "Articles of that time are stored and not looked at yet: is the detect stage running? (`monitor status`)",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    if answer.cause is not Cause.ALERT:
        facts = _facts(answer)
        print_facts(f"{answer.key}, {minute(answer.at)}", facts)
        return
    print_rows(
        "Receivers",
        ("receiver", "since (UTC)", "route", "what it was told"),
        ((one.group.receiver, one.since, one.group.route, verdict(one)) for one in answer.heard),
    )


def _facts(answer: Answer) -> dict[str, object]:
    facts: dict[str, object] = {}
    if (evidence := answer.evidence) is not None:
        facts[f"stories within {span(evidence.span)}"] = evidence.stories
        facts["of them negative"] = evidence.negative
        if evidence.timely != evidence.negative:
            facts["of them in time"] = evidence.timely
    if (learned := answer.learned) is not None:
        if (score := learned.score) is not None:
            often = f", reached by itself about {how_often(score.per_week)}" if score.value > _PEAK else ""
            facts["score"] = f"{score.value:.2f}{often}"
            facts[f"within {span(timedelta(seconds=score.horizon_s))}"] = (
                f"{score.negative} negative of {score.stories}, {amount(score.expected)} expected{interval(score)}"
            )
            facts["sources"] = learned.sources
        facts["fires from"] = f"{learned.bar.score:.2f}"
        facts["if nothing else came"] = _needs(learned)
        facts["as learned up to"] = None if learned.upto is None else minute(learned.upto)
    if (row := answer.alert) is not None:
        facts["last alert"] = f"{row.alert.id[:8]}, opened {minute(row.alert.opened_at)}, {state(row)}"
    return facts


def _document(answer: Answer, settings: Settings) -> dict[str, Any]:
    learned, evidence = answer.learned, answer.evidence
    heard = [
        {**heard_document(one), "deliveries": [delivery_document(each) for each in one.deliveries]}
        for one in answer.heard
    ]
    return {
        "key": answer.key,
        "at": answer.at,
        "cause": answer.cause,
        "told": told(answer, settings),
        "alert": None if answer.alert is None else answer.alert.alert.id,
        "receivers": heard,
        "silence": silence_document(answer.silence),
        "spike": answer.spike and answer.spike.model_dump(),
        "evidence": evidence and {**evidence._asdict(), "span": evidence.span.total_seconds()},
        "learned": learned
        and {
            "upto": learned.upto,
            "score": learned.score and learned.score._asdict(),
            "bar": {**learned.bar._asdict(), "score": learned.bar.score},
            "horizons": [power._asdict() for power in learned.powers],
            "sources": learned.sources,
        },
        "behind": answer.behind,
    }
