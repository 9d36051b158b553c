"""How good the detector is at bursts that are known, beside what one would use instead; and what it costs."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import structlog

from monitor.bench import capacity
from monitor.bench.archive import Archive
from monitor.bench.bursts import Stream, generate
from monitor.bench.following import Clusterer, Gap, SameTitle, all_events, assign, base_events, follow, outline, replay
from monitor.bench.rivals import Counts, alerts, available, tuned
from monitor.bench.scoring import Alert, Cell, Event, breakdown, intervals, judge, summary, told
from monitor.bench.traps import try_all
from monitor.plugins import load
from pipelines.detect.detector import Detector

log = structlog.get_logger(__name__)

OURS: Final = "monitor"  # as `monitor detect --events` has it
AS_DAEMON: Final = "monitor, as the daemon"  # which knows the season from all that arrives, named or not
SIZES: Final[tuple[int, ...]] = (5_000, 50_000)  # numbers of keys that the costs are measured with
Stories = Literal["product", "title"]


def detector_of(kind: str = "gamma_poisson") -> Detector:
    plugin = load("pipelines.detect.detectors", kind)
    made: Detector = plugin.build(plugin.Config())
    return made


def clusterer_of(stories: Stories) -> Clusterer:
    if stories == "title":
        return SameTitle()
    from pipelines.stories.clusters import Stories as Product

    return Product()


def measure(
    archive: Archive,
    seeds: Sequence[int],
    *,
    stories: Stories = "product",
    tune: Sequence[int] = (),
    make: Callable[[], Detector] = detector_of,
    trapped: bool = True,
    sizes: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Every figure of one run.

    `tune`: seeds on which the rivals' settings are chosen first; none: as chosen before, on seeds 0 to 4 of the
    Reuters archive. `sizes`: instead of SIZES; none at all: costs are not measured.
    Units: shares in [0, 1], delays in minutes; those of `costs` are in the names.
    """
    sizes = SIZES if sizes is None else sizes
    settings = {rival.name: rival.best for rival in available()}
    if tune:
        settings = tune_rivals(archive, tune, stories)
    cells: dict[str, list[Cell]] = defaultdict(list)
    quiet_alerts, quiet_weeks = 0, 0.0
    trapped_by: dict[str, dict[str, float]] = {}
    told_as: dict[str, list[int]] = {"distinct items": [0, 0, 0], "copies of one story": [0, 0, 0]}
    began = time.perf_counter()
    base = assign(archive.items, clusterer_of(stories))
    log.info("bench_archive", items=len(archive.items), took_s=_since(began))
    whole = outline(archive.items, base)
    for seed in seeds:
        began = time.perf_counter()
        stream = generate(archive, seed)
        events, clusters, volumes = all_events(stream, lambda: clusterer_of(stories))
        for one, ids in zip(stream.injections, clusters, strict=True):
            sums = told_as["copies of one story" if one.kind == "syndicated" else "distinct items"]
            sums[0] += len(ids)
            sums[1] += len(set(ids))
            sums[2] += 1 if one.kind == "syndicated" else one.items
        clustered_s = _since(began)
        cells[OURS] += judge(stream, events, replay(make(), events))
        cells[AS_DAEMON] += judge(stream, events, follow(make(), archive, events, volumes))
        for name, found in _rivals(stream, events, settings).items():
            cells[name] += found

        def run(events: Sequence[Event], gap: Gap | None = None) -> list[Alert]:
            return follow(make(), archive, events, whole, gap)

        quiet = run(base_events(stream, base))
        quiet_alerts += sum(stream.judged_from <= alert.at < stream.judged_until for alert in quiet)
        quiet_weeks += len(stream.keys) * (stream.judged_until - stream.judged_from) / (7 * 86_400)
        if trapped:
            for name, facts in try_all(stream, base, run, quiet).items():
                sums_of = trapped_by.setdefault(name, dict.fromkeys(facts, 0))
                for fact, value in facts.items():
                    sums_of[fact] += value
        last = summary(cells[OURS][-len(stream.keys) :])
        log.info("bench_seed", seed=seed, f1=last["f1"], clustered_s=clustered_s, took_s=_since(began))
    return {
        "archive": archive.name,
        "items": len(archive.items),
        "days": round(archive.days, 1),
        "seeds": list(seeds),
        "stories": stories,
        "detector": make().version,
        "rivals_tuned_on": list(tune) or "seeds 0-4 of the Reuters archive of 2011",
        "found": {
            name: {
                "setting": settings.get(name),
                **summary(of_it),
                "intervals": intervals(of_it),
            }
            for name, of_it in cells.items()
        },
        "per_seed": [{"seed": seed, **summary([cell for cell in cells[OURS] if cell.seed == seed])} for seed in seeds],
        "by": breakdown(cells[OURS]),
        "quiet": {
            "alerts": quiet_alerts,
            "key_weeks": round(quiet_weeks, 1),
            "alerts_per_key_week": round(quiet_alerts / quiet_weeks, 4),
        },
        "traps": {
            name: {
                "alerts": int(facts["alerts"]),
                "without": int(facts["without"]),
                "key_weeks": round(facts["key_weeks"], 1),
            }
            for name, facts in trapped_by.items()
        },
        "told_as": {name: {"items": sums[0], "stories": sums[1], "truly": sums[2]} for name, sums in told_as.items()},
        "costs": capacity.measure(make, sizes) if sizes else {},
    }


def tune_rivals(archive: Archive, seeds: Sequence[int], stories: Stories) -> dict[str, float]:
    """The setting of each rival with the highest F1 over these seeds together."""
    cells: dict[tuple[str, float], list[Cell]] = defaultdict(list)
    for seed in seeds:
        stream = generate(archive, seed)
        events, _, _ = all_events(stream, lambda: clusterer_of(stories))
        counts = _counts(stream, events)
        for rival in available():
            fires = rival.prepare(counts)
            for setting in rival.settings:
                cells[rival.name, setting] += judge(stream, events, alerts(counts, fires(setting)))
        log.info("bench_tuned", seed=seed)
    return {
        rival.name: tuned({setting: summary(cells[rival.name, setting])["f1"] or 0.0 for setting in rival.settings})
        for rival in available()
    }


def _rivals(stream: Stream, events: Sequence[Event], settings: Mapping[str, float]) -> dict[str, list[Cell]]:
    counts = _counts(stream, events)
    return {
        rival.name: judge(stream, events, alerts(counts, rival.prepare(counts)(settings[rival.name])))
        for rival in available()
    }


def _counts(stream: Stream, events: Sequence[Event]) -> Counts:
    return Counts.of(told(events), stream.keys, stream.archive.start, stream.archive.end)


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 1)
