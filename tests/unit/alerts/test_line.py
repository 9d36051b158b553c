"""The stages behind the tables, on a clock that is set: what a killed process left goes as it would have gone."""

import asyncio
import contextlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

from alerts.dispatch import Dispatch
from monitor.clock import ManualClock
from monitor.line import Line
from monitor.settings import Settings
from monitor.stage import Stage
from monitor.storage.store import Store
from pipelines.detect.stage import Detect
from tests.chain import Chain
from tests.factories import NOW


class _Calm:
    """Stands for detect and for the stage before dispatch: nothing new comes."""

    published = 0

    async def tick(self, moment: datetime, *, complete: bool) -> None:
        assert complete
        assert moment >= NOW

    async def catch_up(self) -> None:
        pass

    async def keep(self) -> None:
        pass


def _line(dispatch: Dispatch, store: Store, clock: ManualClock, folder: Path) -> Line:
    settings = Settings.model_validate({"data_dir": folder})
    detect, alerts = cast("Detect", _Calm()), cast("Stage", _Calm())
    return Line(detect, alerts, dispatch, store=store, clock=clock, settings=settings)


async def test_a_message_that_a_killed_process_made_and_did_not_send_goes_at_the_same_time(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    chain = Chain(store, clock)
    await chain.fire()
    chain.desk.gate = asyncio.Event()
    killed = asyncio.create_task(_line(chain.dispatch, store, clock, tmp_path).finish())
    await chain.desk.reached.wait()
    killed.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await killed
    (left,) = await store.deliveries.latest(limit=9)
    assert (left.state, left.attempts) == ("pending", 0)

    clock.set(NOW)  # the archive begins again
    chain.desk.gate = None
    chain.restart()
    await _line(chain.dispatch, store, clock, tmp_path).finish()
    (sent,) = await store.deliveries.latest(limit=9)
    assert (sent.state, sent.attempts) == ("delivered", 1)
    assert sent.delivered_at == sent.notification.created_at > NOW + timedelta(seconds=30)
    assert len(chain.desk.accepted) == 1
