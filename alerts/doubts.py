"""What is right in the settings of alerts, and yet does nothing: routes, receivers, channels and time intervals."""

from collections.abc import Iterator
from typing import NamedTuple

from alerts.routes import Routes
from monitor.alert_settings import AlertSettings, RootRoute, Route
from monitor.domain.matchers import Matcher


class Doubt(NamedTuple):
    """Something that has no effect, which nobody wants who wrote it: its key, and why."""

    key: str
    why: str


def doubts(settings: AlertSettings) -> list[Doubt]:
    """Only what is certain: what might have an effect on some alert is not named."""
    return [
        *_never_reached(settings.route, "alerts.route", frozenset()),
        *_never_heard(settings),
        *_never_asked(settings),
    ]


def _never_reached(route: RootRoute, key: str, met: frozenset[Matcher]) -> Iterator[Doubt]:
    """Routes that no alert is tried with. `met`: what every alert meets that gets to `route`."""
    for index, below in enumerate(route.routes):
        at_least = met | set(below.matchers)
        taker = next((n for n, one in enumerate(route.routes[:index]) if _takes_all(one, at_least)), None)
        if taker is None:
            yield from _never_reached(below, f"{key}.routes.{index}", at_least)
            continue
        yield Doubt(
            f"{key}.routes.{index}",
            f"no alert gets here: {key}.routes.{taker}, before it, takes every alert that this one matches;"
            " give that one continue = true, or put this one first",
        )


def _takes_all(route: Route, met: frozenset[Matcher]) -> bool:
    """Whether each alert that meets all of these ends its way among the siblings here."""
    return not route.continue_ and met.issuperset(route.matchers)


def _never_heard(settings: AlertSettings) -> Iterator[Doubt]:
    told = {target.receiver for target in Routes(settings).targets().values()}
    told |= {name for name, receiver in settings.receivers.items() if receiver.digest != "off"}
    for name in sorted(settings.receivers.keys() - told):
        yield Doubt(f"alerts.receivers.{name}", "no route names it, and it asks for no digest: it hears nothing")
    receivers = settings.receivers_resolved()
    used = {channel for name in told & receivers.keys() for channel in receivers[name].channels}
    # A channel of a receiver that hears nothing is not the mistake: that receiver is, and it is named.
    listed = {channel for receiver in settings.receivers.values() for channel in receiver.channels}
    enabled = {channel for receiver in receivers.values() for channel in receiver.channels}
    for channel in sorted(enabled - used - listed):
        yield Doubt(f"alerts.channels.{channel}", "no route names it, nor does a receiver: nothing is sent by it")


def _never_asked(settings: AlertSettings) -> Iterator[Doubt]:
    targets = Routes(settings).targets().values()
    named = {interval.name for target in targets for interval in (*target.mute, *target.active)}
    for name in sorted(settings.time_intervals.keys() - named):
        yield Doubt(
            f"alerts.time_intervals.{name}",
            "no route names it (mute_time_intervals, active_time_intervals): it holds nothing back",
        )
