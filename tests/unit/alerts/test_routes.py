"""Routes: down the tree as in Alertmanager, and in each place what is inherited."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.routes import Routes, Target
from monitor.alert_settings import AlertSettings
from monitor.domain.record import utc
from monitor.domain.spikes import Severity

CHANNELS: dict[str, Any] = {name: {} for name in ("desk", "chat", "banks", "risk", "night")}

TREE: dict[str, Any] = {
    "receiver": "desk",
    "routes": [
        {
            "matchers": ["severity=critical"],
            "receiver": "risk",
            "continue": True,
            "routes": [{"matchers": ["kind=all"], "receiver": "night"}],
        },
        {
            "matchers": ['sector=~"Fin.*"', "kind!=source"],
            "receiver": "banks",
            "routes": [{"matchers": ["key=Bank"], "continue": True}, {"matchers": ["severity!=warning"]}],
        },
        {"matchers": ["kind=entity"], "receiver": "chat"},
    ],
}


def settings(route: dict[str, Any], **more: Any) -> AlertSettings:
    return AlertSettings.model_validate({"channels": CHANNELS, "route": route, **more})


def reached(route: dict[str, Any], **labels: str) -> list[str]:
    return [target.path for target in Routes(settings(route)).match(labels)]


def only(route: dict[str, Any], **more: Any) -> Target:
    """The one route below the root."""
    return list(Routes(settings({"routes": [route]}, **more)).targets().values())[1]


CRITICAL = '{}/{severity="critical"}'
FINANCE = '{}/{kind!="source",sector=~"Fin.*"}'


@pytest.mark.parametrize(
    ("labels", "paths"),
    [
        ({"kind": "topic", "severity": "warning"}, ["{}"]),
        ({"kind": "entity", "severity": "warning"}, ['{}/{kind="entity"}']),
        # The first that matches wins.
        ({"kind": "entity", "severity": "warning", "sector": "Finance"}, [FINANCE]),
        ({"kind": "source", "severity": "warning", "sector": "Finance"}, ["{}"]),
        # ... unless it says continue; then the next are tried, and the root hears only if none matches.
        ({"kind": "topic", "severity": "critical"}, [CRITICAL]),
        ({"kind": "entity", "severity": "critical"}, [CRITICAL, '{}/{kind="entity"}']),
        # The deepest that matches is reached, not those above it.
        ({"kind": "all", "severity": "critical"}, [CRITICAL + '/{kind="all"}']),
        ({"kind": "topic", "severity": "severe", "sector": "Fin"}, [FINANCE + '/{severity!="warning"}']),
        (
            {"kind": "entity", "severity": "critical", "sector": "Fin", "key": "Bank"},
            [CRITICAL, FINANCE + '/{key="Bank"}', FINANCE + '/{severity!="warning"}'],
        ),
        ({"kind": "entity", "severity": "warning", "sector": "Fin", "key": "Bank"}, [FINANCE + '/{key="Bank"}']),
        # A label that is missing is empty: it is not "warning", and it is no finance.
        ({}, ["{}"]),
    ],
)
def test_where_an_alert_ends(labels: dict[str, str], paths: list[str]) -> None:
    assert reached(TREE, **labels) == paths


def test_a_route_without_matchers_takes_everything() -> None:
    assert reached({"routes": [{}, {"matchers": ["kind=all"]}]}, kind="all") == ["{}/{}"]


def test_paths_are_unique_and_do_not_depend_on_the_order_of_matchers() -> None:
    twice = {"matchers": ["a=x", "b=y"], "continue": True}
    turned = {"matchers": ["b=y", "a=x"], "routes": [{"matchers": ["c=z"]}]}
    paths = list(Routes(settings({"routes": [twice, turned, {}, {}, {}]})).targets())
    step = '{}/{a="x",b="y"}'
    assert paths == ["{}", step, f"{step}/1", f'{step}/1/{{c="z"}}', "{}/{}", "{}/{}/1", "{}/{}/2"]
    assert reached({"routes": [twice, turned]}, a="x", b="y") == [step, f"{step}/1"]


def test_a_route_has_from_its_parent_what_it_does_not_set() -> None:
    tree = {
        "group_wait_s": 1,
        "mute_time_intervals": ["nights"],
        "pass_severity": "severe",
        "routes": [
            {
                "receiver": "banks",
                "group_by": ["key"],
                "group_interval_s": 0,
                "active_time_intervals": ["nights"],
                "routes": [{"group_by": [], "repeat_interval_s": 7}],
            }
        ],
    }
    routes = Routes(settings(tree, group_by=["kind"], group_interval_s=2, time_intervals={"nights": [{}]})).targets()
    root, upper, lower = routes.values()
    assert (root.receiver, root.group_by, upper.group_by, lower.group_by) == ("default", ("kind",), ("key",), ())
    assert (root.group_wait_s, root.group_interval_s, root.repeat_interval_s) == (1, 2, 14_400)
    assert (upper.receiver, upper.group_wait_s, upper.group_interval_s, upper.repeat_interval_s) == (
        "banks", 1, 0, 14_400,
    )  # fmt: skip
    assert (lower.receiver, lower.group_wait_s, lower.group_interval_s, lower.repeat_interval_s) == ("banks", 1, 0, 7)
    # Time intervals are a route's own, as in Alertmanager.
    assert [interval.name for interval in root.mute] == ["nights"]
    assert (upper.mute, upper.pass_severity, lower.active) == ((), None, ())


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        ([], {}),
        (["sector", "key"], {"key": "Bank", "sector": "Fin"}),
        (["key", "desk"], {"key": "Bank"}),
        (["..."], {"key": "Bank", "kind": "entity", "sector": "Fin"}),
    ],
)
def test_what_a_group_shares(group_by: list[str], expected: dict[str, str]) -> None:
    labels = {"sector": "Fin", "kind": "entity", "key": "Bank"}
    found = only({"group_by": group_by}).group_labels(labels)
    assert found == expected
    assert list(found) == sorted(found)


NIGHTS = {
    "nights": [
        {"times": [{"start_time": "22:00", "end_time": "24:00"}]},
        {"times": [{"start_time": "00:00", "end_time": "06:00"}]},
    ],
    "office": [{"weekdays": ["monday:friday"], "times": [{"start_time": "08:00", "end_time": "18:00"}]}],
    "saturdays": [{"weekdays": ["saturday"]}],
}  # fmt: skip
MONDAY_NOON, MONDAY_NIGHT, SATURDAY_NOON = utc(2026, 1, 5, 12), utc(2026, 1, 5, 23), utc(2026, 1, 3, 12)


def test_when_nothing_is_told() -> None:
    quiet = only({"mute_time_intervals": ["nights"], "pass_severity": "severe"}, time_intervals=NIGHTS)
    assert quiet.muted(MONDAY_NIGHT, Severity.WARNING) == "nights"
    assert quiet.muted(utc(2026, 1, 6, 1), Severity.WARNING) == "nights"
    assert quiet.muted(MONDAY_NOON, Severity.WARNING) is None
    assert quiet.muted(MONDAY_NIGHT, Severity.SEVERE) is None
    assert quiet.muted(MONDAY_NIGHT, Severity.CRITICAL) is None

    open_hours = only({"active_time_intervals": ["office", "saturdays"]}, time_intervals=NIGHTS)
    assert open_hours.muted(MONDAY_NOON, Severity.WARNING) is None
    assert open_hours.muted(SATURDAY_NOON, Severity.WARNING) is None
    assert open_hours.muted(MONDAY_NIGHT, Severity.CRITICAL) == "outside of office, saturdays"

    both = only({"active_time_intervals": ["office"], "mute_time_intervals": ["saturdays"]}, time_intervals=NIGHTS)
    assert both.muted(SATURDAY_NOON, Severity.WARNING) == "saturdays"
    assert only({}).muted(MONDAY_NIGHT, Severity.WARNING) is None


def test_why_an_alert_goes_where_it_goes() -> None:
    tried = Routes(settings(TREE)).describe({"kind": "entity", "severity": "critical", "sector": "Energy"})
    assert [(step.path, step.depth, str(step.failed), step.target) for step in tried] == [
        ("{}", 0, "None", False),
        (CRITICAL, 1, "None", True),
        (CRITICAL + '/{kind="all"}', 2, 'kind="all"', False),
        (FINANCE, 1, 'sector=~"Fin.*"', False),
        ('{}/{kind="entity"}', 1, "None", True),
    ]
    assert [step.receiver for step in tried] == ["desk", "risk", "night", "banks", "chat"]


_matchers = st.lists(st.sampled_from(["a=x", "a!=x", "b=x", "b=~x|y", 'c=""']), max_size=2)
_trees = st.recursive(
    st.fixed_dictionaries({"matchers": _matchers, "continue": st.booleans()}),
    lambda below: st.fixed_dictionaries(
        {"matchers": _matchers, "continue": st.booleans(), "routes": st.lists(below, max_size=3)}
    ),
    max_leaves=8,
)
_labels = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"))


@given(st.lists(_trees, max_size=3), _labels)
def test_every_alert_ends_somewhere_each_place_once(below: list[dict[str, Any]], labels: dict[str, str]) -> None:
    routes = Routes(settings({"routes": below}))
    found = [target.path for target in routes.match(labels)]
    assert 0 < len(found) == len(set(found))
    assert set(found) <= set(routes.targets())
    # No place above or below another: who hears in the branch does not hear in the trunk.
    assert not any(one != other and other.startswith(f"{one}/{{") for one in found for other in found)
    tried = {step.path: step for step in routes.describe(labels)}
    assert all(tried[path].failed is None for path in found)
