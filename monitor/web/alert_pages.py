"""The pages that links in messages lead to: an alert, and the buttons that acknowledge or silence it.

Who holds a link may use it; there is nothing else to prove. Programs that scan mail follow links, so GET and HEAD only
show. Another site cannot make a browser act here: it would have to know the link.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from alerts import words
from alerts.cleaning import clean
from alerts.labels import Labels
from alerts.links import Links, Opened
from monitor.clock import Clock
from monitor.domain.matchers import Matcher, all_match
from monitor.domain.windows import Key
from monitor.errors import StoreError
from monitor.stage import Vital
from monitor.storage.alerts import AlertRow
from monitor.storage.silences import Silence
from monitor.storage.store import Store
from monitor.web.answers import page, told
from monitor.web.view import MAX_COMMENT, alert_view

log = structlog.get_logger(__name__)

DURATIONS = {
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
}
_DURATION_NAMES = {"1h": "1 hour", "4h": "4 hours", "1d": "1 day", "1w": "1 week"}

MAX_BODY_BYTES = 16_384
ANSWER_S = 10.0
_MAX_FIELDS = 10
_RETRY_AFTER = {"Retry-After": "10"}
# A second press of a button comes within this, or is meant.
_SAME_PRESS = timedelta(minutes=5)
_TRY_AGAIN = "Open the link again in a minute; nothing is done twice."


class AlertPages:
    """Answers `/alerts/{token}`.

    `labels` are those that silences match. `answer_s`: after so many seconds the browser is told to come again.
    """

    def __init__(
        self, store: Store, links: Links, labels: Labels, clock: Clock, vital: Vital, *, answer_s: float = ANSWER_S
    ) -> None:
        self._store = store
        self._links = links
        self._labels = labels
        self._clock = clock
        self._vital = vital
        self._answer_s = answer_s
        self._late: set[asyncio.Task[Response]] = set()

    def reload(self, links: Links, labels: Labels) -> None:
        """From now on these hold."""
        self._links, self._labels = links, labels

    async def answer(self, request: Request) -> Response:
        """GET and HEAD show, and change nothing; POST does what the link is for."""
        if request.method != "POST":
            return await self._opened(request, self._show)
        try:
            async with asyncio.timeout(self._answer_s):
                form = await _form(request)
        except TimeoutError:
            return told(408, "The form took too long to arrive.", "Try again.")
        except ClientDisconnect:
            return told(400, "The form did not arrive whole.", "Try again.")
        if form is None:
            return told(
                413, f"The form is too large: at most {MAX_BODY_BYTES} bytes are taken.", "Shorten the comment."
            )

        async def act(opened: Opened, now: datetime) -> Response:
            match opened.action:
                case "acknowledge":
                    return await self._acknowledge(opened, now)
                case "silence":
                    return await self._silence(opened, form, now)
                case "page":
                    log.info("link_refused", why="it shows, and does nothing", alert=opened.alert_id)
                    return told(403, "This link only shows the alert.", _instead(opened.alert_id))

        return await self._opened(request, act)

    async def _opened(
        self, request: Request, answer: Callable[[Opened, datetime], Coroutine[Any, Any, Response]]
    ) -> Response:
        now = self._clock.now()
        try:
            opened = self._links.open(request.path_params["token"], now)
        except ValueError as error:
            log.info("link_refused", why=str(error))
            why = str(error)
            return told(403, f"{why[0].upper()}{why[1:]}.", _instead("ID"))
        log.info("link_used", action=opened.action, alert=opened.alert_id, method=request.method)
        return await self._in_time(answer(opened, now), opened)

    async def _in_time(self, work: Coroutine[Any, Any, Response], opened: Opened) -> Response:
        """The answer; or that it takes too long, while a write that has begun goes on to its end."""
        task = asyncio.create_task(work, name=f"page {opened.action}")
        self._late.add(task)
        task.add_done_callback(self._forget)
        with self._vital.step():
            await asyncio.wait([task], timeout=self._answer_s)
        if not task.done():
            task.cancel()
            self._vital.set("ok", f"no page: the database did not answer in {self._answer_s:g} s")
            log.warning("page_late", action=opened.action, alert=opened.alert_id, limit_s=self._answer_s)
            return told(503, "The database does not answer in time.", _TRY_AGAIN, headers=_RETRY_AFTER)
        try:
            response = task.result()
        except StoreError as error:
            self._vital.set("ok", f"no page: {error}")
            log.warning("page_without_database", action=opened.action, alert=opened.alert_id, error=str(error))
            return told(503, "The database cannot be reached.", _TRY_AGAIN, headers=_RETRY_AFTER)
        except Exception:  # the page is at fault, and not the daemon's other parts
            log.exception("page_failed", action=opened.action, alert=opened.alert_id)
            return told(500, "This page has failed.", f"The monitor's log says why. {_instead(opened.alert_id)}")
        self._vital.set("ok")
        return response

    def _forget(self, task: asyncio.Task[Response]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: of what is late nobody else hears

    async def _show(self, opened: Opened, now: datetime) -> Response:
        row = await self._find(opened)
        return _gone(opened) if row is None else await self._page(opened, row, now)

    async def _acknowledge(self, opened: Opened, now: datetime) -> Response:
        row = await self._find(opened)
        if row is None:
            return _gone(opened)
        if row.acked_at is not None:
            return await self._page(opened, row, now, done="It was acknowledged already.")
        if row.closed_at is None and await self._store.alerts.acknowledge(opened.alert_id, opened.recipient, "", now):
            log.info("alert_acknowledged", alert=opened.alert_id)
            row = await self._find(opened) or row
            return await self._page(opened, row, now, done="Acknowledged: it is not repeated any more.")
        row = await self._find(opened) or row
        return await self._page(opened, row, now, status=409, done="It is over: there is nothing to acknowledge.")

    async def _silence(self, opened: Opened, form: Mapping[str, str], now: datetime) -> Response:
        row = await self._find(opened)
        if row is None:
            return _gone(opened)
        length = DURATIONS.get(form.get("for", ""))
        if length is None:
            expected = f"Expected one of: {', '.join(DURATIONS)}."
            return told(400, "The form does not say for how long to silence.", expected)
        comment = clean(form.get("comment", ""), MAX_COMMENT) or "by the link in a message"
        # Of one minute, two presses of the button make one silence, whichever copy of this program they reach.
        starts_at = now.replace(second=0, microsecond=0)
        wanted = Silence("", _matchers(row.alert.key), starts_at, starts_at + length, opened.recipient, comment, now)
        silence = await self._longest(wanted, now)
        is_new = silence is None or wanted.ends_at > silence.ends_at + _SAME_PRESS
        if silence is None or is_new:
            added = await self._store.silences.add(
                wanted.matchers, wanted.starts_at, wanted.ends_at, author=wanted.author, comment=comment, now=now
            )
            log.info("alert_silenced", alert=opened.alert_id, silence=added.id, until=added.ends_at.isoformat())
            silence = await self._longest(wanted, now, alone=True) or added
        what = " and ".join(str(matcher) for matcher in silence.matchers)
        done = (
            f"Silenced{'' if is_new else ' already'} until {words.minute(silence.ends_at)}: all alerts with {what}."
            f" To end it sooner: monitor silences expire {silence.id}"
        )
        return await self._page(opened, row, now, done=done)

    async def _longest(self, wanted: Silence, now: datetime, *, alone: bool = False) -> Silence | None:
        """The silence that holds the longest of those of the same alerts by the same author.

        `alone`: the others end. Whoever holds a link can press its button any number of times, with any comments; of
        presses at the same moment, in whichever copies of this program, all choose the same one to stay.
        """
        held = [one for one in await self._store.silences.active(now) if _is_same(one, wanted)]
        longest = max(held, key=lambda one: (one.ends_at, one.id), default=None)
        for one in held if alone else ():
            if one is not longest:
                await self._store.silences.expire(one.id, now)
        return longest

    async def _find(self, opened: Opened) -> AlertRow | None:
        found = await self._store.alerts.get(opened.alert_id)
        return next((row for row in found if row.alert.id == opened.alert_id), None)

    async def _page(
        self, opened: Opened, row: AlertRow, now: datetime, *, status: int = 200, done: str | None = None
    ) -> Response:
        labels = self._labels.of(row.alert.key, row.alert.severity)
        silences = [one for one in await self._store.silences.active(now) if all_match(one.matchers, labels)]
        return page(
            "alert",
            status,
            alert=alert_view(row, labels, silences, now),
            done=done,
            may_acknowledge=opened.action == "acknowledge" and row.acked_at is None and row.closed_at is None,
            may_silence=opened.action == "silence" and done is None,
            recipient=clean(opened.recipient, 80),
            durations=_DURATION_NAMES,
            max_comment=MAX_COMMENT,
        )


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a form, the first of each name; None if it is too large.

    Raises: ClientDisconnect.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), errors="replace", max_num_fields=_MAX_FIELDS)
    except ValueError:  # more fields than any form of ours has
        return {}
    return {name: values[0] for name, values in fields.items()}


def _matchers(key: Key) -> tuple[Matcher, ...]:
    return Matcher("kind", "=", key.kind), Matcher("key", "=", key.name)


def _is_same(silence: Silence, wanted: Silence) -> bool:
    """Whether both are of the same alerts and by the same author, whatever they say and however long they last."""
    return silence.author == wanted.author and set(silence.matchers) == set(wanted.matchers)


def _gone(opened: Opened) -> Response:
    return told(404, "This alert is not stored any more.", f"Its id: {opened.alert_id}. See: monitor alerts list")


def _instead(alert_id: str) -> str:
    return (
        f"On the machine of the monitor: monitor alerts list, monitor alerts show {alert_id},"
        f" monitor alerts ack {alert_id}, monitor silences add."
    )
