"""Who a receiver is, whom it reaches, and which of its groups are still led to."""

from alerts.evaluate import Address, Policy
from monitor.domain.alerts import Event
from monitor.domain.spikes import Severity, severity_of
from monitor.storage.groups import SPENT, Group
from tests.chain import make_settings
from tests.factories import make_alert


def test_severity_grows_with_rarity() -> None:
    once_in_weeks = (1, 2, 25, 26, 103, 104, 9999)
    assert [str(severity_of(1 / weeks)) for weeks in once_in_weeks] == [
        "warning", "warning", "warning", "severe", "severe", "critical", "critical",
    ]  # fmt: skip


def test_a_receiver_reaches_every_recipient_of_its_channels() -> None:
    given = make_settings(("mail", "chat"), receivers={"team": {"channels": ["chat", "mail"]}})
    policy = Policy(given, {"mail": ("a@example.com", "b@example.com"), "chat": ("chat",)})
    team = [Address("chat", "chat"), Address("mail", "a@example.com"), Address("mail", "b@example.com")]
    assert policy.addresses("team") == team
    assert set(policy.addresses("default")) == set(team)
    assert policy.addresses("mail") == team[1:]
    assert policy.addresses("nobody") == []


def test_an_alert_is_labelled_by_the_settings_of_now() -> None:
    given = make_settings(labels=[{"matchers": ['key="Financials"'], "set": {"desk": "banks"}}])
    alert = make_alert(labels={})
    labels = {"kind": "topic", "key": "Financials", "severity": str(Severity.SEVERE), "desk": "banks"}
    assert Policy(given, {}).label(alert) == alert.model_copy(update={"labels": labels})


def test_a_group_of_a_route_that_leads_elsewhere_now_has_none() -> None:
    policy = Policy(make_settings(route={"routes": [{"matchers": ['kind="all"'], "receiver": "desk"}]}), {})
    group = Group("1", "all", "default", "{}", {})
    assert policy.target(group) is policy.targets["{}"]
    assert policy.target(group._replace(receiver="desk")) is None
    assert policy.target(group._replace(route='{}/{kind="topic"}')) is None


def test_ends_and_digests_cost_nothing_of_a_budget() -> None:
    assert set(Event) - set(SPENT) == {Event.RESOLVED, Event.DIGEST, Event.TEST}
