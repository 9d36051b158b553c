"""`monitor alerts`: what there is, what it rests on, who was told, and what kept a key from alerting."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from alerts.words import VERDICTS
from monitor import app as application
from monitor.bus.embedded import EmbeddedBus
from monitor.chaos.servers import free_port
from monitor.clock import ManualClock
from monitor.domain.alerts import Event, Verdict
from monitor.domain.labels import LabelledArticle
from monitor.domain.spikes import Severity, Spike
from monitor.domain.windows import Key
from monitor.errors import ConfigError, Reason
from monitor.settings import load
from monitor.storage import tables as t
from monitor.storage.alerts import LIVE, REPLAYED
from monitor.storage.groups import Group, Judged, Outgoing, Told
from monitor.storage.sightings import Looked
from monitor.storage.store import Store
from pipelines.detect.stage import Detect
from tests.command_line import Fill, Run
from tests.factories import NOW, make_alert, make_notification, make_spike
from tests.news import burst, calm

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
KEEP = timedelta(minutes=30)
BANK = Key("entity", "Northfield Bank")
DESK = Group("group-desk", LIVE, "desk", "{}", {})
CHAT = Group("group-chat", LIVE, "chat", '{}/{severity="severe"}', {"key": "Financials"})
EXPIRES = NOW + 72 * HOUR


async def taken(store: Store, *spikes: Spike, origin: str = LIVE) -> str:
    """An alert of these spikes; its id."""
    ids = [(await store.alerts.take(spike, origin, KEEP))[0] for spike in spikes]
    return ids[-1]


async def judged(
    store: Store, alert_id: str, group: Group, verdict: Verdict, detail: str | None = None, **more: Any
) -> None:
    """A group's verdict on an alert at NOW, or `at`; sent with a delivery, if `notifications` are given."""
    at = more.pop("at", NOW)
    [row] = await store.alerts.get(alert_id)
    groups = [standing.group for standing in await store.groups.standings(alert_id)]
    if group.id not in {one.id for one in groups}:
        await store.groups.route(row, [*groups, group], at - MINUTE)
    told = Told(at, row.alert.severity, len(row.alert.stories), False, "thread") if verdict is Verdict.SENT else None
    notifications = more.pop("notifications", ())
    sent = [Outgoing(f"message-{group.id}", Event.FIRING, [alert_id], [], [], notifications)] if notifications else []
    one = Judged(alert_id, verdict, detail, told)
    await store.groups.write(group, await store.groups.members(group.id), [one], sent, at, EXPIRES)


def financials(**more: Any) -> Spike:
    return make_spike(detected_at=NOW - 10 * MINUTE, **more)


# The list, and one of them.


def test_alerts_are_listed_with_their_state_and_each_receivers_verdict(run: Run, fill: Fill) -> None:
    async def four(store: Store) -> list[str]:
        firing = await taken(store, financials())
        await judged(store, firing, DESK, Verdict.SENT, "firing")
        await judged(store, firing, CHAT, Verdict.QUIET_HOURS, "nights")
        over = {"state": "resolved", "resolved_at": NOW}
        quiet = await taken(store, financials(key=BANK, **over))
        closed = await taken(store, financials(key=Key("source", "wire"), **over))
        await judged(store, closed, DESK._replace(id="other"), Verdict.ENDED_UNTOLD)
        played = await taken(store, financials(key=Key("topic", "Energy")), origin=REPLAYED)
        await store.alerts.acknowledge(firing, "mia", "on it", NOW)
        return [firing, quiet, closed, played]

    ids = fill(four)
    listed = {alert["id"]: alert for alert in run("alerts", "--json").json}
    assert [listed[one]["state"] for one in ids] == ["firing", "quiet", "quiet", "firing"]
    firing = listed[ids[0]]
    assert {one["receiver"]: one["verdict"] for one in firing["receivers"]} == {"desk": "sent", "chat": "quiet_hours"}
    assert (firing["acked_by"], firing["ack_comment"], firing["labels"]["kind"]) == ("mia", "on it", "topic")
    assert listed[ids[3]]["origin"] == "replayed"
    shown = run("alerts", "list").out
    for text in ("firing, acknowledged by mia", "quiet since 03-04 11:00", "desk: sent", "chat: quiet_hours"):
        assert text in shown
    assert "Bank halts withdrawals" in shown

    def found(*arguments: str) -> set[str]:
        return {alert["id"] for alert in run("alerts", *arguments, "--json").json}

    assert found("--firing") == {ids[0], ids[3]}
    assert found("list", "--key", "entity:Northfield Bank") == found("--key", "Northfield Bank") == {ids[1]}
    assert found("--since", NOW.isoformat()) == set()
    assert len(found("--limit", "2")) == 2


def test_an_alert_shows_all_that_is_needed_to_state_it_again(run: Run, fill: Fill) -> None:
    spike = financials(threshold=4.25, low=0.0, high=6.0, per_week=0.01, horizon_s=7200)
    notification = make_notification(receiver="desk", channel="mail", recipient="a@example.com")

    async def one(store: Store) -> str:
        alert_id = await taken(store, spike)
        await judged(store, alert_id, DESK, Verdict.SENT, "firing", notifications=[notification])
        return alert_id

    alert_id = fill(one)
    shown = run("alerts", "show", alert_id[:6], "--json").json
    [evidence] = shown["evidence"]
    assert evidence["stories"] == [story.story_id for story in spike.stories]
    assert evidence["articles"] == [story.article_id for story in spike.stories]
    assert (evidence["observed"], evidence["threshold"], evidence["score"]) == (14, 4.25, spike.score)
    assert evidence["baseline"] == {"expected": 2.1, "low": 0.0, "high": 6.0, "per_week": 0.01}
    assert evidence["detector"] == spike.detector
    assert evidence["window"]["horizon_s"] == 7200
    assert shown["alert"]["labels"]["key"] == "Financials"
    assert [one["recipient"] for one in shown["alert"]["deliveries"]] == ["a@example.com"]
    assert [one["verdict"] for one in shown["decisions"]] == ["waiting", "sent"]
    text = run("alerts", "show", alert_id).out
    for part in ("4.25", "mail to a@example.com: pending", "told 2026-03-04 11:00 UTC, on its way", alert_id):
        assert part in text


def test_an_id_that_is_none_or_too_short_is_told_in_a_line(run: Run, fill: Fill) -> None:
    fill(lambda store: taken(store, financials()))
    for command in (("show", "zzz"), ("ack", "zzz"), ("verify", "zzz")):
        printed = run("alerts", *command)
        assert (printed.code, printed.out) == (1, "")
        assert "no alert has an id that begins with 'zzz'" in " ".join(printed.err.split())


def test_an_acknowledgement_names_who_and_is_refused_for_what_is_over(
    run: Run, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = {"state": "resolved", "resolved_at": NOW}

    async def two(store: Store) -> list[str]:
        closed = await taken(store, financials(key=BANK, **over))
        await judged(store, closed, DESK, Verdict.ENDED_UNTOLD)
        [group] = (await store.groups.get([DESK.id])).values()
        [member] = await store.groups.members(DESK.id)
        end = Judged(closed, Verdict.ENDED_UNTOLD, None, None, done=True)
        await store.groups.write(group, [member], [end], [], NOW, EXPIRES)
        return [await taken(store, financials()), closed]

    firing, closed = fill(two)
    monkeypatch.setattr("getpass.getuser", lambda: "kim")
    assert run("alerts", "ack", firing, "--json").json["acked_by"] == "kim"
    again = run("alerts", "ack", firing, "--by", "kim", "--comment", "called\n\x1b[31mthem")
    assert "is acknowledged by kim" in again.out
    kept = run("alerts", "ack", firing, "--by", "mia", "--comment", "me too")
    assert (kept.code, "acknowledged already by kim on 20" in kept.out) == (0, True)
    shown = run("alerts", "show", firing, "--json").json["alert"]
    assert (shown["acked_by"], shown["ack_comment"]) == ("kim", "called [31mthem")
    with pytest.raises(ConfigError, match="--by"):
        run("alerts", "ack", firing, "--by", "\x1b")
    refused = run("alerts", "ack", closed, "--by", "mia")
    assert (refused.code, "is over" in refused.err) == (1, True)


def test_a_silence_is_told_of_before_its_group_has_looked_again(run: Run, fill: Fill) -> None:
    async def two(store: Store) -> None:
        firing = await taken(store, financials())
        await judged(store, firing, DESK, Verdict.SENT, "firing")
        await judged(store, firing, DESK, Verdict.UNCHANGED, at=NOW + MINUTE)
        await taken(store, financials(key=BANK, state="resolved", resolved_at=NOW))

    fill(two)
    assert "silenced" not in run("alerts").out + run("alerts", "why-not", "Financials").out
    for length, comment in (("1h", "short"), ("2h", "merger")):
        run("silences", "add", 'key=~".+"', "--for", length, "--by", "mia", "--comment", comment)
    silenced = {alert["key"][1]: alert["silence"] for alert in run("alerts", "--json").json}
    assert (silenced["Financials"]["comment"], silenced["Northfield Bank"]) == ("merger", None)
    found = {one["key"][1]: one["id"] for one in run("alerts", "--json").json}
    for command in (("alerts",), ("alerts", "show", found["Financials"]), ("alerts", "why-not", "Financials")):
        assert "by mia: merger" in run(*command).out, command
    assert "desk: sent" in run("alerts").out
    then = (NOW + HOUR).isoformat()
    assert "silenced" not in run("alerts", "why-not", "Financials", "--at", then).out


@pytest.mark.parametrize("given", ["entity:Vexley Holdings", "entity:Vexley Holdings plc", "entity:Vexley"])
def test_a_name_is_read_as_articles_names_are(given: str, run: Run, fill: Fill) -> None:
    fill(lambda store: taken(store, financials(key=Key("entity", "Vexley"))))
    assert len(run("alerts", "--key", given.removeprefix("entity:"), "--json").json) == 1
    listed = run("alerts", "--key", given, "--json")
    assert [alert["key"] for alert in listed.json] == [["entity", "Vexley"]]
    assert ("read as entity:Vexley" in listed.err) is ("Holdings" in given)
    answer = run("alerts", "why-not", given)
    assert "entity:Vexley fires since" in answer.out
    assert ("read as entity:Vexley" in answer.err) is ("Holdings" in given)


# Why not: what became of an alert.


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_is_told_with_its_reason(verdict: Verdict, run: Run, fill: Fill) -> None:
    async def one(store: Store) -> None:
        alert_id = await taken(store, financials())
        await judged(store, alert_id, DESK, verdict, "because of this")

    fill(one)
    [answer] = run("alerts", "why-not", "Financials", "--json").json
    assert answer["cause"] == "alert"
    assert [one["verdict"] for one in answer["receivers"]] == [verdict]
    if verdict is Verdict.SENT:
        assert "desk: told 2026-03-04 11:00 UTC" in answer["told"]
    else:
        assert f"desk: {VERDICTS[verdict]} (because of this)" in answer["told"]
    assert run("alerts", "why-not", "topic:financials").out.startswith(answer["told"])


def test_the_answer_for_a_moment_is_what_was_so_then(run: Run, fill: Fill) -> None:
    async def one(store: Store) -> None:
        alert_id = await taken(store, financials())
        await judged(store, alert_id, DESK, Verdict.SILENCED, "by mia", at=NOW)
        await judged(store, alert_id, DESK, Verdict.SENT, "firing", at=NOW + HOUR)
        await judged(store, alert_id, DESK, Verdict.UNCHANGED, "nothing new", at=NOW + 2 * HOUR)

    fill(one)

    def told(*at: str) -> str:
        [answer] = run("alerts", "why-not", "Financials", "--json", *at).json
        return str(answer["told"])

    assert "waiting for its group" in told("--at", (NOW - MINUTE / 2).isoformat())
    assert "not told: silenced (by mia)" in told("--at", (NOW + MINUTE).isoformat())
    assert told("--at", (NOW + HOUR).isoformat()).endswith("desk: told 2026-03-04 12:00 UTC.")
    assert "told 2026-03-04 12:00 UTC; now: told before (nothing new)" in told()
    before = run("alerts", "why-not", "Financials", "--at", (NOW - HOUR).isoformat(), "--json").json
    assert [answer["cause"] for answer in before] == ["no_bad_news"]


def test_a_delivery_that_failed_is_the_reason(run: Run, fill: Fill) -> None:
    good, bad = (make_notification(receiver="desk", channel="mail", recipient=f"{name}@example.com") for name in "ab")

    async def one(store: Store) -> None:
        alert_id = await taken(store, financials())
        await judged(store, alert_id, DESK, Verdict.SENT, "firing", notifications=[good, bad])
        for delivery in await store.deliveries.latest(limit=5):
            done = delivery._replace(state="delivered", attempts=1, next_attempt_at=None)
            refused = done._replace(state="failed", reason=Reason.AUTH, detail="login refused")
            await store.deliveries.log(refused if delivery.notification.id == bad.id else done)

    fill(one)
    [answer] = run("alerts", "why-not", "Financials", "--json").json
    assert "delivery failed (mail to b@example.com: auth: login refused)" in answer["told"]
    assert "delivered (mail to a@example.com)" in answer["told"]


# Why not: what kept it from a spike.


async def _look(store: Store, config: Path, articles: list[LabelledArticle], until: datetime) -> list[Spike]:
    """All that the daemon states, with the settings of the file."""
    settings = load(config)
    await store.articles.add(articles)
    bus = await EmbeddedBus.open(None, partitions=1, retention=HOUR, clock=ManualClock(NOW))
    try:
        detect = Detect(
            lambda: application.build_watch(settings),
            store=store, bus=bus, clock=ManualClock(NOW), settings=settings.detect,
        )  # fmt: skip
        found = await detect.tick(until)
        await detect.keep()
        return found
    finally:
        await bus.aclose()


def _late(articles: list[LabelledArticle], by: timedelta) -> list[LabelledArticle]:
    return [
        one.model_copy(update={"article": one.article.model_copy(update={"fetched_at": one.article.published_at + by})})
        for one in articles
    ]


CARRIED = "[detect]\nmin_sources = 2\n[detector]\nhorizons_min = [45]\nslow_horizon_min = 60"
STALE = _late(burst(), timedelta(minutes=20))


@pytest.mark.parametrize(
    ("cause", "key", "toml", "articles", "words"),
    [
        ("not_watched", "source:wire 1", '[detect]\nkeys = ["all"]', [], "is not watched for spikes"),
        ("no_bad_news", "topic:Energy | Oil", "", calm(9), "no story came in the 12 h before"),
        ("warming_up", "all", "", [*calm(1), *burst()], "warming up"),
        ("too_few", "all", "[detector]\nmin_stories = 90", [*calm(9), *burst()], "it takes 90 within 2 h."),
        ("below_threshold", "all", "[detector]\ntheta = 40", [*calm(9), *burst()], "below the 40.0 from which"),
        (
            "too_few_sources", "all", CARRIED,
            [*calm(9, NOW - 2 * HOUR), *burst(source="wire 1")], "detect.min_sources asks for 2",
        ),
        ("too_old", "all", "[detect]\nalert_horizon_s = 300", [*calm(9, NOW - 13 * HOUR), *STALE], "are no news"),
        (
            "not_judged", "all", "[detect]\nalert_horizon_s = 300",
            [*calm(9, NOW - 13 * HOUR), *burst(1, NOW - MINUTE), *STALE], "a key is judged when it draws one",
        ),
    ],
)  # fmt: skip
def test_what_kept_a_key_from_a_spike(
    cause: str, key: str, toml: str, articles: list[LabelledArticle], words: str, run: Run, fill: Fill, config: Path
) -> None:
    config.write_text(toml)
    at = NOW + 25 * MINUTE
    assert fill(lambda store: _look(store, config, articles, at)) == []
    fill(lambda store: store.coverage.heard("wire 1", NOW - HOUR, NOW)) if cause == "not_watched" else None
    [answer] = run("alerts", "why-not", key, "--at", at.isoformat(), "--json").json
    assert answer["cause"] == cause, answer
    assert words in answer["told"]
    assert answer["behind"] is False
    assert run("alerts", "why-not", key, "--at", at.isoformat()).out.startswith(answer["told"])


def test_a_spike_without_an_alert_and_one_that_is_just_over(run: Run, fill: Fill, config: Path) -> None:
    spikes = fill(lambda store: _look(store, config, [*calm(9), *burst()], NOW + MINUTE))
    assert any(spike.key.kind == "all" for spike in spikes)
    moment = (NOW + 2 * MINUTE).isoformat()
    [answer] = run("alerts", "why-not", "all", "--at", moment, "--json").json
    assert (answer["cause"], answer["spike"]["id"] in {spike.id for spike in spikes}) == ("not_taken_up", True)
    over = [(spike.key, NOW + MINUTE) for spike in spikes]
    fill(lambda store: store.sightings.save(Looked([], {}, [], over)))
    [answer] = run("alerts", "why-not", "all", "--at", moment, "--json").json
    assert answer["cause"] == "just_fired", answer


def test_what_was_saved_and_learning_anew_give_the_same_answer(run: Run, fill: Fill, config: Path) -> None:
    config.write_text("[detector]\ntheta = 40")
    fill(lambda store: _look(store, config, [*calm(9), *burst()], NOW + MINUTE))
    [saved] = run("alerts", "why-not", "all", "--at", NOW.isoformat(), "--json").json

    async def forget(store: Store) -> None:
        async with store._database.write() as connection:
            await connection.execute(t.checkpoint.delete())

    fill(forget)
    assert run("alerts", "why-not", "all", "--at", NOW.isoformat(), "--json").json == [saved]
    # What came in later is not known then.
    earlier = (NOW - 20 * MINUTE).isoformat()
    [before] = run("alerts", "why-not", "all", "--at", earlier, "--json").json
    assert before["evidence"]["negative"] < saved["evidence"]["negative"]
    assert before["learned"]["upto"] < saved["learned"]["upto"]


def test_articles_that_wait_to_be_looked_at_are_told(run: Run, fill: Fill) -> None:
    fill(lambda store: store.articles.add(calm(1)))
    printed = run("alerts", "why-not", "all", "--at", NOW.isoformat())
    assert "is the detect stage running?" in printed.out


def test_a_key_that_nobody_knows_is_refused(run: Run, fill: Fill) -> None:
    printed = run("alerts", "why-not", "Nobody & Sons")
    assert (printed.code, "nothing is counted under" in printed.err) == (1, True)
    assert run("alerts", "why-not", "all", "--at", "2999-01-01").code == 1


# Made again from the tables.


@pytest.fixture
def verifiable(fill: Fill, config: Path) -> list[str]:
    """Alerts of a burst that the daemon found; their ids."""

    async def go(store: Store) -> list[str]:
        spikes = await _look(store, config, [*calm(9), *burst(), *burst(3, NOW + HOUR)], NOW + 2 * HOUR)
        assert all(spike.threshold is not None and 4.0 <= spike.threshold <= spike.score for spike in spikes)
        return [await taken(store, spike) for spike in spikes]

    ids: list[str] = fill(go)
    assert len(ids) > 1
    return ids


def test_alerts_are_equal_until_someone_changes_the_tables(verifiable: list[str], run: Run, fill: Fill) -> None:
    everything = run("alerts", "verify", "--all", "--json")
    assert everything.code == 0
    assert {one["id"] for one in everything.json} == set(verifiable)
    assert all(spike["equal"] and spike["score_compared"] for one in everything.json for spike in one["spikes"])
    printed = run("alerts", "verify", *verifiable)
    assert (printed.code, printed.out.count(": equal")) == (0, len(verifiable))

    async def change(store: Store) -> None:
        [row] = await store.alerts.get(verifiable[0])
        article = row.alert.spikes[0].stories[0].article_id
        async with store._database.write() as connection:
            await connection.execute(update(t.label).where(t.label.c.article_id == article).values(negative=0.0))

    fill(change)
    changed = run("alerts", "verify", verifiable[0], "--json")
    [found] = changed.json
    what = {one["what"]: (one["stated"], one["recomputed"]) for one in found["spikes"][0]["differences"]}
    assert (changed.code, found["equal"]) == (1, False)
    assert what["observed"][0] == what["observed"][1] + 1
    assert "score" in what
    counted = run("alerts", "verify", verifiable[0], "--no-replay")
    assert (counted.code, "not equal" in counted.out, "score" in counted.out) == (1, True, False)


def test_a_threshold_that_was_not_so_is_told_and_one_that_was_not_stated_is_not(
    verifiable: list[str], run: Run, fill: Fill
) -> None:
    def state(threshold: float | None) -> None:
        async def change(store: Store) -> None:
            [row] = await store.alerts.get(verifiable[0])
            [spike] = row.alert.spikes
            body = spike.model_copy(update={"threshold": threshold}).model_dump(mode="json")
            async with store._database.write() as connection:
                mine = t.alert_spike.c.spike_id == spike.id
                await connection.execute(update(t.alert_spike).where(mine).values(body=body))

        fill(change)

    state(1.5)
    [found] = run("alerts", "verify", verifiable[0], "--json").json
    assert [one["what"] for one in found["spikes"][0]["differences"]] == ["threshold"]
    state(None)
    assert run("alerts", "verify", verifiable[0]).code == 0


def test_verify_wants_ids_or_all(run: Run) -> None:
    for arguments in ((), ("--all", "abc")):
        with pytest.raises(ConfigError, match="expected ids of alerts, or --all"):
            run("alerts", "verify", *arguments)
    assert run("alerts", "verify", "--all").out == "Alerts: none\n"


# A test message.


def test_a_test_message_says_so_and_is_sent_at_once(run: Run, config: Path) -> None:
    config.write_text('[alerts.channels.screen]\nkind = "console"\n[alerts.receivers.desk]\nchannels = ["screen"]')
    printed = run("alerts", "test", "desk")
    assert printed.code == 0
    assert "test" in printed.out.splitlines()[0].casefold()
    assert "made up" in printed.out
    assert printed.out.rstrip().endswith("delivered")
    assert run("deliveries").out.startswith("Deliveries: none")


def test_a_test_message_that_fails_says_why_and_exits_1(run: Run, config: Path) -> None:
    config.write_text(
        "[alerts]\nallow_private_addresses = true\n"
        '[alerts.channels.screen]\nkind = "console"\n'
        f'[alerts.channels.hook]\nkind = "webhook"\nurl = "http://127.0.0.1:{free_port()}/hook"\n'
        'secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"\n'
        '[alerts.receivers.desk]\nchannels = ["screen", "hook"]\n[alerts.receivers.nobody]\nchannels = []'
    )
    printed = run("alerts", "test", "desk", "--json")
    # The message itself, on the screen, is no part of the document.
    assert "made up" in printed.err
    found = {one["channel"]: one for one in printed.json}
    assert printed.code == 1
    assert (found["screen"]["delivered"], found["hook"]["delivered"]) == (True, False)
    assert found["hook"]["reason"] == "unreachable"
    assert "MfKQ9r8" not in printed.out + printed.err
    with pytest.raises(ConfigError, match=r'unknown receiver "desc"; expected one of: .*desk'):
        run("alerts", "test", "desc")
    assert run("alerts", "test", "nobody").code == 1


def test_an_old_alert_of_several_keys_is_listed_with_all(run: Run, fill: Fill) -> None:
    spikes = [financials(), financials(key=BANK, score=5.0, severity=Severity.WARNING)]

    async def old(store: Store) -> None:
        alert_id = make_alert().id
        async with store._database.write() as connection:
            row = {"id": alert_id, "group_key": LIVE, "opened_at": NOW, "outcome": "sent"}
            await connection.execute(t.alert.insert().values(row))
            for spike in spikes:
                body = {"spike_id": spike.id, "alert_id": alert_id, "body": spike.model_dump(mode="json")}
                await connection.execute(t.alert_spike.insert().values(body))

    fill(old)
    [listed] = run("alerts", "--json").json
    assert {tuple(spike["key"]) for spike in listed["spikes"]} == {spike.key for spike in spikes}
    assert "topic:Financials, entity:Northfield Bank" in run("alerts").out
    assert run("alerts", "show", listed["id"]).code == 0
    assert [alert["id"] for alert in run("alerts", "--key", "Northfield Bank", "--json").json] == [listed["id"]]
