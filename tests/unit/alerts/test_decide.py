"""What a look at a group comes to, whatever the group is."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.decide import Candidate, Circumstances, Decision, decide, ends_at, flushed, next_flush
from alerts.routes import Target
from monitor.alert_settings import Receiver
from monitor.domain.alerts import Event, Verdict
from monitor.domain.matchers import parse
from monitor.domain.spikes import Severity
from monitor.storage.groups import Group, Past, Told
from monitor.storage.silences import Silence
from tests.chain import KEYS, make_settings
from tests.factories import NOW, make_alert, make_spike, make_story_evidence

SETTINGS = make_settings(min_severity="severe", inhibit=[])
TARGET = Target("desk", "{}", (), 30, 300, 14_400)
GROUP = Group("1" * 32, "all", "desk", "{}", {}, due_at=NOW)
MINUTE = timedelta(minutes=1)


def _candidate(number: int = 0, **overrides: Any) -> Candidate:
    spike = make_spike(
        id=f"{number:032}",
        key=KEYS[number % len(KEYS)],
        stories=tuple(make_story_evidence(title=f"Story {number} {n}") for n in range(4)),
        **overrides.pop("spike", {}),
    )
    alert = make_alert(spikes=(spike,), **overrides.pop("alert", {}))
    return Candidate(**{"alert": alert, "acked_by": None, "verdict": Verdict.WAITING, "detail": None, "told": None,
                        **overrides})  # fmt: skip


def _given(**overrides: Any) -> Circumstances:
    fields: dict[str, Any] = {
        "now": NOW,
        "settings": SETTINGS,
        "target": TARGET,
        "receiver": Receiver(channels=("desk",)),
        "silences": (),
        "firing": (),
        "past": (),
        "spent": 0,
    }
    return Circumstances(**{**fields, **overrides})


def _told(minutes_ago: float = 0, **overrides: Any) -> Told:
    return Told(NOW - minutes_ago * MINUTE, Severity.SEVERE, 4, False, "f" * 32)._replace(**overrides)


def _verdict(decision: Decision) -> Verdict:
    (one,) = decision.judged
    return one.verdict


_CANDIDATES = st.lists(
    st.builds(
        lambda severity, minutes, told, acked, verdict: (severity, minutes, told, acked, verdict),
        st.sampled_from(list(Severity)),
        st.none() | st.integers(0, 60),
        st.none() | st.tuples(st.integers(0, 500), st.booleans(), st.sampled_from(list(Severity))),
        st.none() | st.just("ann"),
        st.sampled_from(list(Verdict)),
    ),
    max_size=5,
)


@given(
    drawn=_CANDIDATES, spent=st.integers(0, 4), limit=st.integers(0, 4), send_resolved=st.booleans(),
    silenced=st.sampled_from(["", "all", "Financials"]), late_s=st.integers(0, 2000),
)  # fmt: skip
def test_every_alert_gets_one_verdict_and_every_message_its_reason(
    drawn: list[tuple[Any, ...]], spent: int, limit: int, send_resolved: bool, silenced: str, late_s: int
) -> None:
    candidates = [
        _candidate(
            number,
            spike={"severity": severity},
            alert={"resolved_at": None if minutes is None else NOW - minutes * MINUTE},
            told=None if told is None else _told(told[0], resolved=told[1], severity=told[2]),
            acked_by=acked,
            verdict=verdict,
        )
        for number, (severity, minutes, told, acked, verdict) in enumerate(drawn)
    ]
    receiver = Receiver(channels=("desk",), budget_per_day=limit, send_resolved=send_resolved)
    silence = Silence("2" * 32, (parse(f'key="{silenced}"'),), NOW, NOW + MINUTE, "ann", "known", NOW)
    decision = decide(GROUP, candidates, _given(receiver=receiver, silences=[silence], spent=spent))

    by_id = {one.alert.id: one for one in candidates}
    assert sorted(one.alert_id for one in decision.judged) == sorted(by_id)
    about = [alert.id for saying in decision.sayings for alert in saying.about]
    assert len(about) == len(set(about))
    assert len({saying.id for saying in decision.sayings}) == len(decision.sayings) <= 2
    judged = {one.alert_id: one for one in decision.judged}
    for id_ in about:
        latest = judged[id_].told
        assert (judged[id_].verdict, latest is not None and latest.at) == (Verdict.SENT, NOW)
    for saying in decision.sayings:
        assert saying.about
        assert not {alert.id for alert in saying.beside} & set(about)
        over = [ends_at(by_id[alert.id].alert, SETTINGS) for alert in saying.about]
        assert all((at is not None and at <= NOW) == (saying.event is Event.RESOLVED) for at in over)
    for one in decision.judged:
        over_at = ends_at(by_id[one.alert_id].alert, SETTINGS)
        assert one.done == (over_at is not None and over_at <= NOW)
        assert one.verdict is not Verdict.WAITING
    assert limit == 0 or spent < limit or all(saying.event is Event.RESOLVED for saying in decision.sayings)

    now = NOW + timedelta(seconds=late_s)
    after = flushed(GROUP, decision, now, TARGET)
    if all(one.done for one in decision.judged):
        assert (after.due_at, after.flushed_at) == (None, None)
    else:
        assert after.flushed_at is not None
        assert now - timedelta(seconds=300) < after.flushed_at <= now
        assert (after.flushed_at - NOW).total_seconds() % 300 == 0
    if after.due_at is not None:
        assert after.due_at > now
        assert (after.due_at - NOW).total_seconds() % 300 == 0


@given(
    flushed_s=st.none() | st.integers(-10_000, 10_000), changed_s=st.integers(-20_000, 0),
    due_s=st.none() | st.integers(-400, 400), interval_s=st.sampled_from([0, 1, 300]),
)  # fmt: skip
def test_a_group_is_looked_at_on_its_grid_and_no_later_than_it_was_to_be(
    flushed_s: int | None, changed_s: int, due_s: int | None, interval_s: int
) -> None:
    def at(seconds: int | None) -> datetime | None:
        return None if seconds is None else NOW + timedelta(seconds=seconds)

    target = Target("desk", "{}", (), 30, interval_s, 14_400)
    due = next_flush(GROUP._replace(due_at=at(due_s), flushed_at=at(flushed_s)), at(changed_s) or NOW, NOW, target)
    assert due <= NOW + timedelta(seconds=3 * max(interval_s, 1) + 30)
    if due_s is not None:
        assert due <= NOW + timedelta(seconds=due_s)
    elif flushed_s is None:
        assert due == NOW + timedelta(seconds=changed_s + 30)
    elif flushed_s <= 0:
        grid_s = (due - NOW).total_seconds() - flushed_s
        assert grid_s > 0
        assert grid_s % max(interval_s, 1) == 0
        assert changed_s < flushed_s or due >= NOW + timedelta(seconds=changed_s)


@pytest.mark.parametrize("least", list(Severity))
def test_what_is_below_the_least_severity_is_withheld_and_says_why(least: Severity) -> None:
    settings = make_settings(min_severity=least)
    decisions = {
        severity: decide(GROUP, [_candidate(spike={"severity": severity})], _given(settings=settings))
        for severity in Severity
    }
    told = [severity for severity, decision in decisions.items() if decision.sayings]
    assert told == [severity for severity in Severity if severity.rank >= least.rank]
    withheld = [decision.judged[0] for decision in decisions.values() if not decision.sayings]
    assert all("alerts.min_severity" in (one.detail or "") for one in withheld)


@pytest.mark.parametrize(("sent", "told"), [(0, True), (1, True), (2, False), (3, False)])
def test_half_of_the_stories_must_be_new(sent: int, told: bool) -> None:
    candidate = _candidate()
    past = [Past(frozenset({"other"}), frozenset({*list(candidate.alert.stories)[:sent], "another"}))]
    decision = decide(GROUP, [candidate], _given(past=past))
    assert bool(decision.sayings) is told
    assert told or decision.judged[0].detail == f"{sent} of 4 stories were told before"
    own = [Past(frozenset({candidate.alert.id}), frozenset(candidate.alert.stories))]
    assert decide(GROUP, [candidate], _given(past=own)).sayings


def test_a_spike_without_stories_is_always_news() -> None:
    bare = Candidate(make_alert(spikes=(make_spike(stories=()),)), None, Verdict.WAITING, None, None)
    assert decide(GROUP, [bare], _given(past=[Past(frozenset(), frozenset({"other"}))])).sayings
    old = bare._replace(told=_told(10, stories=0))
    assert _verdict(decide(GROUP, [old], _given())) is Verdict.UNCHANGED


@pytest.mark.parametrize(
    ("hours", "verdict", "expected"),
    [
        (5.9, Verdict.WAITING, Verdict.SENT),
        (6.1, Verdict.WAITING, Verdict.STALE),
        (6.1, Verdict.STALE, Verdict.STALE),
        (6.1, Verdict.SILENCED, Verdict.SENT),
        (6.1, Verdict.QUIET_HOURS, Verdict.SENT),
    ],
)
def test_what_was_hours_old_when_its_turn_came_is_no_news(hours: float, verdict: Verdict, expected: Verdict) -> None:
    detected = NOW - timedelta(hours=hours)
    candidate = _candidate(verdict=verdict, spike={"detected_at": detected})
    assert _verdict(decide(GROUP, [candidate], _given())) is expected


def test_the_worst_event_names_the_message_and_the_strongest_comes_first() -> None:
    candidates = [
        _candidate(0, told=_told(500)),
        _candidate(1, told=_told(10, severity=Severity.WARNING), spike={"severity": Severity.CRITICAL}),
        _candidate(2),
        _candidate(3, told=_told(10)),
    ]
    decision = decide(GROUP, candidates, _given())
    (saying,) = decision.sayings
    assert saying.event is Event.FIRING
    assert [alert.key for alert in saying.about] == [KEYS[2], KEYS[1], KEYS[0]]
    assert [alert.key for alert in saying.beside] == [KEYS[3]]
    assert saying.thread is None
    assert {one.told.thread for one in decision.judged if one.told is not None} == {"f" * 32, saying.id}


def test_what_fires_again_after_its_end_was_told_begins_a_thread() -> None:
    (saying,) = decide(GROUP, [_candidate(told=_told(10, resolved=True))], _given()).sayings
    assert (saying.event, saying.thread) == (Event.FIRING, None)


def test_a_look_that_changes_nothing_keeps_what_was_said_of_an_end() -> None:
    over = {"resolved_at": NOW - timedelta(hours=1)}
    untold = _candidate(alert=over, verdict=Verdict.SILENCED, detail="why")
    first = decide(GROUP, [untold], _given()).judged[0]
    assert (first.verdict, first.detail) == (
        Verdict.ENDED_UNTOLD, "it was over before it was told; until then: silenced (why)",
    )  # fmt: skip
    again = untold._replace(verdict=first.verdict, detail=first.detail)
    assert decide(GROUP, [again], _given()).judged == [first]
    told = _candidate(alert=over, verdict=Verdict.SENT, told=_told(10, resolved=True))
    decision = decide(GROUP, [told], _given())
    assert (decision.sayings, decision.judged[0].done, decision.judged[0].verdict) == ([], True, Verdict.UNCHANGED)


def test_time_alone_brings_a_look_at_what_it_may_change() -> None:
    waits = {
        "told": (_candidate(told=_told(10)), {}, NOW - 10 * MINUTE + timedelta(hours=4)),
        "ending": (_candidate(told=_told(1), alert={"resolved_at": NOW - MINUTE}), {}, NOW + 29 * MINUTE),
        "acknowledged": (_candidate(told=_told(500), acked_by="ann"), {}, None),
        "weak": (_candidate(spike={"severity": Severity.WARNING}), {}, None),
        "inhibited": (
            _candidate(1),
            {"firing": [("9" * 32, {"kind": "all"})], "settings": make_settings()},
            NOW,
        ),
        "spent": (_candidate(), {"receiver": Receiver(channels=(), budget_per_day=1), "spent": 1}, NOW),
    }
    for name, (candidate, given_, again_at) in waits.items():
        assert decide(GROUP, [candidate], _given(**given_)).again_at == again_at, name


def test_the_order_of_the_candidates_does_not_matter() -> None:
    candidates = [_candidate(number) for number in range(4)]
    there, back = (decide(GROUP, some, _given()) for some in (candidates, candidates[::-1]))
    assert there.sayings == back.sayings
    assert {one.alert_id: one for one in there.judged} == {one.alert_id: one for one in back.judged}
