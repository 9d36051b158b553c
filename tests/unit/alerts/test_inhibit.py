"""Inhibition: a greater alert keeps its parts quiet, never itself."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from alerts.inhibit import inhibited
from monitor.alert_settings import AlertSettings, InhibitRule

ALL = ("all", {"kind": "all", "key": "all", "severity": "severe"})
ENERGY = ("energy", {"kind": "topic", "key": "Energy", "severity": "critical", "sector": "Energy"})
STEEL = ("steel", {"kind": "entity", "key": "Delmar Steel", "severity": "warning", "sector": "Materials"})
OIL = ("oil", {"kind": "entity", "key": "Brunt Oil", "severity": "warning", "sector": "Energy"})


def rule(source: str, target: str, *equal: str) -> InhibitRule:
    return InhibitRule.model_validate({"source_matchers": [source], "target_matchers": [target], "equal": equal})


def quieted_by(
    alert: tuple[str, dict[str, str]], firing: list[tuple[str, dict[str, str]]], *rules: InhibitRule
) -> str | None:
    found = inhibited(alert[1], alert[0], firing, rules)
    return None if found is None else found[0]


def test_by_default_bad_news_everywhere_quiets_topics_and_no_companies() -> None:
    shipped = AlertSettings().inhibit
    firing = [ALL, ENERGY, STEEL]
    assert inhibited(ENERGY[1], "energy", firing, shipped) == ("all", shipped[0])
    assert quieted_by(STEEL, firing, *shipped) is None
    assert quieted_by(ALL, firing, *shipped) is None
    assert quieted_by(ENERGY, [ENERGY, STEEL], *shipped) is None


def test_labels_that_must_be_equal() -> None:
    by_sector = rule('kind="topic"', 'kind="entity"', "sector")
    assert quieted_by(OIL, [ENERGY], by_sector) == "energy"
    assert quieted_by(STEEL, [ENERGY], by_sector) is None


def test_a_label_that_both_lack_is_equal_and_so_is_an_empty_one() -> None:
    by_desk = rule('kind="all"', 'kind="topic"', "desk")
    assert quieted_by(ENERGY, [ALL], by_desk) == "all"
    assert quieted_by(("energy", {**ENERGY[1], "desk": ""}), [ALL], by_desk) == "all"
    assert quieted_by(("energy", {**ENERGY[1], "desk": "oil"}), [ALL], by_desk) is None


def test_no_alert_quiets_itself() -> None:
    any_kind = rule('severity="severe"', 'kind=~".+"')
    assert quieted_by(ALL, [ALL], any_kind) is None
    assert quieted_by(STEEL, [ALL, STEEL], any_kind) == "all"


def test_what_is_on_both_sides_is_quieted_only_by_what_is_not() -> None:
    both = rule('severity=~"severe|critical"', 'kind=~"topic|all"')
    assert quieted_by(ENERGY, [ALL, ENERGY], both) is None
    assert quieted_by(ALL, [ALL, ENERGY], both) is None
    company = ("bank", {"kind": "entity", "key": "Bank", "severity": "critical"})
    assert quieted_by(ENERGY, [ALL, ENERGY, company], both) == "bank"


def test_any_rule_will_do() -> None:
    rules = (rule('kind="source"', 'kind="topic"'), rule('kind="all"', 'kind="topic"'))
    assert inhibited(ENERGY[1], "energy", [ALL], rules) == ("all", rules[1])
    assert inhibited(ENERGY[1], "energy", [ALL], ()) is None


_values = st.sampled_from(["", "x", "y"])
_labels = st.fixed_dictionaries({}, optional={"a": _values, "b": _values, "c": _values})
_sides = st.sampled_from(['a="x"', 'a!="x"', 'b="x"', 'b=~"x|y"', 'c=""'])


@given(st.lists(_labels, min_size=1, max_size=6), _sides, _sides, st.lists(st.sampled_from("abc"), max_size=2))
def test_where_something_fires_somebody_is_told(
    alerts: list[dict[str, str]], source: str, target: str, equal: list[str]
) -> None:
    """One rule can never make all alerts quiet at once: what quiets is itself told, or quieted by what is."""
    firing: list[tuple[str, Any]] = [(str(number), labels) for number, labels in enumerate(alerts)]
    one = rule(source, target, *equal)
    quiet = [inhibited(labels, alert_id, firing, [one]) for alert_id, labels in firing]
    assert None in quiet
