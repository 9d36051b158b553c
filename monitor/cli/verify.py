"""The command that makes alerts again from the tables."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer

from monitor import app as application
from monitor.cli.alert_words import keys
from monitor.cli.context import settings as load_settings
from monitor.cli.context import with_store
from monitor.cli.output import AsJson, console, learning_bar, print_json, the_one
from monitor.cli.spikes import print_differences
from monitor.domain.spikes import Spike
from monitor.errors import ConfigError, Mistake
from monitor.settings import Settings
from monitor.storage.alerts import AlertRow
from monitor.storage.store import Store
from pipelines.detect.recompute import Difference, Recount, Replay, recount, replay_all

_ALL = 1_000_000


class _Checked(NamedTuple):
    """A spike of an alert, made again; `replay` None: its score was not asked for."""

    spike: Spike
    recount: Recount
    replay: Replay | None

    @property
    def differences(self) -> list[Difference]:
        """What differs, each thing once: the score's comparison repeats that of the counts."""
        found = [*self.recount.differences, *(self.replay.differences if self.replay else ())]
        return list({(one.what, str(one.recomputed)): one for one in found}.values())

    @property
    def why(self) -> list[str]:
        return [*self.recount.why, *(self.replay.why if self.replay else ())]


class _Verified(NamedTuple):
    row: AlertRow
    spikes: list[_Checked]

    @property
    def is_equal(self) -> bool:
        return not any(one.differences for one in self.spikes)


def verify(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Their ids, or the start of them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every alert that is stored.")] = False,
    with_replay: Annotated[
        bool,
        typer.Option(
            "--replay/--no-replay",
            help="Let a new detector learn from all stored articles up to then, and compare expectation, score and"
            " threshold too; without it the stories alone are counted.",
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Make alerts again from the tables: says equal, or what differs; exits 1 where something does."""
    if bool(ids) == every:
        raise ConfigError("command line", [Mistake("ID", "expected ids of alerts, or --all")])
    settings = load_settings(context)

    async def ask(store: Store) -> list[_Verified]:
        if every:
            rows = await store.alerts.latest(limit=_ALL)
        else:
            given = [(one, await store.alerts.get(one)) for one in ids or ()]
            found = [the_one("alert", "monitor alerts", one, rows, lambda row: row.alert.id) for one, rows in given]
            rows = list({row.alert.id: row for row in found}.values())
        return await _verify(store, settings, rows, with_replay=with_replay)

    verified = with_store(context, ask)
    if as_json:
        print_json([_document(one) for one in verified])
    else:
        _print(verified)
    if not all(one.is_equal for one in verified):
        raise typer.Exit(1)


async def _verify(store: Store, settings: Settings, rows: Sequence[AlertRow], *, with_replay: bool) -> list[_Verified]:
    """All of them by learning once."""
    spikes = [spike for row in rows for spike in row.alert.spikes]
    counted: list[Recount] = []
    with learning_bar(len(spikes), "counting again") as progress:
        for spike in spikes:
            counted.append(await recount(store, spike, negative_from=settings.detect.negative_from))
            progress(len(counted))
    again: list[Replay] | list[None] = [None] * len(spikes)
    if with_replay and spikes:
        stated = [(spike, one.counted.upto) for spike, one in zip(spikes, counted, strict=True)]
        watch = await asyncio.to_thread(application.build_watch, settings)
        with learning_bar(max(upto for _, upto in stated)) as progress:
            again = await replay_all(store, stated, watch, progress=progress)
    checked = (_Checked(*one) for one in zip(spikes, counted, again, strict=True))
    return [_Verified(row, [next(checked) for _ in row.alert.spikes]) for row in rows]


def _document(verified: _Verified) -> dict[str, Any]:
    return {
        "id": verified.row.alert.id,
        "key": verified.row.alert.key,
        "equal": verified.is_equal,
        "spikes": [
            {
                "id": one.spike.id,
                "key": one.spike.key,
                "equal": not one.differences,
                "score_compared": one.replay is not None,
                "differences": [difference._asdict() for difference in one.differences],
                "why": one.why,
            }
            for one in verified.spikes
        ],
    }


def _print(verified: Sequence[_Verified]) -> None:
    if not verified:
        console.print("Alerts: none")
        return
    for one in verified:
        alert = one.row.alert
        count = f"{len(one.spikes)} spike{'' if len(one.spikes) == 1 else 's'}"
        outcome = "equal" if one.is_equal else "not equal"
        console.print(f"{alert.id[:8]} {keys(alert)}, {count}: {outcome}", markup=False, highlight=False)
        for spike in one.spikes:
            if spike.differences:
                print_differences(f"Spike {spike.spike.id[:8]}", spike.differences, spike.why)
    if len(verified) > 1:
        equal = sum(one.is_equal for one in verified)
        console.print(f"{equal} of {len(verified)} alerts are equal.", highlight=False)
