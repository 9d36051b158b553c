"""Records for tests: valid, always the same, each field open to an override."""

from datetime import timedelta
from typing import Any

from monitor.domain.alerts import Alert, Notification
from monitor.domain.article import Article
from monitor.domain.labels import Label, LabelledArticle, Sentiment, Topic
from monitor.domain.record import fingerprint, utc
from monitor.domain.spikes import Severity, Spike, StoryEvidence
from monitor.domain.windows import Key

NOW = utc(2026, 3, 4, 11, 0)


def make_article(**overrides: Any) -> Article:
    """An article; `id` and `story_id` follow from source and guid or title unless given."""
    fields: dict[str, Any] = {
        "source": "Example Wire",
        "url": "https://news.example.com/bank-halts-withdrawals",
        "title": "Bank halts withdrawals",
        "summary": "The bank stopped paying out deposits on Wednesday.",
        "language": "en",
        "published_at": NOW - timedelta(minutes=10),
        "time_basis": "publisher",
        "fetched_at": NOW - timedelta(minutes=9),
        **overrides,
    }
    fields.setdefault("id", fingerprint(fields["source"], fields.get("guid") or fields["title"]))
    fields.setdefault("story_id", fields["id"])
    return Article.model_validate(fields)


def make_label(**overrides: Any) -> Label:
    """A negative label on the topic Financials."""
    return Label.model_validate(
        {
            "topic": {Topic.FINANCIALS: 0.8, Topic.MARKETS: 0.2},
            "sentiment": {Sentiment.NEGATIVE: 0.9, Sentiment.NEUTRAL: 0.08, Sentiment.POSITIVE: 0.02},
            "model_version": "test-1",
            **overrides,
        }
    )


def make_labelled(**overrides: Any) -> LabelledArticle:
    return LabelledArticle.model_validate({"article": make_article(), "label": make_label(), **overrides})


def make_story_evidence(**overrides: Any) -> StoryEvidence:
    """A story; `story_id` and `article_id` follow from source and title unless given."""
    fields: dict[str, Any] = {
        "title": "Bank halts withdrawals",
        "url": "https://news.example.com/bank-halts-withdrawals",
        "source": "Example Wire",
        "published_at": NOW - timedelta(minutes=10),
        "topic": Topic.FINANCIALS,
        "probability": 0.97,
        "articles": 5,
        "sources": 4,
        **overrides,
    }
    fields.setdefault("article_id", fingerprint(fields["source"], fields["title"]))
    fields.setdefault("story_id", fields["article_id"])
    return StoryEvidence.model_validate(fields)


def make_spike(**overrides: Any) -> Spike:
    """A spike on the topic Financials; `id` follows from key, start and end unless given."""
    fields: dict[str, Any] = {
        "key": Key("topic", "Financials"),
        "start": NOW - timedelta(minutes=30),
        "end": NOW,
        "detected_at": NOW,
        "observed": 14,
        "total": 18,
        "expected": 2.1,
        "score": 7.4,
        "severity": Severity.SEVERE,
        "sources": 9,
        "detector": "negative_binomial-1",
        "stories": (
            make_story_evidence(),
            make_story_evidence(title="Regulator opens inquiry into lender", articles=3, sources=3),
            make_story_evidence(title="Rating agency cuts lender to junk", articles=2, sources=2),
        ),
        **overrides,
    }
    fields.setdefault("id", fingerprint(str(fields["key"]), str(fields["start"]), str(fields["end"])))
    return Spike.model_validate(fields)


def make_alert(**overrides: Any) -> Alert:
    """An alert; `id` follows from the first spike, `key` and `labels` from it too, unless given."""
    spikes = overrides.get("spikes") or (make_spike(**({"key": overrides["key"]} if "key" in overrides else {})),)
    fields: dict[str, Any] = {"key": spikes[0].key, "opened_at": NOW, "spikes": spikes, **overrides}
    fields.setdefault("id", fingerprint("alert", fields["spikes"][0].id))
    severity = max((spike.severity for spike in fields["spikes"]), key=lambda one: one.rank)
    fields.setdefault("labels", {"kind": fields["key"].kind, "key": fields["key"].name, "severity": str(severity)})
    return Alert.model_validate(fields)


def make_notification(**overrides: Any) -> Notification:
    """A notification about one alert; `id` follows from event, alerts, channel and recipient unless given."""
    alerts = overrides.pop("alerts", (make_alert(),))
    fields: dict[str, Any] = {
        "receiver": "desk",
        "channel": "desk",
        "recipient": "desk@example.com",
        "route": "{}",
        "alerts": alerts,
        "about": len(alerts),
        "created_at": NOW,
        **overrides,
    }
    told = [str(fields.get("event", "firing")), *(alert.id for alert in alerts)]
    fields.setdefault("id", fingerprint(*told, fields["channel"], fields["recipient"]))
    return Notification.model_validate(fields)
