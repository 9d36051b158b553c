"""From spikes to messages: grouped, told once, repeated when due, and withheld with the reason."""

from datetime import timedelta
from typing import Any

import pytest

from alerts.dispatch import Dispatch
from monitor.clock import ManualClock
from monitor.domain.alerts import Event, Verdict
from monitor.domain.record import utc
from monitor.domain.spikes import Severity
from monitor.domain.windows import ALL, Key
from monitor.storage.alerts import LIVE, REPLAYED
from monitor.storage.store import Store
from tests.chain import BANKS, CHIPS, OIL, Chain, Inbox, make_policy, make_settings
from tests.factories import NOW

ALONE: dict[str, Any] = {"inhibit": []}
"""No alert keeps another quiet."""


@pytest.fixture
def chain(store: Store, clock: ManualClock) -> Chain:
    return Chain(store, clock)


@pytest.mark.parametrize("stories", ["new ones", "the same"])
@pytest.mark.parametrize("acknowledged", [False, True])
async def test_a_key_that_flaps_for_hours_is_told_repeated_when_due_and_ended_once(
    chain: Chain, acknowledged: bool, stories: str
) -> None:
    for number in range(60):
        which = number if stories == "new ones" else 0
        spike = await chain.fire(titles=[f"Story {which} {n}" for n in range(4)])
        await chain.wait(seconds=150)
        await chain.end(spike)
        await chain.wait(seconds=150)
        if number == 0 and acknowledged:
            assert await chain.acknowledge()
        if number % 7 == 0:
            chain.restart()
    await chain.wait(hours=12)
    repeats = [] if acknowledged else [Event.REPEATED]
    assert chain.desk.events == [Event.FIRING, *repeats, Event.RESOLVED]
    assert chain.desk.times(NOW)[:-1] == [30, 30 + 14_400][: 1 + len(repeats)]
    first, *others = chain.desk.accepted
    assert first.thread is None
    assert {told.thread for told in others} == {first.id}
    # The last spike ended after 59.5 of the 60 times 5 minutes; it was over half an hour later, and told on the grid.
    assert chain.desk.times(NOW)[-1] == 30 + 300 * 66


async def test_it_is_repeated_when_due_on_the_grid_of_the_group(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock, make_settings(repeat_interval_s=1000, group_interval_s=300, group_wait_s=60))
    await chain.fire()
    await chain.wait(hours=1)
    assert chain.desk.events == [Event.FIRING, Event.REPEATED, Event.REPEATED]
    assert chain.desk.times(NOW) == [60, 1260, 2460]


async def test_what_fires_beside_a_message_is_not_repeated_by_itself_right_after(
    store: Store, clock: ManualClock
) -> None:
    """As Alertmanager does: the interval counts from the last message of the group that named it."""
    chain = Chain(store, clock, make_settings(repeat_interval_s=3000, **ALONE))
    for key in (BANKS, OIL, CHIPS):
        await chain.fire(key)
        await chain.wait(seconds=600)
    await chain.wait(seconds=3000)
    assert chain.desk.about[:3] == [["Financials"], ["Energy | Oil"], ["Chips Ltd"]]
    assert [len(told.alerts) for told in chain.desk.accepted] == [1, 2, 3, 3]
    assert chain.desk.events[3:] == [Event.REPEATED]
    assert len(chain.desk.about[3]) == 3


async def test_several_keys_of_one_burst_are_one_message(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock, make_settings(**ALONE))
    await chain.fire(BANKS)
    await chain.wait(seconds=20)
    await chain.fire(ALL, Severity.CRITICAL)
    await chain.fire(OIL, Severity.WARNING)
    await chain.wait(seconds=9.9)
    assert chain.desk.attempts == 0
    await chain.wait(seconds=0.1)
    assert chain.desk.about == [["all", "Financials", "Energy | Oil"]]
    assert chain.desk.accepted[0].severity is Severity.CRITICAL
    await chain.wait(hours=1)
    assert chain.desk.attempts == 1


async def test_a_new_alert_waits_for_the_interval_and_names_what_fires_beside_it(chain: Chain) -> None:
    await chain.fire(BANKS)
    await chain.wait(seconds=31)
    await chain.fire(OIL)
    await chain.wait(seconds=298)
    assert chain.desk.attempts == 1
    await chain.wait(seconds=1)
    told = chain.desk.accepted[1]
    assert (told.event, told.about, [alert.key for alert in told.alerts]) == (Event.FIRING, 1, [OIL, BANKS])
    assert told.thread is None


async def test_labels_to_group_by_keep_others_apart(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock, make_settings(group_by=["kind"], **ALONE))
    for key in (BANKS, OIL, CHIPS):
        await chain.fire(key)
    await chain.wait(minutes=1)
    assert sorted(map(sorted, chain.desk.about)) == [["Chips Ltd"], ["Energy | Oil", "Financials"]]
    assert [told.group for told in chain.desk.accepted if told.about == 2] == [{"kind": "topic"}]


async def test_what_is_told_elsewhere_in_the_same_stories_is_withheld_until_it_has_its_own(
    store: Store, clock: ManualClock
) -> None:
    chain = Chain(store, clock, make_settings(group_by=["key"], **ALONE))
    titles = ["One", "Two", "Three", "Four"]
    await chain.fire(BANKS, titles=titles)
    await chain.wait(seconds=31)
    await chain.fire(ALL, titles=[*titles[:2], "Other", "Another"])
    await chain.wait(minutes=10)
    assert chain.desk.about == [["Financials"]]
    assert await chain.verdicts(ALL) == [Verdict.WAITING, Verdict.SAME_STORIES]
    assert (await chain.decisions(ALL))[-1].detail == "2 of 4 stories were told before"
    await chain.fire(ALL, titles=["New"])
    await chain.wait(minutes=10)
    assert chain.desk.about[1:] == [["all"]]


async def test_two_groups_that_come_due_at_once_do_not_tell_the_same_stories(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock, make_settings(group_by=["key"], **ALONE))
    for key, severity in ((BANKS, Severity.WARNING), (ALL, Severity.CRITICAL), (OIL, Severity.SEVERE)):
        await chain.fire(key, severity, titles=["One", "Two"])
    await chain.wait(hours=1)
    assert chain.desk.about == [["all"]]


async def test_the_same_stories_are_news_again_once_they_are_forgotten(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock, make_settings(group_by=["key"], repeat_interval_s=10**6, story_memory_h=2, **ALONE))
    await chain.fire(BANKS, titles=["One", "Two"])
    await chain.fire(OIL, titles=["One", "Two"], score=1.0)
    await chain.wait(minutes=119)
    assert chain.desk.about == [["Financials"]]
    await chain.wait(minutes=10)
    assert chain.desk.about == [["Financials"], ["Energy | Oil"]]


@pytest.mark.parametrize("acknowledged", [False, True])
@pytest.mark.parametrize("what", ["severity", "evidence", "little", "same"])
async def test_what_grew_is_told_in_its_thread_acknowledged_or_not(chain: Chain, what: str, acknowledged: bool) -> None:
    titles = ["One", "Two", "Three"]
    await chain.fire(BANKS, titles=titles)
    await chain.wait(minutes=1)
    assert await chain.acknowledge() or not acknowledged
    much = ["Three", "Four", "Five", "Six", "Seven", "Eight"]
    grown = {"severity": titles, "evidence": much, "little": much[1:], "same": titles}
    severity = Severity.CRITICAL if what == "severity" else Severity.SEVERE
    await chain.fire(BANKS, severity, titles=grown[what])
    await chain.wait(minutes=10)
    if what in ("little", "same"):
        assert chain.desk.events == [Event.FIRING]
        return
    assert chain.desk.events == [Event.FIRING, Event.UPDATED]
    first, second = chain.desk.accepted
    assert second.thread == first.id
    assert len(second.alerts[0].spikes) == 2


async def test_acknowledged_it_is_not_repeated_and_its_end_is_told(chain: Chain) -> None:
    spike = await chain.fire()
    await chain.wait(minutes=1)
    assert await chain.acknowledge()
    await chain.wait(hours=9)
    assert chain.desk.events == [Event.FIRING]
    assert (await chain.verdicts())[-1] is Verdict.ACKNOWLEDGED
    assert (await chain.decisions())[-1].detail == "by ann: not repeated"
    await chain.end(spike)
    await chain.wait(hours=1)
    assert chain.desk.events == [Event.FIRING, Event.RESOLVED]
    assert not await chain.acknowledge()  # nobody can see to what is over
    await chain.fire()
    await chain.wait(hours=5)
    assert chain.desk.events[2:] == [Event.FIRING, Event.REPEATED]


async def test_it_is_over_once_it_has_been_quiet_and_begins_anew_in_a_thread_of_its_own(chain: Chain) -> None:
    first = await chain.fire()
    await chain.wait(minutes=10)
    await chain.end(first)
    await chain.wait(minutes=29)
    again = await chain.fire()  # within keep_firing_for_s
    await chain.wait(minutes=10)
    await chain.end(again)
    await chain.wait(minutes=29)
    assert chain.desk.events == [Event.FIRING]
    await chain.wait(hours=20)
    assert chain.desk.events == [Event.FIRING, Event.RESOLVED]
    assert len(chain.desk.accepted[1].alerts[0].spikes) == 2
    await chain.fire()
    await chain.wait(minutes=10)
    *_, ended, new = chain.desk.accepted
    assert (new.event, new.thread) == (Event.FIRING, None)
    assert new.alerts[0].id != ended.alerts[0].id
    assert ended.thread == chain.desk.accepted[0].id


async def test_the_end_of_one_alert_is_told_before_the_next_of_its_key(store: Store, clock: ManualClock) -> None:
    for number in range(4):  # whatever the ids are
        chain = Chain(store, clock, make_settings(group_interval_s=3600, keep_firing_for_s=600))
        spike = await chain.fire()
        await chain.wait(minutes=2)
        await chain.end(spike)
        await chain.wait(minutes=20 + number)
        await chain.fire()
        await chain.wait(hours=1)
        assert chain.desk.events == [Event.FIRING, Event.RESOLVED, Event.FIRING]
        for row in await store.alerts.latest(limit=1):
            await chain.end(*row.alert.spikes)
        await chain.wait(hours=48)


async def test_what_is_over_before_its_turn_is_not_told_and_says_what_kept_it(chain: Chain) -> None:
    silence = await chain.silence('key="Financials"', minutes=600)
    spike = await chain.fire()
    await chain.wait(minutes=10)
    await chain.end(spike)
    await chain.wait(hours=2)
    assert chain.desk.attempts == 0
    assert await chain.verdicts() == [Verdict.WAITING, Verdict.SILENCED, Verdict.ENDED_UNTOLD]
    last = (await chain.decisions())[-1]
    assert f"silenced ({silence[:8]} by ann" in (last.detail or "")
    (row,) = await chain.store.alerts.latest(limit=9)
    assert row.closed_at is not None


async def test_an_inhibited_alert_is_quiet_over_restarts_and_told_once_the_greater_one_is_over(chain: Chain) -> None:
    market = await chain.fire(ALL, Severity.CRITICAL)
    await chain.fire(BANKS)
    for _ in range(6):
        await chain.wait(minutes=10)
        chain.restart()
    assert chain.desk.about == [["all"]]
    assert await chain.verdicts() == [Verdict.WAITING, Verdict.INHIBITED]
    await chain.end(market)
    await chain.wait(minutes=29)
    assert chain.desk.about == [["all"]]
    await chain.wait(minutes=10)
    assert sorted(chain.desk.about) == [["Financials"], ["all"], ["all"]]
    assert sorted(chain.desk.events) == [Event.FIRING, Event.FIRING, Event.RESOLVED]


async def test_what_is_too_weak_to_be_told_keeps_nothing_quiet(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock, make_settings(min_severity="severe"))
    await chain.fire(ALL, Severity.WARNING)
    await chain.fire(BANKS, Severity.SEVERE)
    await chain.wait(minutes=10)
    assert chain.desk.about == [["Financials"]]
    assert await chain.verdicts(ALL) == [Verdict.WAITING, Verdict.BELOW_SEVERITY]


async def test_what_is_told_to_nobody_for_its_stories_are_known_keeps_nothing_quiet(
    store: Store, clock: ManualClock
) -> None:
    chain = Chain(store, clock, make_settings())
    titles = ["One", "Two", "Three"]
    await chain.fire(CHIPS, titles=titles)
    await chain.wait(minutes=2)
    await chain.fire(ALL, Severity.CRITICAL, titles=titles)
    await chain.fire(BANKS)
    await chain.wait(minutes=20)
    assert await chain.verdicts(ALL) == [Verdict.WAITING, Verdict.SAME_STORIES]
    assert chain.desk.about == [["Chips Ltd"], ["Financials"]]


async def test_a_silenced_alert_is_told_once_the_silence_is_over(chain: Chain) -> None:
    await chain.silence('kind="topic"', 'severity=~"severe|warning"', minutes=60)
    spike = await chain.fire(BANKS)
    await chain.fire(OIL, Severity.CRITICAL)
    await chain.wait(minutes=30)
    chain.restart()
    await chain.wait(minutes=29)
    assert chain.desk.about == [["Energy | Oil"]]
    await chain.wait(minutes=6)
    assert chain.desk.about == [["Energy | Oil"], ["Financials"]]
    await chain.silence('key="Financials"', minutes=600)
    await chain.end(spike)
    await chain.wait(hours=1)
    assert chain.desk.events[2:] == [Event.RESOLVED]


async def test_a_silence_can_be_ended_and_repeats_are_held_back_by_it(chain: Chain) -> None:
    await chain.fire()
    await chain.wait(minutes=1)
    silence = await chain.silence('key="Financials"', minutes=6000)
    await chain.wait(hours=9)
    assert chain.desk.events == [Event.FIRING]
    assert await chain.store.silences.expire(silence, chain.clock.now())
    await chain.wait(minutes=6)
    assert chain.desk.events == [Event.FIRING, Event.REPEATED]


NIGHTS = {"nights": [{"times": [{"start_time": "10:00", "end_time": "20:00"}]}]}


async def test_quiet_hours_hold_back_all_but_the_worst_until_they_end(store: Store, clock: ManualClock) -> None:
    route = {"mute_time_intervals": ["nights"], "pass_severity": "critical"}
    chain = Chain(store, clock, make_settings(time_intervals=NIGHTS, route=route, horizon_h=6, **ALONE))
    await chain.fire(BANKS)
    over = await chain.fire(OIL)
    await chain.fire(CHIPS, Severity.CRITICAL)
    await chain.wait(hours=2)
    await chain.end(over)
    await chain.wait(hours=6, minutes=50)
    chain.restart()
    await chain.wait(minutes=9)
    assert {tuple(names) for names in chain.desk.about} == {("Chips Ltd",)}
    await chain.wait(minutes=7)
    assert chain.desk.about[-1] == ["Financials"]
    assert chain.desk.accepted[-1].event is Event.FIRING
    assert chain.desk.accepted[-1].created_at >= utc(2026, 3, 4, 20, 0)
    assert await chain.verdicts(BANKS) == [Verdict.WAITING, Verdict.QUIET_HOURS, Verdict.SENT]
    assert (await chain.decisions(OIL))[-1].detail == "it was over before it was told; until then: quiet_hours (nights)"


async def test_an_end_in_quiet_hours_waits_for_them_to_pass(store: Store, clock: ManualClock) -> None:
    late = {"late": [{"times": [{"start_time": "12:00", "end_time": "14:00"}]}]}
    chain = Chain(store, clock, make_settings(time_intervals=late, route={"mute_time_intervals": ["late"]}))
    spike = await chain.fire()
    await chain.wait(minutes=50)
    await chain.end(spike)
    await chain.wait(hours=2)
    assert chain.desk.events == [Event.FIRING]
    chain.restart()
    await chain.wait(minutes=16)
    assert chain.desk.events == [Event.FIRING, Event.RESOLVED]


async def test_what_waited_through_quiet_hours_is_not_old_news_on_other_routes(
    store: Store, clock: ManualClock
) -> None:
    quiet = make_settings(time_intervals=NIGHTS, route={"mute_time_intervals": ["nights"]}, horizon_h=2)
    chain = Chain(store, clock, quiet)
    await chain.fire()
    await chain.wait(hours=4)
    await chain.reload(make_settings(group_by=["key"], horizon_h=2))
    await chain.wait(minutes=6)
    assert chain.desk.about == [["Financials"]]


async def test_what_is_old_when_its_turn_comes_is_no_news_until_more_comes(chain: Chain) -> None:
    await chain.fire()
    chain.clock.set(chain.clock.now() + timedelta(hours=6, minutes=1))
    await chain.wait(hours=1)
    chain.restart()
    await chain.wait(hours=1)
    assert chain.desk.attempts == 0
    assert await chain.verdicts() == [Verdict.STALE]
    await chain.fire()
    await chain.wait(minutes=6)
    assert chain.desk.events == [Event.FIRING]


async def test_what_is_too_weak_is_told_once_it_is_not(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock, make_settings(min_severity="critical"))
    await chain.fire()
    await chain.wait(hours=1)
    assert chain.desk.attempts == 0
    assert await chain.verdicts() == [Verdict.WAITING, Verdict.BELOW_SEVERITY]
    await chain.fire(severity=Severity.CRITICAL)
    await chain.wait(hours=1)
    assert chain.desk.events == [Event.FIRING]


async def test_a_receiver_that_can_reach_nobody_says_so_and_is_told_once_it_can(
    store: Store, clock: ManualClock
) -> None:
    nobody = make_settings(receivers={"team": {"channels": []}}, route={"receiver": "team"})
    chain = Chain(store, clock, nobody)
    await chain.fire()
    await chain.wait(hours=1)
    assert await chain.verdicts() == [Verdict.WAITING, Verdict.NO_RECEIVER]
    assert "no channel of the receiver team is enabled" in ((await chain.decisions())[-1].detail or "")
    await chain.reload(make_settings(receivers={"team": {"channels": ["desk"]}}, route={"receiver": "team"}))
    await chain.wait(minutes=6)
    assert chain.desk.events == [Event.FIRING]


async def test_a_receiver_that_wants_no_ends_hears_none(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock, make_settings(receivers={"desk": {"channels": ["desk"], "send_resolved": False}},
                                              route={"receiver": "desk"}))  # fmt: skip
    for _ in range(2):
        spike = await chain.fire()
        await chain.wait(minutes=1)
        await chain.end(spike)
        await chain.wait(hours=3)
    assert chain.desk.events == [Event.FIRING, Event.FIRING]
    assert len(set(map(str, chain.desk.accepted))) == 2
    assert all(row.closed_at is not None for row in await store.alerts.latest(limit=9))


TEAMS = {
    "receivers": {"all": {"channels": ["desk"]}, "banks": {"channels": ["chat", "mail"]}},
    "route": {
        "receiver": "all",
        "routes": [
            {"matchers": ['key="Financials"'], "receiver": "banks", "group_wait_s": 0, "continue": True},
            {"matchers": ['severity="critical"'], "receiver": "chat", "repeat_interval_s": 600},
            {"matchers": ['kind="topic"']},
        ],
    },
}


async def test_every_route_that_matches_tells_its_receiver_in_its_own_time(store: Store, clock: ManualClock) -> None:
    inboxes = {"desk": Inbox(), "chat": Inbox(), "mail": Inbox(recipients=("a@example.com", "b@example.com"))}
    chain = Chain(store, clock, make_settings(("desk", "chat", "mail"), **TEAMS), **inboxes)
    await chain.fire(BANKS)
    await chain.wait()
    assert [len(inbox.accepted) for inbox in inboxes.values()] == [0, 1, 2]
    await chain.wait(minutes=1)
    assert [len(inbox.accepted) for inbox in inboxes.values()] == [1, 1, 2]
    assert {told.receiver for told in inboxes["mail"].accepted} == {"banks"}
    assert {told.recipient for told in inboxes["mail"].accepted} == {"a@example.com", "b@example.com"}
    everything = [told for inbox in inboxes.values() for told in inbox.accepted]
    assert len({told.id for told in everything}) == len(everything)
    assert {told.route for told in everything} == {'{}/{key="Financials"}', '{}/{kind="topic"}'}
    await chain.fire(CHIPS, Severity.CRITICAL)
    await chain.wait(minutes=12)
    assert inboxes["chat"].events == [Event.FIRING, Event.FIRING, Event.REPEATED]
    assert inboxes["desk"].events == [Event.FIRING]


async def test_other_routes_do_not_tell_a_receiver_again_and_one_that_is_gone_hears_nothing_more(
    store: Store, clock: ManualClock
) -> None:
    inboxes = {"desk": Inbox(), "chat": Inbox()}
    both = {"receivers": {"both": {"channels": ["desk"]}, "other": {"channels": ["chat"]}}}
    here = {"receiver": "both", "routes": [{"receiver": "other", "continue": True}, {"matchers": ['kind=~".+"']}]}
    chain = Chain(store, clock, make_settings(("desk", "chat"), route=here, **both), **inboxes)
    spike = await chain.fire()
    await chain.wait(minutes=1)
    assert [inbox.events for inbox in inboxes.values()] == [[Event.FIRING]] * 2
    moved = {"receiver": "both", "group_by": ["key"], "routes": []}
    await chain.reload(make_settings(("desk", "chat"), route=moved, **both))
    await chain.wait(hours=1)
    assert [inbox.events for inbox in inboxes.values()] == [[Event.FIRING]] * 2
    assert Verdict.NO_RECEIVER in await chain.verdicts()
    await chain.end(spike)
    await chain.wait(hours=1)
    assert inboxes["desk"].events == [Event.FIRING, Event.RESOLVED]
    assert inboxes["desk"].accepted[1].thread == inboxes["desk"].accepted[0].id
    assert inboxes["chat"].events == [Event.FIRING]
    (row,) = await store.alerts.latest(limit=9)
    assert row.closed_at is not None


async def test_an_alert_that_rises_into_another_group_of_the_receiver_goes_on_in_its_thread(
    store: Store, clock: ManualClock
) -> None:
    chain = Chain(store, clock, make_settings(group_by=["severity"]))
    await chain.fire(BANKS, Severity.WARNING)
    await chain.wait(minutes=1)
    await chain.fire(BANKS, Severity.CRITICAL)
    await chain.wait(minutes=1)
    assert chain.desk.events == [Event.FIRING, Event.UPDATED]
    assert chain.desk.accepted[1].thread == chain.desk.accepted[0].id


async def test_who_was_told_before_an_alert_rose_out_of_reach_hears_of_its_end_alone(
    store: Store, clock: ManualClock
) -> None:
    inboxes = {"desk": Inbox(), "chief": Inbox()}
    below = [{"matchers": ['severity="critical"'], "receiver": "chief"}]
    settings = make_settings(tuple(inboxes), route={"receiver": "desk", "routes": below}, repeat_interval_s=3600)
    chain = Chain(store, clock, settings, **inboxes)
    first = await chain.fire()
    await chain.wait(minutes=10)
    second = await chain.fire(severity=Severity.CRITICAL)
    await chain.wait(hours=2)
    assert chain.desk.events == [Event.FIRING]
    assert inboxes["chief"].events == [Event.FIRING, Event.REPEATED]
    await chain.end(first, second)
    await chain.wait(hours=2)
    assert chain.desk.events == [Event.FIRING, Event.RESOLVED]
    assert inboxes["chief"].events[-1] is Event.RESOLVED
    assert inboxes["chief"].events.count(Event.RESOLVED) == 1


async def test_an_archive_that_is_played_is_decided_on_and_told_to_nobody(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock)
    spike = chain.spike()
    await store.alerts.take(spike, REPLAYED, timedelta(minutes=30))
    policy = make_policy(chain.settings, chain.inboxes)
    replay = Dispatch(chain.inboxes, policy, store=store, clock=clock, deliver=False)
    for _ in range(3):
        await replay.dispatch_once()
        clock.set(clock.now() + timedelta(seconds=30))
    await chain.wait(hours=1)
    assert chain.desk.attempts == 0
    assert await store.deliveries.latest(limit=9) == []
    assert await chain.verdicts() == [Verdict.WAITING, Verdict.REPLAYED]
    assert await store.alerts.firing(LIVE) == []
    assert [row.event for row in await store.groups.messages(REPLAYED)] == [Event.FIRING]
    later = chain.spike(detected_at=clock.now())
    await store.alerts.take(later, REPLAYED, timedelta(minutes=30))
    for _ in range(3):
        clock.set(clock.now() + timedelta(minutes=5))
        await replay.dispatch_once()
    assert set(await chain.verdicts()) == {Verdict.WAITING, Verdict.REPLAYED}, "nobody was told before, either"


async def test_a_message_names_some_and_counts_the_rest(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock)
    for number in range(25):
        await chain.fire(Key("entity", f"Company {number:02}"))
    await chain.wait(minutes=1)
    (told,) = chain.desk.accepted
    assert (len(told.alerts), told.about, told.more) == (20, 20, 5)
    sent = [await chain.verdicts(Key("entity", f"Company {number:02}")) for number in range(25)]
    assert sent == [[Verdict.WAITING, Verdict.SENT]] * 25


async def test_two_receivers_do_not_wait_for_each_others_quiet_hours_over_restarts(
    store: Store, clock: ManualClock
) -> None:
    """One group is done with the alert while the other still has something to tell of it."""
    inboxes = {"desk": Inbox(), "chat": Inbox()}
    late = {"late": [{"times": [{"start_time": "12:00", "end_time": "20:00"}]}]}
    routes = [{"receiver": "chat", "continue": True, "mute_time_intervals": ["late"]}, {"receiver": "desk"}]
    chain = Chain(
        store, clock, make_settings(("desk", "chat"), time_intervals=late, route={"routes": routes}), **inboxes
    )
    spike = await chain.fire()
    await chain.wait(minutes=50)
    await chain.end(spike)
    before = None
    for _ in range(4):
        await chain.wait(hours=2)
        chain.restart()
        assert inboxes["desk"].events == [Event.FIRING, Event.RESOLVED]
        assert inboxes["chat"].events == [Event.FIRING]
        sent = [row.decided_at for row in await chain.decisions() if row.verdict is Verdict.SENT]
        assert before in (None, sent)
        before = sent
    await chain.wait(hours=3)
    assert inboxes["chat"].events == inboxes["desk"].events == [Event.FIRING, Event.RESOLVED]
    (row,) = await store.alerts.latest(limit=9)
    assert row.closed_at is not None
