"""Realistic messages, made up: for the pictures in docs/img, the examples in docs/schema, and tests."""

from datetime import timedelta
from typing import Any

from alerts.links import Links
from monitor.domain.alerts import Alert, Digest, DigestEntry, Event, History, Notification, Verdict, WatchedKey
from monitor.domain.spikes import Severity, StoryEvidence
from monitor.domain.windows import ALL, Key
from tests.factories import NOW, make_alert, make_notification, make_spike, make_story_evidence

LINKS = Links("https://monitor.example.org", "an-example-secret-of-32-characters", days=7)
BANK, LENDER, FINANCIALS = (
    Key("entity", "Harbour Trust Bank"),
    Key("entity", "Quay Lending"),
    Key("topic", "Financials"),
)

_TITLES = [
    ("Harbour Trust Bank halts withdrawals after run on deposits", "Example Wire", 9, 7),
    ("Regulator opens inquiry into Harbour Trust Bank's liquidity", "Market Courier", 6, 5),
    ("Rating agency cuts Harbour Trust Bank to junk", "Ledger Daily", 5, 5),
    ("Shares in regional lenders slide as depositors move cash", "Example Wire", 4, 3),
    ("Quay Lending says its exposure to Harbour Trust is limited", "The Evening Ticker", 2, 2),
    ("Payroll firms report delayed payments through Harbour Trust", "Market Courier", 1, 1),
    ("Central bank is ready to lend, its governor says", "Northern Business", 1, 1),
]


def stories() -> tuple[StoryEvidence, ...]:
    return tuple(
        make_story_evidence(
            title=title, source=source, articles=articles, sources=sources,
            url=f"https://news.example.com/{place}",
            probability=0.97 - 0.03 * place,
            published_at=NOW - timedelta(minutes=28 - 4 * place),
            topic="Financials" if place < 5 else "Macro",
        )
        for place, (title, source, articles, sources) in enumerate(_TITLES)
    )  # fmt: skip


def history(key: Key = FINANCIALS) -> History:
    """A day of half hours that ends with the window, with an outage in it."""
    counts = [0, 1, 0, 0, 2, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 2, 1, 0]
    counts += [3, 1, 2, 1, 0, 2, 1, 3, 2, 1, 2, 0, 1, 2, 3, 1, 2, 2, 1, 3, 2, 4, 6, 14]
    heard = [not 12 <= place < 16 for place in range(48)]
    start = NOW - timedelta(hours=24)
    return History(key=key, start=start, width_s=1800, negative=tuple(counts), heard=tuple(heard))


def firing(**overrides: Any) -> Notification:
    """Two alerts of one sector."""
    alerts = overrides.pop("alerts", (_financials(), _bank()))
    fields: dict[str, Any] = {
        "alerts": alerts,
        "about": 1,
        "route": '{}/{sector="Financials"}',
        "group": {"sector": "Financials"},
        "history": history(),
        **overrides,
    }
    return make_notification(**fields)


def resolved() -> Notification:
    over = _financials(resolved_at=NOW + timedelta(hours=2, minutes=10))
    return firing(
        event=Event.RESOLVED, alerts=(over,), created_at=NOW + timedelta(hours=2, minutes=40), thread="f" * 32
    )


def digest(*, quiet: bool = False) -> Notification:
    """A day's digest."""
    rows = [
        (ALL, 1240, 212, 187), (FINANCIALS, 214, 71, 22), (Key("topic", "Markets"), 301, 60, 63),
        (Key("topic", "Macro"), 188, 31, 35), (Key("topic", "Energy"), 97, 11, 14), (BANK, 31, 24, 1),
        (Key("topic", "Technology"), 240, 12, 16),
    ]  # fmt: skip
    keys = tuple(
        WatchedKey(key=key, stories=total, negative=negative, before=before, observed=0.98)
        for key, total, negative, before in rows
    )
    entries = (
        DigestEntry(alert=_bank(), verdict=Verdict.SENT),
        DigestEntry(alert=_financials(), verdict=Verdict.SENT),
        DigestEntry(alert=_lender(), verdict=Verdict.BUDGET, detail="10 messages in 24 h"),
    )
    told = Digest(start=NOW - timedelta(hours=24), end=NOW, keys=keys, entries=() if quiet else entries)
    return make_notification(event=Event.DIGEST, alerts=(), digest=told)


def _financials(**overrides: Any) -> Alert:
    spike = make_spike(low=0.0, high=5.0, per_week=0.0287, horizon_s=1800, stories=stories())
    labels = {"kind": "topic", "key": "Financials", "severity": "severe", "sector": "Financials"}
    return make_alert(spikes=(spike,), labels=labels, **overrides)


def _bank() -> Alert:
    spike = make_spike(
        key=BANK, observed=6, total=7, expected=0.02, low=0.0, high=1.0, per_week=0.004, score=8.1, sources=5,
        severity=Severity.CRITICAL, stories=stories()[:3],
    )  # fmt: skip
    return make_alert(spikes=(spike,))


def _lender() -> Alert:
    spike = make_spike(
        key=LENDER, observed=3, total=4, expected=0.1, low=0.0, high=1.0, per_week=0.06, score=4.4, sources=3,
        severity=Severity.WARNING, start=NOW - timedelta(hours=2), stories=stories()[4:5],
    )  # fmt: skip
    return make_alert(spikes=(spike,))
