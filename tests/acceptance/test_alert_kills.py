"""Killed between any two steps, or with a copy beside it, the dispatcher tells each receiver everything once."""

import asyncio
import contextlib
import json
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from monitor.domain.alerts import Verdict
from monitor.domain.spikes import Severity, Spike
from monitor.errors import Reason
from monitor.storage.database import sqlite_url
from monitor.storage.store import Store
from tests.acceptance import dispatching
from tests.acceptance.dispatching import ANSWERED, Hook, Job, Nursery, Request, Script, Step, times
from tests.acceptance.stand import SECRET
from tests.factories import NOW, make_spike, make_story_evidence

TIMEOUT_S = 2.0
HOUR = timedelta(hours=1)

CONFIG = """
    [alerts]
    group_by = ["key"]
    allow_private_addresses = true
    [alerts.channels.hook]
    kind = "webhook"
    url = "{url}"
    secret = "{secret}"
    timeout_s = {timeout_s}
"""

SCRIPT: Script = [[500, None, 429, 200], [200], [429, 200]]
"""The answers to the attempts to tell that the alert fires, that it got worse, and that it is over."""

GONE: Script = [[410]]

FACTS = {
    "alert": (),
    "alert_spike": (),
    "alert_group": (),
    "alert_member": (),
    # Whoever starts looks once more at every group: that nothing was new then is one more decision.
    "alert_decision": (),
    "message": (),
    "message_alert": (),
    # How the delivery went: an attempt that was not written down is made again, and waits are random.
    "delivery": ("attempts", "delivered_at", "detail"),
}
"""Tables that must not depend on kills, and the columns of them that may."""


def life() -> list[tuple[str, Spike]]:
    """An alert that fires, gets worse after an hour, and is over after two, with the moments at which that is known."""
    first = make_spike(severity=Severity.WARNING)
    stories = tuple(make_story_evidence(title=f"Bank {number} halts withdrawals") for number in range(7))
    then = {"start": NOW + HOUR / 2, "end": NOW + HOUR, "detected_at": NOW + HOUR}
    second = make_spike(severity=Severity.CRITICAL, stories=stories, score=9.1, **then)
    over = {"state": "resolved", "resolved_at": NOW + 2 * HOUR}
    ends = [spike.model_copy(update=over) for spike in (first, second)]
    moments = [first.detected_at, second.detected_at, NOW + 2 * HOUR, NOW + 2 * HOUR]
    return [(at.isoformat(), spike) for at, spike in zip(moments, [first, second, *ends], strict=True)]


class Run(NamedTuple):
    """What came of it. `delivered`: by webhook-id the type of the message and its body, of those accepted.

    `lost`: attempts that were made, and that nobody has written down; `late`: those that the script let pass, and that
    a machine at its limits answered after the time-out.
    """

    steps: list[Step]
    requests: list[Request]
    delivered: dict[str, tuple[str, bytes]]
    facts: dict[str, list[dict[str, Any]]]
    deliveries: list[dict[str, Any]]
    lost: int
    late: int


def rows(folder: Path, table: str, without: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(folder / dispatching.DATABASE, timeout=10)) as database:
        database.row_factory = sqlite3.Row
        found = [dict(row) for row in database.execute(f"SELECT * FROM {table}")]
    kept = [{name: value for name, value in row.items() if name not in without} for row in found]
    return sorted(kept, key=repr)


def facts(folder: Path, table: str) -> list[dict[str, Any]]:
    return [
        row
        for row in rows(folder, table, FACTS[table])
        if table != "alert_decision" or row["verdict"] != Verdict.UNCHANGED
    ]


class Place:
    """Plays the same life again and again, each time in a folder of its own."""

    def __init__(self, folder: Path, hook: Hook, nursery: Nursery) -> None:
        self._folder = folder
        self._hook = hook
        self._nursery = nursery
        self._template = folder / "template.sqlite3"
        asyncio.run(self._make())

    async def _make(self) -> None:
        store = await Store.open(sqlite_url(self._template))
        await store.aclose()

    def undisturbed(self, name: str, script: Script, timeout_s: float) -> Run:
        folder = self._prepare(name, script, timeout_s)
        assert self._nursery.run([Job(folder, [None])]) == {folder: [0]}
        return self._read(folder)

    def killed(self, name: str, script: Script, timeout_s: float, steps: int) -> list[Run]:
        """For each of so many steps a run that is killed there, and run again to the end."""
        jobs = [
            Job(self._prepare(f"{name}{kill_at}", script, timeout_s), [kill_at, None])
            for kill_at in range(1, steps + 1)
        ]
        codes = self._nursery.run(jobs)
        assert codes == {job.folder: [-signal.SIGKILL, 0] for job in jobs}
        return [self._read(job.folder) for job in jobs]

    def _prepare(self, name: str, script: Script, timeout_s: float) -> Path:
        folder = self._folder / name
        folder.mkdir()
        self._hook.scripts[f"/{name}"] = script
        shutil.copy(self._template, folder / dispatching.DATABASE)
        config = CONFIG.format(url=f"{self._hook.url}/{name}", secret=SECRET, timeout_s=timeout_s)
        (folder / dispatching.CONFIG).write_text(config, encoding="utf-8")
        spikes = [(at, spike.model_dump(mode="json")) for at, spike in life()]
        (folder / dispatching.SPIKES).write_text(json.dumps(spikes), encoding="utf-8")
        return folder

    def _read(self, folder: Path) -> Run:
        steps = dispatching.steps_in(folder / dispatching.JOURNAL)
        requests = self._hook.requests(f"/{folder.name}")
        attempts = [step for step in steps if step.what == ANSWERED]
        timeouts = sum(step.failure == Reason.TIMEOUT for step in attempts)
        late = timeouts - sum(request.answer is None for request in requests)
        assert 0 <= len(attempts) - len(requests) <= late
        bodies = {request.id: request.body for request in requests if request.answer == 200}
        deliveries = sorted(rows(folder, "delivery"), key=lambda row: row["created_at"])
        return Run(
            steps,
            requests,
            {id_: (json.loads(body)["type"], body) for id_, body in bodies.items()},
            {table: facts(folder, table) for table in FACTS},
            deliveries,
            len(attempts) - sum(row["attempts"] for row in deliveries),
            late,
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Hook(SECRET) as hook, Nursery() as nursery:
        yield Place(tmp_path_factory.mktemp("kills"), hook, nursery)


def gaps(run: Run) -> dict[str, list[float]]:
    """By notification the seconds between its attempts, by the dispatcher's clock."""
    made: dict[str, list[float]] = {}
    for step in run.steps:
        if step.what == ANSWERED and step.id is not None:
            made.setdefault(step.id, []).append(step.at.timestamp())
    return {id_: [later - sooner for sooner, later in pairwise(at)] for id_, at in made.items()}


def accepted(run: Run) -> Counter[str]:
    return times([request for request in run.requests if request.answer == 200])


def assert_well_made(run: Run) -> None:
    """Each attempt is signed anew, and at one notification all say the same."""
    for request in run.requests:
        assert request.is_verified
        assert abs(int(request.headers["webhook-timestamp"]) - request.at) < 10
    bodies = {(request.id, request.body) for request in run.requests}
    assert len(bodies) == len({request.id for request in run.requests})


def test_killed_between_any_two_steps_the_receiver_holds_the_same(place: Place) -> None:
    whole = place.undisturbed("scripted", SCRIPT, TIMEOUT_S)
    assert_well_made(whole)
    assert [request.answer for request in whole.requests] == [500, None, 429, 200, 200, 429, 200]
    assert [type_ for type_, _ in whole.delivered.values()] == ["alert.firing", "alert.updated", "alert.resolved"]
    assert [(row["state"], row["attempts"]) for row in whole.deliveries] == [
        ("delivered", 4), ("delivered", 1), ("delivered", 2)
    ]  # fmt: skip
    (first, second, third), _, (asked,) = gaps(whole).values()
    # The schedule with a tenth of jitter at most; Retry-After where that is later.
    assert 5 <= first <= 5.5
    assert 300 <= second <= 330
    assert 1800 <= third <= 1980
    assert 60 <= asked <= 60.001

    runs = place.killed("scripted", SCRIPT, TIMEOUT_S, len(whole.steps))
    for kill_at, run in enumerate(runs, 1):
        where = f"killed at step {kill_at}, {run.steps[kill_at - 1]}"
        assert_well_made(run)
        assert run.delivered == whole.delivered, where
        assert run.facts == whole.facts, where
        assert 0 <= run.lost <= 1, where
        assert max(accepted(run).values()) <= 1 + run.lost + run.late, where
        assert sum(gap < 5 for between in gaps(run).values() for gap in between) <= run.lost, where
    assert sum(run.lost for run in runs) >= len(whole.requests)


def test_killed_between_any_two_steps_an_endpoint_that_is_gone_stays_alone(place: Place) -> None:
    whole = place.undisturbed("gone", GONE, 15)
    assert [request.answer for request in whole.requests] == [410]
    told, *left_alone = whole.deliveries
    assert (told["state"], told["reason"], told["attempts"], told["detail"]) == ("failed", "gone", 1, "answered 410")
    assert len(left_alone) == 2
    for row in left_alone:
        assert (row["state"], row["reason"], row["attempts"]) == ("failed", "gone", 0)
        assert row["detail"].startswith("it said on 2026-03-04 11:00 UTC that it is gone")
        assert "monitor deliveries enable hook" in row["detail"]

    runs = place.killed("gone", GONE, 15, len(whole.steps))
    for kill_at, run in enumerate(runs, 1):
        where = f"killed at step {kill_at}, {run.steps[kill_at - 1]}"
        assert_well_made(run)
        assert run.delivered == {}, where
        assert run.facts == whole.facts, where
        assert 0 <= run.lost <= 1, where
        assert {request.id for request in run.requests} == {request.id for request in whole.requests}, where
        assert len(run.requests) <= 1 + run.lost + run.late, where
