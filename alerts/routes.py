"""Which receivers hear of an alert, in which group, and when: the tree of routes.

Source: the dispatcher of Prometheus Alertmanager.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

from monitor.alert_settings import ALL_LABELS, AlertSettings, RootRoute, Route
from monitor.domain.matchers import Matcher
from monitor.domain.spikes import Severity
from monitor.domain.time_intervals import TimeInterval

T = TypeVar("T")


class NamedInterval(NamedTuple):
    """A time interval of the configuration: it holds a moment where one of its parts does."""

    name: str
    parts: tuple[TimeInterval, ...]

    def contains(self, moment: datetime) -> bool:
        return any(part.contains(moment) for part in self.parts)


@dataclass(frozen=True)
class Target:
    """A node of the tree, with all that it inherits: what an alert reaches.

    `path` names it, as Alertmanager does: `{}` the root, `{}/{severity="critical"}` a route below; of siblings with
    the same matchers the second ends with `/1`, and so on.
    """

    receiver: str
    path: str
    group_by: tuple[str, ...]
    group_wait_s: float
    group_interval_s: float
    repeat_interval_s: float
    mute: tuple[NamedInterval, ...] = ()
    active: tuple[NamedInterval, ...] = ()
    pass_severity: Severity | None = None

    def group_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The labels that this alert shares with its group, by name; one that it has not is left out."""
        names = labels if ALL_LABELS in self.group_by else self.group_by
        return {name: labels[name] for name in sorted(names) if name in labels}

    def muted(self, at: datetime, severity: Severity) -> str | None:
        """The time interval for which nothing is told now, or "outside of" the active ones; None: it may be told."""
        if self.pass_severity is not None and severity.rank >= self.pass_severity.rank:
            return None
        for interval in self.mute:
            if interval.contains(at):
                return interval.name
        if self.active and not any(interval.contains(at) for interval in self.active):
            return f"outside of {', '.join(interval.name for interval in self.active)}"
        return None


class Tried(NamedTuple):
    """A route that was tried with some labels. `failed`: the first matcher that did not match; None: all did.

    `target`: the alert ended here. `depth`: of the root, 0.
    """

    path: str
    receiver: str
    depth: int
    failed: Matcher | None
    target: bool


class _Node(NamedTuple):
    target: Target
    matchers: tuple[Matcher, ...]
    goes_on: bool
    below: "tuple[_Node, ...]"


class Routes:
    """The tree: an alert goes down it, depth first, and stays at the deepest routes that match.

    Of siblings the first that matches ends the search, unless it says `continue`. Where none of the routes below
    matches, the node itself is the target.
    """

    def __init__(self, settings: AlertSettings) -> None:
        self._intervals = {name: NamedInterval(name, parts) for name, parts in settings.time_intervals.items()}
        above = Target(
            receiver=settings.root_receiver,
            path="",
            group_by=settings.group_by,
            group_wait_s=settings.group_wait_s,
            group_interval_s=settings.group_interval_s,
            repeat_interval_s=settings.repeat_interval_s,
        )
        self._root = self._node(settings.route, above, "{}")
        self._targets = {node.target.path: node.target for node in _all(self._root)}

    def match(self, labels: Mapping[str, str]) -> list[Target]:
        """What an alert with these labels reaches; never empty."""
        found = {tried.path for tried in self.describe(labels) if tried.target}
        return [target for path, target in self._targets.items() if path in found]

    def targets(self) -> dict[str, Target]:
        """Every node by its path, the root first."""
        return dict(self._targets)

    def describe(self, labels: Mapping[str, str]) -> list[Tried]:
        """Every route that is tried with these labels, in the order in which they are."""
        return _try(self._root, labels, 0)

    def _node(self, route: RootRoute, above: Target, path: str) -> _Node:
        own = Target(
            receiver=route.receiver or above.receiver,
            path=path,
            group_by=_or(route.group_by, above.group_by),
            group_wait_s=_or(route.group_wait_s, above.group_wait_s),
            group_interval_s=_or(route.group_interval_s, above.group_interval_s),
            repeat_interval_s=_or(route.repeat_interval_s, above.repeat_interval_s),
            mute=tuple(self._intervals[name] for name in route.mute_time_intervals),
            active=tuple(self._intervals[name] for name in route.active_time_intervals),
            pass_severity=route.pass_severity,
        )
        seen: Counter[str] = Counter()
        below = []
        for child in route.routes:
            step = f"{path}/{{{','.join(str(matcher) for matcher in sorted(child.matchers))}}}"
            below.append(self._node(child, own, f"{step}/{seen[step]}" if seen[step] else step))
            seen[step] += 1
        if isinstance(route, Route):
            return _Node(own, route.matchers, route.continue_, tuple(below))
        return _Node(own, (), False, tuple(below))


def _or(own: T | None, inherited: T) -> T:
    return inherited if own is None else own


def _all(node: _Node) -> Iterator[_Node]:
    yield node
    for child in node.below:
        yield from _all(child)


def _try(node: _Node, labels: Mapping[str, str], depth: int) -> list[Tried]:
    failed = next((matcher for matcher in node.matchers if not matcher.matches(labels)), None)
    below: list[Tried] = []
    taken = False
    for child in node.below if failed is None else ():
        tried = _try(child, labels, depth + 1)
        below += tried
        if tried[0].failed is None:
            taken = True
            if not child.goes_on:
                break
    own = Tried(node.target.path, node.target.receiver, depth, failed, target=failed is None and not taken)
    return [own, *below]
