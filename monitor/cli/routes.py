"""Commands about routes: who would hear of what."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import typer
from rich.text import Text
from rich.tree import Tree

from alerts.labels import Labels
from alerts.routes import Routes, Target
from alerts.words import minute
from monitor.alert_settings import RESERVED_LABELS, AlertSettings, Receiver, RootRoute, Route
from monitor.alerting import build_channels
from monitor.cli.context import settings as load_settings
from monitor.cli.output import THE_SAME, AsJson, console, moment, print_facts, print_json, print_rows
from monitor.cli.read import key_given
from monitor.clock import SystemClock
from monitor.domain.labels import Topic
from monitor.domain.spikes import Severity
from monitor.domain.windows import ALL, Key
from monitor.errors import ConfigError, Mistake
from monitor.settings import Settings

app = typer.Typer(help="Routes: who hears of which alerts, and when.", invoke_without_command=True)


class _Line(NamedTuple):
    target: Target
    depth: int
    matchers: tuple[str, ...]
    goes_on: bool


_SHOWN_FIRST = ("receiver", "routes", "matchers", "continue")


@app.callback()
@app.command(help=THE_SAME)
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """The tree of routes, with what each inherits."""
    if context.invoked_subcommand is not None:
        return
    alerts = load_settings(context).alerts
    lines = list(_lines(alerts))
    if as_json:
        print_json(
            [
                {
                    **_document(one.target),
                    "depth": one.depth,
                    "matchers": list(one.matchers),
                    "continue": one.goes_on,
                    "channels": _channels(alerts, one.target.receiver),
                }
                for one in lines
            ]
        )
        return
    print_rows(
        "Routes",
        ("receiver", "channels", "group by", "wait", "interval", "repeat", "intervals", "matches"),
        (
            (
                "  " * one.depth + one.target.receiver,
                ", ".join(_channels(alerts, one.target.receiver)),
                ", ".join(one.target.group_by),
                *_waits(one.target),
                "; ".join(_intervals(one.target)),
                "  " * one.depth + _matches(one),
            )
            for one in lines
        ),
    )


def _lines(alerts: AlertSettings) -> Iterator[_Line]:
    """The nodes, depth first: the order in which they are tried, and in which the tree names its targets."""

    def walk(route: RootRoute, depth: int) -> Iterator[tuple[RootRoute, int]]:
        yield route, depth
        for below in route.routes:
            yield from walk(below, depth + 1)

    for (route, depth), target in zip(walk(alerts.route, 0), Routes(alerts).targets().values(), strict=True):
        if isinstance(route, Route):
            yield _Line(target, depth, tuple(map(str, route.matchers)), route.continue_)
        else:
            yield _Line(target, depth, (), goes_on=False)


def tree(alerts: AlertSettings) -> Tree:
    """The routes as `amtool config routes` shows them; beside its receiver, what each sets itself."""

    def grown(route: RootRoute, receiver: str, tree: Tree) -> Tree:
        for below in route.routes:
            heard_by = below.receiver or receiver
            grown(below, heard_by, tree.add(_branch(below, heard_by)))
        return tree

    root = alerts.route
    above = Tree(Text("Routes", style="italic"))
    grown(root, alerts.root_receiver, above.add(_branch(root, alerts.root_receiver)))
    return above


def _branch(route: RootRoute, receiver: str) -> Text:
    own = route.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    parts = [f"{{{', '.join(own.get('matchers', ()))}}}"]
    if own.get("continue"):
        parts.append("continue: true")
    parts.append(f"receiver: {receiver}")
    for name, value in own.items():
        if name not in _SHOWN_FIRST:
            told = ", ".join(value) or "none" if isinstance(value, list) else str(value).removesuffix(".0")
            parts.append(f"{name}: {told}")
    return Text("  ".join(parts))


def _matches(line: _Line) -> str:
    return f"{', '.join(line.matchers) or 'everything'}{', and goes on' if line.goes_on else ''}"


def _channels(alerts: AlertSettings, receiver: str) -> list[str]:
    found = alerts.receivers_resolved().get(receiver)
    return [] if found is None else list(found.channels)


def _waits(target: Target) -> tuple[str, str, str]:
    return (
        f"{target.group_wait_s:g} s",
        f"{target.group_interval_s:g} s",
        f"{target.repeat_interval_s:g} s",
    )


def _intervals(target: Target) -> list[str]:
    told = [f"not in {interval.name}" for interval in target.mute]
    told += [f"in {interval.name}" for interval in target.active]
    return [*told, f"but from {target.pass_severity}"] if told and target.pass_severity else told


class _Reached(NamedTuple):
    """A target, whom it reaches by channel, and what keeps it quiet at the moment asked for."""

    target: Target
    muted: str | None
    recipients: dict[str, list[str]]


@app.command("test")
def try_routes(
    context: typer.Context,
    key: Annotated[str, typer.Option(help="all, a topic, a source or a name; with its kind in front: entity:NAME.")],
    severity: Annotated[Severity, typer.Option(help="How severe the alert is to be.")] = Severity.WARNING,
    label: Annotated[list[str] | None, typer.Option(help="name=value: a label more, or another value.")] = None,
    at: Annotated[str | None, typer.Option(help="At that time (UTC); default: now.")] = None,
    as_json: AsJson = False,
) -> None:
    """Which receivers would hear of an alert, and in which group."""
    settings = load_settings(context)
    now = SystemClock().now()
    then = moment("--at", at, now) or now
    labels = _labels(settings, key, severity, label or ())
    routes = Routes(settings.alerts)
    heard_by = asyncio.run(recipients(settings))
    reached = [
        _Reached(
            target,
            target.muted(then, severity),
            {name: heard_by[name] for name in _channels(settings.alerts, target.receiver)},
        )
        for target in routes.match(labels)
    ]
    if as_json:
        print_json(
            {
                "labels": labels,
                "at": then,
                "min_severity": settings.alerts.min_severity,
                "reached": [
                    {
                        **_document(one.target),
                        "group": one.target.group_labels(labels),
                        "muted": one.muted,
                        "recipients": one.recipients,
                    }
                    for one in reached
                ],
            }
        )
        return
    console.print(
        f"Labels: {', '.join(f'{name}={value}' for name, value in labels.items())}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    if severity.rank < settings.alerts.min_severity.rank:
        console.print(f"Nobody is told below {settings.alerts.min_severity} (alerts.min_severity).", highlight=False)
    for one in reached:
        _print(one, labels, then)


def _labels(settings: Settings, given: str, severity: Severity, more: Sequence[str]) -> dict[str, str]:
    """Raises: ConfigError."""
    labels = Labels(settings.alerts).of(_key(given), severity)
    for one in more:
        name, sign, value = one.partition("=")
        if not sign or not name.strip():
            raise ConfigError("command line", [Mistake("--label", f"expected name=value, not {one!r}")])
        if name.strip() in RESERVED_LABELS:
            raise ConfigError("command line", [Mistake("--label", f"{name.strip()} follows from --key and --severity")])
        labels[name.strip()] = value.strip().strip('"')
    return labels


def _key(given: str) -> Key:
    """The key meant: it need not have been counted yet. A bare name that is neither all nor a topic is an entity's."""
    kinds, name = key_given(given, "--key")
    if not name:
        raise ConfigError("command line", [Mistake("--key", "expected all, a topic, a source or a name")])
    if kinds:
        return Key(kinds[0], name)
    if name == ALL.name:
        return ALL
    return Key("topic" if name in set(Topic) else "entity", name)


def receiver_given(alerts: AlertSettings, name: str) -> Receiver:
    """The receiver of this name, with its enabled channels. Raises: ConfigError, naming those there are."""
    receivers = alerts.receivers_resolved()
    if name not in receivers:
        known = ", ".join(sorted(receivers)) or "(there is none)"
        raise ConfigError("command line", [Mistake("RECEIVER", f'unknown receiver "{name}"; expected one of: {known}')])
    return receivers[name]


async def recipients(settings: Settings) -> dict[str, list[str]]:
    """Whom each enabled channel reaches."""
    async with build_channels(settings) as channels:
        return {name: list(channel.recipients) for name, channel in channels.items()}


def _print(reached: _Reached, labels: Mapping[str, str], at: datetime) -> None:
    target = reached.target
    to = [f"{channel} to {name}" for channel, names in reached.recipients.items() for name in names]
    group = target.group_labels(labels)
    print_facts(
        f"Receiver {target.receiver}",
        {
            "route": target.path,
            "group": ", ".join(f"{name}={value}" for name, value in group.items()) or "one for all of this route",
            "recipients": "\n".join(to) or "nobody: no channel of it is enabled",
            "waits": "first {}, then every {}, repeated after {}".format(*_waits(target)),
            minute(at): ("no time interval holds it back" if reached.muted is None else f"held back: {reached.muted}"),
        },
    )


def _document(target: Target) -> dict[str, Any]:
    return {
        "receiver": target.receiver,
        "path": target.path,
        "group_by": list(target.group_by),
        "group_wait_s": target.group_wait_s,
        "group_interval_s": target.group_interval_s,
        "repeat_interval_s": target.repeat_interval_s,
        "mute_time_intervals": [interval.name for interval in target.mute],
        "active_time_intervals": [interval.name for interval in target.active],
        "pass_severity": target.pass_severity,
    }
