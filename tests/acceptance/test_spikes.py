"""What `monitor spikes` and `alerts` tell of an archive that was played: what each rests on, and that it recomputes."""

import contextlib
import re
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance import archive
from tests.acceptance.command import Workplace

EAGER = "[detector]\nwarmup_days = 1\ntheta = 2.5\nper_week = 1000\nmin_stories = 2\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("spikes"), EAGER)
    place.ask("replay", str(archive.make(1000).write(place.folder / "archive.jsonl")))
    return place


def test_every_spike_of_an_archive_recomputes_as_equal_both_ways(place: Workplace) -> None:
    spikes = place.ask("spikes", "--limit", "1000")
    assert len(spikes) > 3
    for spike in spikes:
        shown = place.ask("spikes", "show", spike["id"], "--replay")
        assert shown["spike"] == spike
        assert (shown["recount"]["equal"], shown["replay"]["equal"]) == (True, True), shown
        assert shown["recount"]["counted"]["stories"] == spike["stories"]
        inside = [bucket for bucket in shown["trend"]["buckets"] if bucket["in_window"]]
        assert sum(bucket["negative_stories"] for bucket in inside) >= spike["observed"]


def test_a_spike_is_told_in_words_and_tables(place: Workplace) -> None:
    spike = place.ask("spikes", "--limit", "1")[0]
    shown = place.call("spikes", "show", spike["id"][:10])
    assert (shown.code, shown.err) == (0, "")
    first, *rest = shown.out.splitlines()
    stories = f"{spike['observed']} negative stories of {spike['total']} from {spike['sources']} source"
    assert stories in first
    assert re.search(r"; \d+\.\d\d expected \(95 %: \d+ to \d+\); by itself it scores as high about ", first)
    text = "\n".join(rest)
    assert all(story["title"] in text for story in spike["stories"])
    assert "counted again from the tables: equal" in text
    assert re.search(r"window +│ *\^+ ", text)


def test_those_of_one_key(place: Workplace) -> None:
    spikes = place.ask("spikes", "--limit", "1000")
    names = {tuple(spike["key"]) for spike in spikes}
    assert len(names) > 1
    for kind, name in names:
        expected = [spike for spike in spikes if spike["key"] == [kind, name]]
        given = name if kind == "all" else f"{kind}:{name}"
        assert place.ask("spikes", "--key", given) == expected
        assert place.ask("spikes", "--key", given, "--limit", "1") == expected[:1]
    assert place.ask("spikes", "--key", "source:nobody") == []


def test_an_id_must_be_one(place: Workplace) -> None:
    unknown = place.call("spikes", "show", "nothing")
    assert (unknown.code, unknown.out) == (1, "")
    assert "no spike has an id that begins with 'nothing'; `monitor spikes` lists" in unknown.err
    none = place.call("spikes", "show", "")
    assert (none.code, none.out) == (2, "")
    assert "expected an id, or the start of one" in none.err


def test_what_was_changed_in_the_tables_is_told(place: Workplace, tmp_path: Path) -> None:
    other = Workplace(tmp_path, EAGER)
    (tmp_path / "data").mkdir()
    with contextlib.closing(place.database()) as whole:
        copy = sqlite3.connect(tmp_path / "data/monitor.sqlite3")
        with contextlib.closing(copy), copy:
            whole.backup(copy)
            spikes = place.ask("spikes", "--limit", "1000")
            spike, story = next((one, story) for one in spikes for story in one["stories"] if story["articles"] == 1)
            changed = story["article_id"]
            copy.execute("UPDATE label SET negative = 0.01, neutral = 0.99 WHERE article_id = ?", (changed,))
    shown = other.ask("spikes", "show", spike["id"], "--replay")
    told = {one["what"]: (one["stated"], one["recomputed"]) for one in shown["recount"]["differences"]}
    assert told["observed"] == (spike["observed"], spike["observed"] - 1)
    assert told[f"story {changed[:8]}"] == (story["title"], None)
    assert shown["recount"]["why"]
    assert not shown["replay"]["equal"]
    text = other.call("spikes", "show", spike["id"], "--replay").out
    assert "counted again from the tables: not equal" in text
    assert story["title"][:40] in text


def test_power_needs_what_is_saved_at_the_end(tmp_path: Path) -> None:
    place = Workplace(tmp_path, '[classifier]\nkind = "lexicon"\n')
    before = place.call("spikes", "power", "all")
    assert (before.code, before.out) == (1, "")
    assert "the daemon has not saved what it learned yet; it does every 5,000 articles and when it stops" in before.err
    place.ask("replay", str(archive.make(400).write(place.folder / "archive.jsonl")))
    found = place.ask("spikes", "power", "all")
    [of_all] = found["keys"]
    assert of_all["key"] == ["all", "all"]
    assert [each["horizon_s"] for each in of_all["horizons"]] == [2700, 7200, 43200]
    [short, long, slow] = of_all["horizons"]
    assert 0 < short["expected"] < long["expected"] < slow["expected"]
    assert long["low"] <= long["expected"] <= long["high"] < long["needed"]
    assert found["learned_until"] == max(row["fetched_at"] for row in place.ask("headlines", "--limit", "9999"))

    [new] = place.ask("spikes", "power", "entity:Nobody Ever")["keys"]
    assert new["score"] is None
    assert new["horizons"][0]["needed"] >= 3
    shown = place.call("spikes", "power", "entity:Nobody Ever")
    assert (shown.code, shown.err) == (0, "")
    assert "too few negative stories" in shown.out
    assert "As learned up to the article that came in at 2024-" in shown.out

    unknown = place.call("spikes", "power", "Nobody Ever")
    assert (unknown.code, unknown.out) == (1, "")
    assert "entity:Nobody Ever" in unknown.err
    unwatched = place.call("spikes", "power", "source:wire")
    assert (unwatched.code, "not watched" in unwatched.err) == (1, True)
    place.config.write_text("[detector]\ntheta = 3\n")
    changed = place.call("spikes", "power", "all")
    assert (changed.code, "other settings of [detector] or [detect]" in changed.err) == (1, True)


def test_every_alert_of_an_archive_is_made_again_as_equal(place: Workplace) -> None:
    alerts = place.ask("alerts", "--limit", "1000")
    spikes = {spike["id"]: spike for spike in place.ask("spikes", "--limit", "1000")}
    assert len(alerts) > 3
    told = [spike for alert in alerts for spike in alert["spikes"]]
    assert {spike["id"] for spike in told} == set(spikes)
    assert all(2.5 <= spike["threshold"] <= spike["score"] for spike in told)
    verified = place.ask("alerts", "verify", "--all")
    assert {one["id"] for one in verified} == {alert["id"] for alert in alerts}
    assert all(one["equal"] and one["spikes"] for one in verified)
    assert place.call("alerts", "verify", alerts[0]["id"][:12]).out.endswith(": equal\n")


def test_an_alert_is_told_in_words_and_tables(place: Workplace) -> None:
    alert = place.ask("alerts", "--limit", "1")[0]
    shown = place.call("alerts", "show", alert["id"][:12])
    assert (shown.code, shown.err) == (0, "")
    assert all(spike["id"] in shown.out for spike in alert["spikes"])
    evidence = place.ask("alerts", "show", alert["id"])["evidence"]
    assert [one["stories"] for one in evidence] == [
        [story["story_id"] for story in spike["stories"]] for spike in alert["spikes"]
    ]


def test_an_alert_is_the_answer_to_why_not_while_it_fires_and_not_before(place: Workplace) -> None:
    alert = place.ask("alerts", "--limit", "1000")[-1]
    kind, name = alert["key"]
    key = name if kind == "all" else f"{kind}:{name}"
    opened = datetime.fromisoformat(alert["opened_at"])
    [then] = place.ask("alerts", "why-not", key, "--at", opened.isoformat())
    assert (then["cause"], then["alert"]) == ("alert", alert["id"])
    [before] = place.ask("alerts", "why-not", key, "--at", (opened - timedelta(minutes=1)).isoformat())
    assert before["cause"] != "alert"
