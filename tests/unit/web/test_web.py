"""Links in messages lead to pages that show an alert, and act only at the press of their button."""

import asyncio
import contextlib
import errno
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from alerts.labels import Labels
from alerts.links import Links
from monitor.alert_settings import AlertSettings
from monitor.clock import ManualClock
from monitor.domain.matchers import Matcher, all_match
from monitor.domain.spikes import Severity
from monitor.domain.windows import Key
from monitor.errors import ConfigError, Reason, StoreError
from monitor.settings import Settings, of
from monitor.stage import Vital
from monitor.storage.alerts import LIVE
from monitor.storage.store import Store
from monitor.web.alert_pages import MAX_BODY_BYTES, AlertPages
from monitor.web.build import build_web, require_links
from monitor.web.server import Web, listen
from monitor.web.site import site
from monitor.web_settings import WebSettings
from tests.factories import NOW, make_spike, make_story_evidence

BASE = "https://monitor.example.org/news"
SECRET = "a-secret-of-at-least-32-characters"
LINKS = Links(BASE, SECRET, days=7)
TO = "desk@example.org"
HOUR = timedelta(hours=1)


class Stand:
    """The site with a browser before it, and one alert in the tables."""

    def __init__(self, store: Store, clock: ManualClock, alert_id: str, labels: Labels, answer_s: float) -> None:
        self.store = store
        self.clock = clock
        self.alert_id = alert_id
        self.vital = Vital(clock)
        self.pages = AlertPages(store, LINKS, labels, clock, self.vital, answer_s=answer_s)
        transport = httpx.ASGITransport(site(self.pages))
        self.browser = httpx.AsyncClient(transport=transport, base_url="https://monitor.example.org")

    def link(self, action: str, *, alert_id: str | None = None) -> str:
        made: str = getattr(LINKS, action)(alert_id or self.alert_id, TO, NOW)
        return made

    async def get(self, action: str) -> httpx.Response:
        return await self.browser.get(self.link(action))

    async def post(self, action: str, **form: str) -> httpx.Response:
        return await self.browser.post(self.link(action), data=form)

    async def state(self) -> Any:
        """All that a page could change."""
        return (await self.store.alerts.get(self.alert_id)), (await self.store.silences.all())


@asynccontextmanager
async def standing(store: Store, clock: ManualClock, *, answer_s: float = 10, **spike: Any) -> AsyncIterator[Stand]:
    alert_id, _ = await store.alerts.take(make_spike(**spike), LIVE, HOUR)
    stand = Stand(store, clock, alert_id, Labels(AlertSettings()), answer_s)
    async with stand.browser:
        yield stand


@pytest.fixture
async def stand(store: Store, clock: ManualClock) -> AsyncIterator[Stand]:
    async with standing(store, clock) as made:
        yield made


async def test_the_page_says_what_happened_what_it_rests_on_and_how_it_stands(stand: Stand) -> None:
    page = await stand.get("page")
    assert page.status_code == 200
    assert "Financials: 14 negative stories of 18 from 9 sources in 30 min; 2.1 expected" in page.text
    assert '<a href="https://news.example.com/bank-halts-withdrawals"' in page.text
    assert page.text.count("<li>") == 3
    assert "Firing since 2026-03-04 11:00 UTC" in page.text
    assert "Acknowledged" not in page.text
    assert "<form" not in page.text


async def test_each_link_has_its_own_button_alone(stand: Stand) -> None:
    acknowledge, silence = (await stand.get("acknowledge")).text, (await stand.get("silence")).text
    assert re.findall(r"<button[^>]*>(.*?)</button>", acknowledge) == ["Acknowledge"]
    assert re.findall(r"<button[^>]*>(.*?)</button>", silence) == ["Silence"]
    assert re.findall(r'name="for" value="(\w+)"', silence) == ["1h", "4h", "1d", "1w"]
    assert re.findall(r"<form[^>]*>", acknowledge + silence) == ['<form method="post">'] * 2


async def test_a_scanner_that_follows_links_changes_nothing(stand: Stand) -> None:
    before = await stand.state()
    for method in ("GET", "HEAD"):
        for action in ("page", "acknowledge", "silence"):
            assert (await stand.browser.request(method, stand.link(action) + "?for=1h")).status_code == 200
    assert await stand.state() == before


async def test_the_button_acknowledges_for_whom_the_link_was_sent_to(stand: Stand) -> None:
    page = await stand.post("acknowledge")
    assert page.status_code == 200
    assert "Acknowledged: it is not repeated any more." in page.text
    assert f"Acknowledged by <bdi>{TO}</bdi>, 2026-03-04 11:00 UTC" in page.text
    (row,) = await stand.store.alerts.get(stand.alert_id)
    assert (row.acked_at, row.acked_by) == (NOW, TO)


async def test_acknowledged_twice_it_keeps_the_first_time(stand: Stand) -> None:
    await stand.post("acknowledge")
    before = await stand.state()
    await stand.clock.advance(3600)
    page = await stand.post("acknowledge")
    assert page.status_code == 200
    assert "acknowledged already" in page.text
    assert "<button" not in page.text
    assert await stand.state() == before


async def test_what_is_over_is_not_acknowledged(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    async def closed(*_: object) -> bool:
        return False  # as the tables answer once it is closed

    monkeypatch.setattr(stand.store.alerts, "acknowledge", closed)
    page = await stand.post("acknowledge")
    assert page.status_code == 409
    assert "nothing to acknowledge" in page.text


async def test_a_resolved_alert_says_so(store: Store, clock: ManualClock) -> None:
    over: dict[str, Any] = {"state": "resolved", "resolved_at": NOW + timedelta(minutes=50)}
    async with standing(store, clock, **over) as stand:
        page = await stand.get("page")
    assert "Over since 2026-03-04 11:50 UTC; it began at 2026-03-04 11:00 UTC and lasted 50 min." in page.text
    assert '<span class="tag resolved">resolved</span>' in page.text


async def test_the_form_silences_alerts_of_the_key_and_no_others(stand: Stand) -> None:
    page = await stand.post("silence", **{"for": "4h", "comment": "known\r\n  story"})
    assert page.status_code == 200
    (silence,) = await stand.store.silences.active(NOW)
    assert (silence.ends_at, silence.author, silence.comment) == (NOW + 4 * HOUR, TO, "known story")
    labels = Labels(AlertSettings())
    same, other = Key("topic", "Financials"), Key("entity", "Financials")
    assert all_match(silence.matchers, labels.of(same, Severity.CRITICAL))
    assert not all_match(silence.matchers, labels.of(other, Severity.CRITICAL))
    assert silence.id in page.text
    assert f"by <bdi>{TO}</bdi>: <bdi>known story</bdi>" in page.text
    assert "Silenced until" in (await stand.get("page")).text


async def test_it_lasts_as_long_as_was_chosen(stand: Stand) -> None:
    for given, hours in {"1h": 1, "4h": 4, "1d": 24, "1w": 168}.items():
        assert (await stand.post("silence", **{"for": given})).status_code == 200
        # The longer one takes the place of the one before.
        assert [one.ends_at - NOW for one in await stand.store.silences.active(NOW)] == [hours * HOUR]


async def test_one_link_holds_one_silence_whatever_it_is_sent(stand: Stand) -> None:
    for turn in range(3):
        for given in ("1h", "4h"):
            presses = (stand.post("silence", **{"for": given, "comment": f"{turn} {n}"}) for n in range(10))
            assert {page.status_code for page in await asyncio.gather(*presses)} == {200}
        now = stand.clock.now()
        (silence,) = await stand.store.silences.active(now)
        assert silence.ends_at == NOW + 4 * HOUR
        await stand.clock.advance(60)
    assert "Silenced already until 2026-03-04 15:00 UTC" in (await stand.post("silence", **{"for": "1h"})).text
    assert len(await stand.store.silences.all()) <= 20  # those of the first presses at once, and no later ones


async def test_silences_of_others_and_of_other_alerts_stay(stand: Stand) -> None:
    matchers = (Matcher("kind", "=", "topic"), Matcher("key", "=", "Financials"))
    add = stand.store.silences.add
    theirs = await add(matchers, NOW, NOW + HOUR, author="somebody else", comment="", now=NOW)
    wider = await add(matchers[:1], NOW, NOW + HOUR, author=TO, comment="", now=NOW)
    await stand.post("silence", **{"for": "4h"})
    active = await stand.store.silences.active(NOW)
    assert len(active) == 3
    assert {theirs.id, wider.id} < {one.id for one in active}


async def test_pressed_twice_it_is_one_silence(stand: Stand) -> None:
    form = {"for": "4h", "comment": "known"}
    presses = await asyncio.gather(*(stand.post("silence", **form) for _ in range(3)))
    assert {page.status_code for page in presses} == {200}
    await stand.clock.advance(100)  # and in another minute
    assert (await stand.post("silence", **form)).status_code == 200
    assert len(await stand.store.silences.all()) == 1


async def test_asked_again_later_it_lasts_longer(stand: Stand) -> None:
    await stand.post("silence", **{"for": "1h"})
    await stand.clock.advance(1800)
    await stand.post("silence", **{"for": "1h"})
    assert max(one.ends_at for one in await stand.store.silences.all()) == NOW + 1.5 * HOUR


async def test_a_form_without_a_duration_is_refused(stand: Stand) -> None:
    forms: list[dict[str, str]] = [{}, {"for": ""}, {"for": "9y"}, {"comment": "x"}, {str(n): "x" for n in range(50)}]
    for form in forms:
        page = await stand.post("silence", **form)
        assert page.status_code == 400
        assert "1h, 4h, 1d, 1w" in page.text
    assert await stand.store.silences.all() == []


async def test_a_link_to_the_page_does_not_act(stand: Stand) -> None:
    before = await stand.state()
    page = await stand.post("page", **{"for": "1h"})
    assert page.status_code == 403
    assert "only shows the alert" in page.text
    assert f"monitor alerts ack {stand.alert_id}" in page.text
    assert await stand.state() == before


async def test_a_link_acts_as_what_it_was_made_for(stand: Stand) -> None:
    await stand.post("acknowledge", **{"for": "1w"})
    assert await stand.store.silences.all() == []


async def test_an_expired_link_says_so_and_what_to_do(stand: Stand) -> None:
    before = await stand.state()
    await stand.clock.advance(7 * 86_400)
    for method in ("GET", "POST"):
        page = await stand.browser.request(method, stand.link("acknowledge"))
        assert page.status_code == 403
        assert "The link has expired" in page.text
        assert "2026-03-11 11:00 UTC" in page.text
        assert "monitor alerts ack" in page.text
    assert await stand.state() == before


async def test_a_forged_link_is_refused(stand: Stand) -> None:
    before = await stand.state()
    forged = Links(BASE, "another-secret-of-32-characters!!", days=7).acknowledge(stand.alert_id, TO, NOW)
    for url in (forged, f"{BASE}/alerts/x", f"{BASE}/alerts/%00%ff", stand.link("acknowledge")[:-3]):
        for method in ("GET", "POST"):
            page = await stand.browser.request(method, url)
            assert page.status_code == 403
            assert "was not made by this monitor" in page.text
    assert await stand.state() == before


async def test_an_alert_that_is_gone_says_so(stand: Stand) -> None:
    for begin in ("nothing", stand.alert_id[:8]):
        for action in ("page", "acknowledge", "silence"):
            page = await stand.browser.post(stand.link(action, alert_id=begin), data={"for": "1h"})
            assert page.status_code == (403 if action == "page" else 404)
    assert (await stand.browser.get(stand.link("page", alert_id="nothing"))).status_code == 404


async def test_there_is_nothing_else(stand: Stand) -> None:
    for path in ("/", "/alerts", "/alerts/", "/alerts/a/b", "/healthz/", "/docs", "/static/x.css"):
        assert (await stand.browser.get(path)).status_code == 404


async def test_other_methods_are_refused(stand: Stand) -> None:
    before = await stand.state()
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        page = await stand.browser.request(method, stand.link("acknowledge"))
        assert page.status_code == 405
        assert set(page.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    assert await stand.state() == before


async def test_it_is_healthy(stand: Stand) -> None:
    page = await stand.browser.get("/healthz")
    assert (page.status_code, page.text) == (200, "ok")


async def test_links_work_behind_a_proxy_that_cuts_their_path_off(stand: Stand) -> None:
    assert stand.link("page").startswith(f"{BASE}/alerts/")
    assert (await stand.browser.get(stand.link("page").replace("/news", ""))).status_code == 200


async def test_no_answer_runs_fetches_or_is_kept(stand: Stand) -> None:
    urls = [stand.link("page"), stand.link("silence"), f"{BASE}/alerts/x", "/nowhere", "/healthz"]
    for page in [await stand.browser.get(url) for url in urls] + [await stand.post("acknowledge")]:
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["cache-control"] == "no-store"
        assert "noindex" in page.headers["x-robots-tag"]
        assert "set-cookie" not in page.headers
        assert not re.search(r"<script|<img|<link|<iframe|style=|@import|url\(", page.text)


async def test_hostile_text_is_inert(store: Store, clock: ManualClock) -> None:
    bad = "<script>alert(1)</script>\"'{{ 7*7 }}\r\nX: y\u202egnp.exe\x00\ud800"
    story = make_story_evidence(title=bad, source=bad, url="javascript:alert(1)", story_id="s", article_id="a")
    long = make_story_evidence(title="x" * 1_000_000, story_id="t", article_id="b")
    async with standing(store, clock, key=Key("entity", "<b>{{ 7*7 }}</b>"), stories=(story, long)) as stand:
        await stand.post("silence", **{"for": "1h", "comment": "</bdi><script>alert(2)</script>\u202e"})
        page = await stand.get("silence")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "javascript:" not in page.text
    assert "49" not in re.sub(r"<style>.*?</style>", "", page.text, flags=re.DOTALL)
    assert "\u202e" not in page.text
    assert "&lt;b&gt;{{ 7*7 }}&lt;/b&gt;" in page.text
    assert len(page.content) < 20_000


async def test_a_large_form_is_refused(stand: Stand) -> None:
    for length in (MAX_BODY_BYTES + 1, 5_000_000):
        page = await stand.post("silence", **{"for": "1h", "comment": "x" * length})
        assert page.status_code == 413
    assert await stand.store.silences.all() == []


async def test_a_comment_of_the_longest_kind_is_taken(stand: Stand) -> None:
    page = await stand.post("silence", **{"for": "1h", "comment": "\U0001f4c9" * 500})
    assert page.status_code == 200
    assert [len(one.comment) for one in await stand.store.silences.all()] == [500]


async def test_without_the_database_it_says_come_again(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dead(*_: object) -> None:
        raise StoreError(Reason.UNREACHABLE, "no route to the database")

    with monkeypatch.context() as broken:
        broken.setattr(stand.store.alerts, "get", dead)
        for page in (await stand.get("page"), await stand.post("acknowledge"), await stand.post("silence")):
            assert page.status_code == 503
            assert page.headers["retry-after"] == "10"
            assert "no route" not in page.text
        assert stand.vital.detail is not None
        assert "no route to the database" in stand.vital.detail
    assert (await stand.get("page")).status_code == 200
    assert stand.vital.detail is None


async def test_a_slow_database_is_not_waited_for(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(*_: object) -> None:
        await asyncio.Event().wait()

    async with standing(store, clock, answer_s=0.01) as stand:
        monkeypatch.setattr(store.alerts, "get", slow)
        page = await stand.get("page")
    assert page.status_code == 503
    assert "does not answer in time" in page.text
    assert stand.vital.busy_s() == 0


async def test_a_mistake_of_ours_is_one_page_and_a_line_in_the_log(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(stand.store.alerts, "get", wrong)
    with capture_logs() as logged:
        page = await stand.get("page")
    assert page.status_code == 500
    assert [line["event"] for line in logged] == ["link_used", "page_failed"]


async def test_the_log_tells_what_was_done_and_never_the_link(stand: Stand) -> None:
    with capture_logs() as logged:
        await stand.get("acknowledge")
        await stand.post("acknowledge")
        await stand.post("silence", **{"for": "1h"})
        await stand.browser.get(f"{BASE}/alerts/forged-token")
    events = [line["event"] for line in logged]
    assert events == ["link_used"] * 2 + ["alert_acknowledged", "link_used", "alert_silenced", "link_refused"]
    assert all(line["alert"] == stand.alert_id for line in logged[:-1])
    secrets = [stand.link(action).rpartition("/")[2] for action in ("acknowledge", "silence")]
    assert not any(secret in str(logged) for secret in [*secrets, "forged-token"])


async def test_it_follows_the_settings(stand: Stand) -> None:
    old, new = stand.link("page"), Links(BASE, "another-secret-of-32-characters!!", days=7)
    stand.pages.reload(new, Labels(AlertSettings()))
    assert (await stand.browser.get(old)).status_code == 403
    assert (await stand.browser.get(new.page(stand.alert_id, TO, NOW))).status_code == 200


@asynccontextmanager
async def serving(stand: Stand, *, request_s: float = 10) -> AsyncIterator[tuple[Web, str, asyncio.Task[None]]]:
    """The site on a socket of loopback."""
    listening = listen(WebSettings.model_construct(host="127.0.0.1", port=0))
    port = listening.getsockname()[1]
    web = Web(site(stand.pages), listening, stand.vital, request_s=request_s)
    task = asyncio.create_task(web.run())
    try:
        yield web, f"http://127.0.0.1:{port}", task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_it_serves_until_drained(stand: Stand) -> None:
    async with serving(stand) as (web, base, task), httpx.AsyncClient(base_url=base) as browser:
        path = stand.link("page").removeprefix("https://monitor.example.org")
        assert (await browser.get("/healthz")).text == "ok"
        page = await browser.get(path)
        assert "14 negative stories" in page.text
        assert "server" not in page.headers
        assert (await browser.head(path)).content == b""
        async with asyncio.timeout(30):  # with a connection kept open
            await web.drain()
            await web.drain()
            await task
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient(base_url=base).get("/healthz")


async def test_a_page_under_way_is_finished_when_drained(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer, get = asyncio.Event(), asyncio.Event(), stand.store.alerts.get

    async def held(alert_id: str) -> Any:
        asked.set()
        await answer.wait()
        return await get(alert_id)

    monkeypatch.setattr(stand.store.alerts, "get", held)
    async with serving(stand) as (web, base, _), httpx.AsyncClient(base_url=base) as browser:
        path = stand.link("acknowledge").removeprefix("https://monitor.example.org")
        page = asyncio.create_task(browser.post(path))
        await asked.wait()
        drained = asyncio.create_task(web.drain())
        await asyncio.sleep(0)
        answer.set()
        assert (await page).status_code == 200
        async with asyncio.timeout(30):
            await drained
    (row,) = await get(stand.alert_id)
    assert row.acked_by == TO


BEGUN = {
    "nothing": b"",
    "part of the head": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-More: ",
    "part of a form": b"POST /alerts/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nfor=",
    "a request, then part of one": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\n",
}


@pytest.mark.parametrize("begun", BEGUN.values(), ids=BEGUN)
async def test_half_a_request_is_not_waited_for(stand: Stand, begun: bytes) -> None:
    async with serving(stand, request_s=0.05) as (_, base, _), asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(base).port)
        writer.write(begun)
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_sender_of_half_requests_holds_nobody_out_for_long(stand: Stand) -> None:
    async with serving(stand, request_s=0.2) as (_, base, _), asyncio.timeout(20):
        held = [await asyncio.open_connection("127.0.0.1", httpx.URL(base).port) for _ in range(101)]
        for _, writer in held:
            writer.write(BEGUN["part of the head"])
        async with httpx.AsyncClient(base_url=base) as browser:
            for reader, writer in held:
                with contextlib.suppress(ConnectionResetError):
                    await reader.read()
                writer.close()
            assert (await browser.get("/healthz")).status_code == 200


async def test_a_whole_request_has_all_the_time_for_its_answer(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    get = stand.store.alerts.get

    async def slow(alert_id: str) -> Any:
        await asyncio.sleep(0.2)  # longer than a request may take to come
        return await get(alert_id)

    monkeypatch.setattr(stand.store.alerts, "get", slow)
    async with serving(stand, request_s=0.05) as (_, base, _), httpx.AsyncClient(base_url=base) as browser:
        path = stand.link("acknowledge").removeprefix("https://monitor.example.org")
        assert (await browser.post(path)).status_code == 200


async def test_cancelled_it_listens_no_more(stand: Stand) -> None:
    async with serving(stand) as (_, base, task), httpx.AsyncClient(base_url=base) as browser:
        assert (await browser.get("/healthz")).text == "ok"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(httpx.TransportError):
            await browser.get("/healthz")


async def test_drained_before_it_runs_it_ends_at_once(stand: Stand) -> None:
    web = Web(site(stand.pages), listen(WebSettings.model_construct(host="127.0.0.1", port=0)), stand.vital)
    async with asyncio.timeout(30):
        await web.drain()
        await web.run()


async def test_signals_stay_with_the_daemon(stand: Stand) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with serving(stand) as (_, base, _), httpx.AsyncClient(base_url=base) as browser:
        assert (await browser.get("/healthz")).text == "ok"
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def settings_with(**given: Any) -> Settings:
    alerts = {"base_url": BASE, "link_secret": SECRET}
    return of({"classifier": {"kind": "lexicon"}, "alerts": alerts, **given})


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            listen(WebSettings(port=port))
    (mistake,) = caught.value.mistakes
    assert mistake.key == "web.port"
    assert f"127.0.0.1 port {port}: " in mistake.expected
    assert "another process listens there" in mistake.expected


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "2001:db8::1"])
def test_an_address_of_another_machine_is_named(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        listen(WebSettings(host=host))
    assert [mistake.key for mistake in caught.value.mistakes] == ["web.host"]


def test_a_port_for_the_superuser_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(ConfigError, match=r"web\.port: 127\.0\.0\.1 port 80: Permission denied; expected a port"):
        listen(WebSettings(port=80))


@pytest.mark.parametrize("alerts", [{}, {"link_secret": SECRET}])
def test_without_links_it_does_not_start(alerts: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        require_links(settings_with(alerts=alerts))
    missing = [f"alerts.{name}" for name in ("base_url", "link_secret") if name not in alerts]
    assert [mistake.key for mistake in caught.value.mistakes] == missing


async def test_built_it_listens_and_is_closed_with_its_block(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr("monitor.web.build.listen", lambda _: listening)
    with build_web(settings_with(), store, clock) as web:
        assert web.name == "web"
        with pytest.raises(ConfigError, match=r"alerts\.base_url"):
            web.prepare(settings_with(alerts={}))
        web.prepare(settings_with())()
    assert listening.fileno() == -1
