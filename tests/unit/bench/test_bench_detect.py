"""The measurement of detection: what is put into a stream, what alerts on it are worth, and the others it is beside."""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.bench import capacity, detect, rivals, scoring, traps
from monitor.bench.archive import DAY_S, HOUR_S, WEEK_S, Archive, Item, load, made_up, words_of
from monitor.bench.bursts import SPACING_S, SPANS_S, Arrival, Injection, Stream, Watch, generate, label
from monitor.bench.following import Gap, SameTitle, all_events, assign, base_events, follow, outline
from monitor.bench.rivals import RIVALS, Counts, Rival, alerts, available, rolling
from monitor.bench.scoring import Alert, Event, judge, summary, told
from monitor.errors import ConfigError
from pipelines.detect.detector import Bar, Finding, Score
from pipelines.ingest.normalise import story_text
from tests.acceptance.command import Workplace

START = 1_704_067_200 // WEEK_S * WEEK_S


@pytest.fixture(scope="module")
def archive() -> Archive:
    return made_up(1, per_day=300.0, names=150)


@pytest.fixture(scope="module")
def small() -> Archive:
    return made_up(1, days=15, per_day=120.0, names=60)


@pytest.fixture(scope="module")
def stream(archive: Archive) -> Stream:
    return generate(archive, 3)


# What is put in.


def test_a_seed_makes_one_stream_and_another_seed_another(archive: Archive, stream: Stream) -> None:
    again = generate(made_up(1, per_day=300.0, names=150), 3)
    assert again.base == stream.base
    assert again.injected == stream.injected
    assert again.injections == stream.injections
    assert generate(archive, 4).injections != stream.injections


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_key_has_two_injections_a_week_far_apart_and_none_in_the_first(archive: Archive, seed: int) -> None:
    stream = generate(archive, seed)
    of_key: defaultdict[str, list[Injection]] = defaultdict(list)
    for one in stream.injections:
        of_key[one.key].append(one)
        assert one.start >= archive.start + WEEK_S
        assert one.end <= archive.end
        assert one.end - one.start == SPANS_S[one.shape]
        assert 6 <= one.size <= 30
        assert one.items >= round(one.size)
        assert 0 <= one.negative <= one.items
    assert set(of_key) == set(stream.keys)
    for injections in of_key.values():
        weeks = Counter((one.start - stream.judged_from) // WEEK_S for one in injections)
        assert weeks == dict.fromkeys(range(stream.weeks), 2)
        assert all(b.start - a.start >= SPACING_S for a, b in pairwise(injections))


def test_what_arrives_is_what_the_injections_say(stream: Stream) -> None:
    arrived: Counter[str] = Counter()
    negative: Counter[str] = Counter()
    for item, labels, place in stream.injected:
        assert place is None
        ((key, flag),) = labels
        assert set(key.split()) <= set(words_of(item.title))
        arrived[key] += 1
        negative[key] += flag
    for key in stream.keys:
        injections = [one for one in stream.injections if one.key == key]
        assert arrived[key] == sum(one.items for one in injections)
        assert negative[key] == sum(one.negative for one in injections)
    for one in stream.injections:
        inside = [a.item for a in stream.injected if a.labels[0][0] == one.key and one.start <= a.item.at < one.end]
        assert len(inside) == one.items


def test_bursts_are_many_stories_and_syndication_is_one(stream: Stream) -> None:
    for one in stream.injections:
        items = [a.item for a in stream.injected if a.labels[0][0] == one.key and one.start <= a.item.at < one.end]
        texts = {story_text(item.title) for item in items}
        if one.kind == "syndicated":
            assert one.negative == one.items
            first = items[0].title
            assert all(first in item.title or first in item.summary for item in items)
        else:
            assert len(texts) == one.items


def test_kinds_come_as_often_as_they_should(archive: Archive) -> None:
    kinds: Counter[str] = Counter(one.kind for seed in range(6) for one in generate(archive, seed).injections)
    total = sum(kinds.values())
    for kind, share in (("burst", 0.5), ("volume", 0.3), ("syndicated", 0.2)):
        assert kinds[kind] / total == pytest.approx(share, abs=4 * (share * (1 - share) / total) ** 0.5)


def test_bursts_are_negative_and_volume_decoys_are_as_ever(archive: Archive) -> None:
    excess = defaultdict(list)
    for seed in range(4):
        stream = generate(archive, seed)
        for one in stream.injections:
            usual = stream.keys[one.key].share(one.start, archive.start)
            excess[one.kind].append((one.negative / one.items - usual) / (1 - usual))
    assert np.mean(excess["burst"]) == pytest.approx(0.7, abs=0.05)
    assert np.mean(excess["volume"]) == pytest.approx(0.0, abs=0.05)


def test_keys_are_names_often_enough_and_share_no_word(archive: Archive, stream: Stream) -> None:
    words = [word for name in stream.keys for word in name.split()]
    assert len(words) == len(set(words))
    assert all(watch.per_day >= 0.3 for watch in stream.keys.values())
    for name, places in archive.names.items():
        assert all(set(name.split()) <= set(words_of(archive.items[place].title)) for place in places)


def test_a_large_archive_has_fifty_to_a_hundred_keys() -> None:
    large = made_up(2, days=15, per_day=1_500.0)
    assert all(50 <= len(generate(large, seed).keys) <= 100 for seed in range(2))


def test_titles_without_names_are_refused() -> None:
    nameless = Archive("plain.csv", [Item(START + day * DAY_S, "what a day it was") for day in range(22)])
    with pytest.raises(ConfigError, match=r"plain\.csv has none"):
        generate(nameless, 0)


def test_labels_follow_the_shares_of_their_keys(archive: Archive, stream: Stream) -> None:
    due = drawn = 0.0
    for item, labels, _ in stream.base:
        for key, flag in labels:
            due += stream.keys[key].share(item.at, archive.start)
            drawn += flag
    assert drawn == pytest.approx(due, rel=0.15)


def test_a_raised_share_leaves_other_keys_and_the_first_week_alone(archive: Archive, stream: Stream) -> None:
    plain, name = stream.base, max(stream.keys, key=lambda key: stream.keys[key].per_day)
    raised = label(archive, stream.keys, np.random.default_rng([3, 2]), raised={name: 0.9})
    begin = archive.start + WEEK_S
    assert [a for a in raised if a.item.at < begin] == [a for a in plain if a.item.at < begin]
    for a, b in zip(plain, raised, strict=True):
        assert [one for one in a.labels if one[0] != name] == [one for one in b.labels if one[0] != name]

    def negatives(arrivals: Sequence[Arrival]) -> int:
        return sum(flag for a in arrivals for key, flag in a.labels if key == name)

    assert negatives(raised) > negatives(plain)


# What is read.


def write(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("time_us_eastern", "ts_raw", "title", "href"), *((a, "", t, "") for a, t in rows)])
    return path


def test_times_of_a_csv_are_those_of_new_york(tmp_path: Path) -> None:
    rows = [("2011-01-10T00:00", "Winter"), ("2011-07-25T09:30", "Summer"), ("2011-07-24T00:00", "Before")]
    found = load(write(tmp_path / "a.csv", rows))
    assert [item.title for item in found.items] == ["Winter", "Before", "Summer"]
    assert found.items[0].at == datetime(2011, 1, 10, 5, tzinfo=UTC).timestamp()
    assert found.items[2].at == datetime(2011, 7, 25, 13, 30, tzinfo=UTC).timestamp()


def test_an_archive_of_lines_is_read_as_replays_read_it(tmp_path: Path) -> None:
    lines = [
        {"title": "Later", "published": "2024-02-01T00:00:00Z"},
        {"title": "A <b>bank</b> falls", "summary": "By much", "published": "2024-01-01T00:00:00Z"},
        {"title": "Ohne Zeit"},
        {"title": "Deutsch", "published": "2024-01-02T00:00:00Z", "language": "de"},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    first = Item(int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()), "A bank falls", "By much")
    assert [load(path).items[0], load(path).items[1].title] == [first, "Later"]


@pytest.mark.parametrize("rows", [[], [("2011-07-25T09:30", "One")], [("2011-07-25T09:30", "a"), ("2011-07-30", "b")]])
def test_an_archive_too_short_is_refused(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    with pytest.raises(ConfigError, match="two weeks"):
        load(write(tmp_path / "a.csv", rows))


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("when,what\n")
    with pytest.raises(ConfigError, match="time_us_eastern"):
        load(path)


# What alerts are worth.


def watching(*injections: Injection, keys: Sequence[str] = ("Acme",)) -> Stream:
    """Three weeks, of which the latter two are judged."""
    items = [Item(START, "a"), Item(START + 3 * WEEK_S - 1, "b")]
    watches = {key: Watch(key, 1.0, "thin", np.zeros(23)) for key in keys}
    return Stream(0, Archive("test", items), watches, [], injections=injections)


T0 = START + 9 * DAY_S
BURST = Injection("Acme", "burst", "flash", T0, T0 + 2 * HOUR_S, 20, 15, 20.0)
VOLUME = BURST._replace(kind="volume", start=T0 + 2 * DAY_S, end=T0 + 2 * DAY_S + 7200)
COPIES = BURST._replace(kind="syndicated", shape="copies", start=T0 + 4 * DAY_S, end=T0 + 4 * DAY_S + 1800)


def bad_news(*minutes: int, key: str = "Acme") -> list[Event]:
    return [Event(T0 + 60 * m, key, True, f"{key} {m}", T0 + 60 * m) for m in minutes]


def test_an_alert_within_the_burst_or_two_hours_after_is_a_hit_and_more_of_them_are_nothing() -> None:
    for at in (0, 2 * HOUR_S, 4 * HOUR_S):
        found = summary(judge(watching(BURST), [], [Alert(T0 + at, "Acme"), Alert(T0 + 4 * HOUR_S, "Acme")]))
        assert (found["hits"], found["precision"], found["recall"], found["f1"]) == (1, 1.0, 1.0, 1.0)
        assert found["delay_median_min"] == at / 60


@pytest.mark.parametrize("at", [T0 - 1, T0 + 4 * HOUR_S + 1])
def test_an_alert_outside_is_false(at: int) -> None:
    found = summary(judge(watching(BURST), [], [Alert(at, "Acme")]))
    assert (found["hits"], found["false_alerts"], found["false_per_key_week"]) == (0, 1, 0.5)


def test_an_alert_of_another_key_is_its_own_and_false() -> None:
    found = summary(judge(watching(BURST, keys=("Acme", "Other")), [], [Alert(T0 + 60, "Other")]))
    assert (found["hits"], found["false_alerts"], found["false_per_key_week"]) == (0, 1, 0.25)


def test_alerts_of_the_warm_up_are_not_judged() -> None:
    assert summary(judge(watching(BURST), [], [Alert(START + WEEK_S - 1, "Acme")]))["false_alerts"] == 0


def test_decoys_lower_precision_once_each_and_are_not_false() -> None:
    fired = [Alert(one.start + at, "Acme") for one in (BURST, VOLUME, COPIES) for at in (60, 1200)]
    found = summary(judge(watching(BURST, VOLUME, COPIES), [], fired))
    assert found["precision"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["volume_decoys_alerted"] == found["syndicated_decoys_alerted"] == 1.0
    assert (found["false_alerts"], found["recall"]) == (0, 1.0)


def test_delay_counts_from_the_fourth_story_since_the_onset() -> None:
    events = bad_news(-30, 1, 10, 20, 50, 70)
    found = summary(judge(watching(BURST), events, [Alert(T0 + 60 * 55, "Acme")]))
    assert (found["delay_median_min"], found["fourth_story_median_min"]) == (55.0, 50.0)
    assert (found["after_fourth_median_min"], found["in_reach"]) == (5.0, 1.0)
    early = summary(judge(watching(BURST), events, [Alert(T0 + 60 * 20, "Acme")]))
    assert early["after_fourth_median_min"] == 0.0


def test_three_stories_are_out_of_reach() -> None:
    assert summary(judge(watching(BURST), bad_news(1, 2, 3), []))["in_reach"] == 0.0
    assert summary(judge(watching(BURST), bad_news(1, 2, 119, 122), []))["in_reach"] == 0.0
    assert summary(judge(watching(BURST), bad_news(-30, 1, 2, 30), []))["in_reach"] == 1.0


def test_nothing_injected_and_nothing_said_has_no_figures() -> None:
    found = summary(judge(watching(), [], []))
    assert (found["precision"], found["recall"], found["delay_median_min"]) == (None, None, None)


def test_parts_sum_to_the_whole(stream: Stream) -> None:
    fired = [Alert(one.start + 1800, one.key) for one in stream.injections[::3]]
    cells = judge(stream, [], fired)
    whole = summary(cells)
    for parts in scoring.breakdown(cells).values():
        assert sum(part["bursts"] for part in parts.values()) == whole["bursts"]
        hits = sum(round(part["recall"] * part["bursts"]) for part in parts.values())
        assert hits == whole["hits"]
    low, high = scoring.intervals(cells)["recall"]
    assert low <= whole["recall"] <= high


# Stories and counts.


def test_a_story_counts_once_a_day_and_as_negative_with_its_first_negative() -> None:
    tale = [(0, False), (60, True), (120, True), (3 * DAY_S, True)]
    events = [Event(START + at, "Acme", bad, "s", START + at) for at, bad in tale]
    assert [(one.negative, one.stories) for one in told(events)] == [(0, 1), (1, 0), (1, 1)]


def test_every_new_story_is_in_the_counts(archive: Archive, stream: Stream) -> None:
    events, clusters, volumes = all_events(stream, SameTitle)
    found = told(events)
    counts = Counts.of(found, stream.keys, archive.start, archive.end)
    assert counts.stories.sum() == sum(one.stories for one in found)
    assert counts.negative.sum() == sum(one.negative for one in found)
    assert [len(ids) for ids in clusters] == [one.items for one in stream.injections]
    assert sum(volumes.values()) <= len(archive.items) + len(stream.injected)
    assert len(events) == sum(len(a.labels) for a in (*stream.base, *stream.injected))
    assert [event.at for event in events] == sorted(event.at for event in events)


class Recorder:
    """A detector that remembers what it was told, and fires at every second negative story of a key."""

    version = "recorder"

    def __init__(self) -> None:
        self.passed: list[tuple[int, float]] = []
        self.taken: list[tuple[Hashable, int, int, int]] = []
        self.volumes: Counter[int] = Counter()
        self.judged: list[Hashable] = []

    def advance(
        self, bucket: int, *, observed: float = 1.0, silent: Collection[Hashable] = ()
    ) -> list[tuple[Hashable, int]]:
        self.passed.append((bucket, observed))
        return []

    def volume(self, bucket: int, stories: int) -> None:
        self.volumes[bucket] += stories

    def take(self, key: Hashable, bucket: int, negative: int, stories: int) -> None:
        self.taken.append((key, bucket, negative, stories))

    def judge(self, key: Hashable) -> Finding | None:
        self.judged.append(key)
        if self.judged.count(key) % 2:
            return None
        return Finding(key, self.passed[-1][0], Score(5.0, 7200, 4, 4, 0.1, 0.0, 1.0, 0.1), True, 4.0)

    def score(self, key: Hashable) -> Score | None:
        raise AssertionError

    def bar(self, key: Hashable) -> Bar:
        raise AssertionError

    def hear(self, bucket: int, observed: float) -> None:
        raise AssertionError

    def open_episodes(self) -> list[Hashable]:
        raise AssertionError

    @property
    def horizons_s(self) -> list[int]:
        raise AssertionError

    def power(self, key: Hashable, horizon_s: int) -> int:
        raise AssertionError

    def expected(self, key: Hashable, horizon_s: int) -> tuple[float, float, float]:
        raise AssertionError

    def dump(self) -> bytes:
        raise AssertionError

    def load(self, state: bytes) -> None:
        raise AssertionError


def test_the_detector_hears_each_instant_whole_and_judges_who_drew_bad_news() -> None:
    events = [
        Event(START + 600, "Acme", True, "s1", START + 600),
        Event(START + 600, "Acme", True, "s2", START + 600),
        Event(START + 600, "Calm", False, "s3", START + 600),
        Event(START + 900, "Acme", True, "s4", START + 900),
        Event(START + 900, "Acme", True, "s4", START + 900),
    ]
    detector = Recorder()
    items = [Item(event.at, event.story) for event in events]
    found = follow(detector, watching().archive, events, outline(items, [event.story for event in events]))
    first = START // 300
    assert detector.judged == ["Acme", "Acme"]
    assert found == [Alert(START + 900, "Acme", 5.0)]
    assert [bucket for bucket, _ in detector.passed] == [first, first + 1, first + 2, first + 3]
    assert detector.taken[-1] == ("Acme", first + 3, 1, 1)
    assert sum(detector.volumes.values()) == 4


def test_a_gap_is_told_and_its_backlog_goes_where_it_belongs() -> None:
    end = START + 2 * HOUR_S
    events = [
        Event(START, "Acme", True, "s0", START),
        Event(START + 900, "Acme", True, "s1", end),
        Event(end + DAY_S, "Acme", True, "s2", end),
    ]
    detector = Recorder()
    follow(detector, watching().archive, events, {START // 300 + 3: 5, end // 300: 2}, Gap(START + 600, end))
    silent = [bucket for bucket, observed in detector.passed if observed == 0.0]
    assert silent == list(range(START // 300 + 3, end // 300 + 1))  # the bucket reached is the one after
    assert [bucket for _, bucket, _, _ in detector.taken] == [START // 300, START // 300 + 3, end // 300]
    assert detector.volumes == {end // 300: 2}


def test_the_same_title_is_the_same_story() -> None:
    items = [Item(0, "Acme falls"), Item(60, "UPDATE 1-Acme falls"), Item(120, "Acme rises")]
    first, second, third = assign(items, SameTitle())
    assert first == second != third


# Traps.


def test_traps_change_what_they_say_and_no_more(archive: Archive, stream: Stream) -> None:
    stories = assign(archive.items, SameTitle())
    quiet = base_events(stream, stories)
    for trap in traps.traps(stream, stories):
        assert len(trap.events) == len(quiet)
        changed = [(a, b) for a, b in zip(quiet, trap.events, strict=True) if a != b]
        assert changed, trap.name
        assert all(trap.start <= a.at < trap.end for a, _ in changed), trap.name
        assert stream.judged_from <= trap.start < trap.end <= archive.end
        if "outage" in trap.name:
            assert {b.arrives for _, b in changed} == {trap.start + traps.OUTAGE_S}
            assert all((b.at == a.at) == ("own times" in trap.name) for a, b in changed)
        elif "ahead" in trap.name:
            assert {b.at - a.at for a, b in changed} == {HOUR_S}
        else:
            assert all(b.negative != a.negative and a.key in trap.keys for a, b in changed)


# The others.

QUIET_KEYS = ("Acme", "Calm")


def counted(burst: int, per_day: float = 2.0) -> Counts:
    """Two keys over three weeks; on the first, `burst` negative stories within an hour of the last day."""
    rng = np.random.default_rng(5)
    shape = len(QUIET_KEYS), 21 * 288
    stories = rng.poisson(per_day / 288, shape).astype(float)
    negative = rng.binomial(stories.astype(int), 0.15).astype(float)
    for at in rng.integers(0, 12, burst).tolist():
        negative[0, 20 * 288 + at] += 1
        stories[0, 20 * 288 + at] += 1
    return Counts(QUIET_KEYS, START // 300, negative, stories)


def needs_river(rival: Rival) -> None:
    if rival.name.startswith("river"):
        pytest.importorskip("river", reason="river's detectors need the package river")


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_everyone_sees_a_plain_burst_and_says_nothing_of_the_calm_key(rival: Rival) -> None:
    needs_river(rival)
    counts = counted(30)
    found = alerts(counts, rival.prepare(counts)(rival.best))
    assert {alert.key for alert in found} == {"Acme"}
    onset = START + 20 * DAY_S
    assert all(onset < alert.at <= onset + 4 * HOUR_S for alert in found)


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_nobody_speaks_of_three_stories(rival: Rival) -> None:
    needs_river(rival)
    counts = counted(3, per_day=0.0)
    assert all(alerts(counts, rival.prepare(counts)(setting)) == [] for setting in rival.settings)


def test_after_an_alert_there_is_rest_for_two_hours() -> None:
    counts = counted(30)
    found = alerts(counts, np.ones_like(counts.negative, dtype=bool))
    assert len(found) > 1
    assert all(b.at - a.at >= 2 * HOUR_S for a, b in pairwise(found) if a.key == b.key)


def test_without_river_the_rest_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "has_river", lambda: False)
    names = {rival.name for rival in available()}
    assert names == {rival.name for rival in RIVALS if "river" not in rival.name}


def test_settings_are_among_those_tried_and_the_best_is_taken() -> None:
    assert all(rival.best in rival.settings for rival in RIVALS)
    assert rivals.tuned({1.0: 0.2, 2.0: 0.7, 3.0: 0.7}) == 2.0


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 50))
def test_rolling_sums_are_sums(values: list[int], width: int) -> None:
    found = rolling(np.array([values], dtype=float), width)[0]
    assert found.tolist() == [sum(values[max(0, at + 1 - width) : at + 1]) for at in range(len(values))]


# All of it.


def test_a_run_adds_up(small: Archive) -> None:
    found = detect.measure(small, [0, 1], stories="title", sizes=(50,))
    assert found["seeds"] == [0, 1]
    assert set(found["found"]) == {detect.OURS, detect.AS_DAEMON, *(rival.name for rival in available())}
    bursts = {figures["bursts"] for figures in found["found"].values()}
    assert len(bursts) == 1
    assert sum(of["hits"] for of in found["per_seed"]) == found["found"]["monitor"]["hits"] <= bursts.pop()
    assert found["found"]["monitor"]["recall"] > 0.3
    items = sum(one.items for seed in (0, 1) for one in generate(small, seed).injections)
    assert sum(of["items"] for of in found["told_as"].values()) == items
    assert found["told_as"]["distinct items"]["stories"] == found["told_as"]["distinct items"]["truly"]
    assert found["quiet"]["key_weeks"] > 0
    assert all(trap["alerts"] >= 0 < trap["key_weeks"] for trap in found["traps"].values())
    assert found["costs"]["50"]["judged_per_s"] > 0


def test_two_runs_find_the_same(small: Archive) -> None:
    one, other = (detect.measure(small, [2], stories="title", trapped=False, sizes=()) for _ in range(2))
    assert one == other


def test_costs_are_those_of_each_number_of_keys() -> None:
    found = capacity.measure(detect.detector_of, (20, 40))
    assert set(found) == {"20", "40"}
    assert all(cost["state_bytes_per_key"] > 0 and cost["memory_bytes_per_key"] > 0 for cost in found.values())
    assert all(cost["tick_s"] <= cost["tick_longest_s"] for cost in found.values())


def test_the_command_prints_tables_or_json(small: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "SIZES", (20,))
    path = tmp_path / "small.jsonl"
    lines = (
        {"title": item.title, "published": datetime.fromtimestamp(item.at, UTC).isoformat()} for item in small.items
    )
    path.write_text("\n".join(map(json.dumps, lines)))
    place = Workplace(tmp_path / "place")
    line = ("bench", "detect", str(path), "--stories", "title", "--seeds", "5", "--articles", "0")
    found = json.loads(place.call(*line, "--json").out)
    assert found["seeds"] == [5]
    assert found["items"] == len(small.items)
    shown = place.call(*line)
    assert shown.code == 0
    assert all(rival.name in shown.out for rival in available())
    assert "quiet weeks" in shown.out


@pytest.mark.parametrize("seeds", ["", "x", "4-2", "1,,2", "-3"])
def test_seeds_that_are_none_are_refused(tmp_path: Path, seeds: str) -> None:
    done = Workplace(tmp_path / "place").call("bench", "detect", f"--seeds={seeds}")
    assert done.code == 2
    assert "--seeds" in done.err


def test_an_archive_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = Workplace(tmp_path / "place").call("bench", "detect", str(tmp_path / "none.csv"))
    assert done.code == 2
    assert "ARCHIVE" in done.err
