"""What has no effect is named, and only that."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.doubts import doubts
from alerts.routes import Routes
from monitor.alert_settings import AlertSettings, RootRoute

CHANNELS: dict[str, Any] = {"desk": {}, "chat": {}}


def named(routes: list[dict[str, Any]], **more: Any) -> list[str]:
    """The keys of what has no effect, without what they all begin with."""
    settings = AlertSettings.model_validate({"channels": CHANNELS, "route": {"routes": routes}, **more})
    return [one.key.removeprefix("alerts.") for one in doubts(settings)]


CRITICAL, BANK = "severity=critical", 'key="Bank"'


@pytest.mark.parametrize(
    ("routes", "found"),
    [
        ([{"matchers": [CRITICAL]}, {"matchers": [BANK]}], []),
        # One that matches everything takes everything; so does a second of the same.
        ([{}, {"matchers": [BANK]}], ["1"]),
        ([{"matchers": [BANK]}, {"matchers": ["key=Bank"]}], ["1"]),
        ([{"matchers": [BANK]}, {"matchers": [CRITICAL, BANK]}], ["1"]),
        # Unless it says continue; or asks for more than the one behind it.
        ([{"continue": True}, {"matchers": [BANK]}], []),
        ([{"matchers": [BANK, CRITICAL]}, {"matchers": [BANK]}], []),
        # Only what is certain: of an expression nobody knows here what else it matches.
        ([{"matchers": ["severity=~.*"]}, {"matchers": [BANK]}], []),
        # What leads to a route is met below it.
        ([{"matchers": [BANK], "routes": [{"matchers": [BANK]}, {"matchers": [CRITICAL]}]}], ["0.routes.1"]),
        # What is below a route that no alert reaches is not named again.
        ([{}, {"routes": [{}, {}]}], ["1"]),
        ([{}, {}, {"matchers": [BANK]}], ["1", "2"]),
    ],
)
def test_routes_that_no_alert_reaches(routes: list[dict[str, Any]], found: list[str]) -> None:
    assert named(routes) == [f"route.routes.{key}" for key in found]


def test_the_route_that_takes_all_is_named() -> None:
    settings = AlertSettings.model_validate(
        {
            "channels": CHANNELS,
            "route": {"routes": [{"matchers": [BANK]}, {"matchers": [CRITICAL]}, {"matchers": [BANK]}]},
        }
    )
    [one] = doubts(settings)
    assert "alerts.route.routes.0, before it, takes every alert that this one matches" in one.why


def test_receivers_channels_and_intervals_that_nothing_names() -> None:
    nights = [{"weekdays": ["monday"]}]
    assert named([], receivers={"desk": {"channels": ["desk"]}}) == ["receivers.desk"]
    assert named([{"receiver": "desk"}], receivers={"desk": {"channels": ["desk"]}}) == []
    assert named([], receivers={"late": {"channels": ["desk"], "digest": "daily"}}) == []
    assert named([], receivers={"default": {"channels": ["desk", "chat"]}}) == []
    assert named([], time_intervals={"nights": nights}) == ["time_intervals.nights"]
    for field in ("mute_time_intervals", "active_time_intervals"):
        assert named([{field: ["nights"]}], time_intervals={"nights": nights}) == []


def test_a_channel_that_nothing_is_sent_by() -> None:
    root = {"route": {"receiver": "desk"}}
    assert named([], **root) == ["channels.chat"]
    assert named([], **root, channels={"desk": {}, "chat": None}) == []  # not enabled
    # The receiver is the mistake, and named.
    assert named([], **root, receivers={"ops": {"channels": ["chat"]}}) == ["receivers.ops"]


MATCHERS = st.lists(st.sampled_from(["a=1", "a!=1", 'a=""', "b=1", "b=~1|2", "b!~2"]), max_size=2)
ROUTES: st.SearchStrategy[list[dict[str, Any]]] = st.recursive(
    st.just([]),
    lambda below: st.lists(
        st.fixed_dictionaries({"matchers": MATCHERS, "continue": st.booleans(), "routes": below}), max_size=4
    ),
    max_leaves=12,
)
LABELS = [{"a": a, "b": b} for a, b in product(["", "1", "2"], repeat=2)]


def _keys(route: RootRoute, key: str) -> Iterator[str]:
    yield key
    for index, below in enumerate(route.routes):
        yield from _keys(below, f"{key}.routes.{index}")


@given(ROUTES)
def test_no_alert_is_ever_tried_with_a_route_that_is_named(routes: list[dict[str, Any]]) -> None:
    settings = AlertSettings.model_validate({"channels": CHANNELS, "route": {"routes": routes}})
    tree = Routes(settings)
    keys = dict(zip(tree.targets(), _keys(settings.route, "alerts.route"), strict=True))
    taken = {keys[tried.path] for labels in LABELS for tried in tree.describe(labels) if tried.failed is None}
    for one in doubts(settings):
        assert not any(key == one.key or key.startswith(f"{one.key}.") for key in taken)
