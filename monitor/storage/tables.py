"""The schema as the code uses it. Migrations make it, and the views with the stable names that analysts query."""

import re
from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


class Utc(TypeDecorator[datetime]):
    """A moment: aware and in UTC on this side, whatever the database makes of it."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime; every time is aware")
        moment = value.astimezone(UTC)
        # SQLite keeps text and drops the zone: what is stored is UTC.
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Said(TypeDecorator[str]):
    """What the other side said, as far as a database can hold it: NULs and lone surrogates become U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        if value is None:
            return None
        return re.sub("[\0\ud800-\udfff]", "\ufffd", value)


article = Table(
    "article",
    metadata,
    Column("id", String(32), primary_key=True),
    # Until the article has been looked at, what its title alone says.
    Column("story_id", String(32), nullable=False),
    Column("source", Text, nullable=False),
    Column("guid", Text),
    Column("url", Text),
    Column("title", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("language", String(8), nullable=False),
    Column("declared_language", Text),
    Column("published_at", Utc, nullable=False),
    Column("time_basis", String(9), nullable=False),
    Column("fetched_at", Utc, nullable=False),
    # The version whose label the trend tables count; NULL: counted as unlabelled.
    Column("model_version", Text),
    # Its number in the order in which articles were looked at; NULL: not yet.
    Column("seen", BigInteger),
    Index(None, "published_at"),
    Index(None, "source", "published_at"),
    Index(None, "story_id"),
    Index(None, "fetched_at"),
    Index(None, "seen"),
)
_UNSEEN = article.c.seen.is_(None)
Index(
    "ix_article_unseen",
    article.c.fetched_at,
    article.c.published_at,
    article.c.id,
    sqlite_where=_UNSEEN,
    postgresql_where=_UNSEEN,
)

label = Table(
    "label",
    metadata,
    Column("article_id", ForeignKey("article.id", ondelete="CASCADE"), primary_key=True),
    Column("model_version", Text, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("sentiment", String(8), nullable=False),
    Column("negative", Float, nullable=False),
    Column("neutral", Float, nullable=False),
    Column("positive", Float, nullable=False),
    Column("topics", JSON, nullable=False),
)

trend = Table(
    "trend",
    metadata,
    Column("resolution_s", Integer, primary_key=True, autoincrement=False),
    Column("bucket_start", Utc, primary_key=True),
    Column("key_kind", String(8), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("positive", Integer, nullable=False),
    Column("neutral", Integer, nullable=False),
    Column("negative", Integer, nullable=False),
    Column("unlabelled", Integer, nullable=False),
    Column("polarity_micro", BigInteger, nullable=False),
    # Stories that broke on this key in this bucket, and those of which the first bad word came in it.
    Column("stories", Integer, nullable=False, server_default="0"),
    Column("negative_stories", Integer, nullable=False, server_default="0"),
    Column("sources", Integer, nullable=False, server_default="0"),
)

# Who has been counted in `trend.sources`.
trend_source = Table(
    "trend_source",
    metadata,
    Column("resolution_s", Integer, primary_key=True, autoincrement=False),
    Column("bucket_start", Utc, primary_key=True),
    Column("key_kind", String(8), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("source", Text, primary_key=True),
)

feed = Table(
    "feed",
    metadata,
    Column("name", Text, primary_key=True),
    # A feed given another address starts afresh: the validators and the cursor belong to the old one.
    Column("url", Text, nullable=False),
    Column("cursor", JSON, nullable=False),
    Column("next_poll_at", Utc),
    Column("last_polled_at", Utc),
    Column("last_success_at", Utc),
    Column("last_new_at", Utc),
    Column("failures", Integer, nullable=False),
    Column("reason", String(32)),
    Column("detail", Said),
    Column("moved_to", Said),
    Column("parked", Boolean, nullable=False),
    Column("articles", Integer, nullable=False),
)

spike = Table(
    "spike",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("key_kind", String(8), nullable=False),
    Column("key", Text, nullable=False),
    Column("window_start", Utc, nullable=False),
    Column("window_end", Utc, nullable=False),
    Column("detected_at", Utc, nullable=False),
    Column("observed", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("expected", Float, nullable=False),
    Column("score", Float, nullable=False),
    Column("severity", String(8), nullable=False),
    Column("sources", Integer, nullable=False),
    Column("detector", Text, nullable=False),
    Column("state", String(8), nullable=False),
    Column("stories", JSON, nullable=False),
    # Read by older programs alone.
    Column("last_high_at", Utc, nullable=False),
    Column("resolved_at", Utc),
    Column("horizon_s", Integer),
    Column("expected_low", Float),
    Column("expected_high", Float),
    Column("per_week", Float),
    Column("threshold", Float),
    # The outbox: NULL until the record, as it stands, is on the bus.
    Column("published_at", Utc),
    Index(None, "detected_at"),
    Index(None, "key_kind", "key", "detected_at"),
)

# A key's episode. Rows without a key are of the time when an alert held the spikes of several.
alert = Table(
    "alert",
    metadata,
    Column("id", String(32), primary_key=True),
    # Where it came from: news, or an archive that was played.
    Column("group_key", Text, nullable=False),
    Column("key_kind", String(8)),
    Column("key", Text),
    Column("opened_at", Utc, nullable=False),
    Column("severity", String(8)),
    # When its last spike ended; NULL: one still fires.
    Column("resolved_at", Utc),
    # When something of it changed last, and whether it has been put into its groups since.
    Column("changed_at", Utc),
    Column("routed", Boolean),
    # When all groups were done with it: the next spike opens another.
    Column("closed_at", Utc),
    Column("acked_at", Utc),
    Column("acked_by", Said),
    Column("ack_comment", Said),
    # Of older programs alone.
    Column("due_at", Utc),
    Column("sent_at", Utc),
    Column("outcome", Text),
    Index(None, "group_key", "opened_at"),
    Index("ix_alert_key", "key_kind", "key", "opened_at"),
)
_OPEN = alert.c.closed_at.is_(None) & alert.c.key.is_not(None)
Index("ix_alert_open", alert.c.group_key, alert.c.changed_at, sqlite_where=_OPEN, postgresql_where=_OPEN)

alert_spike = Table(
    "alert_spike",
    metadata,
    Column("spike_id", String(32), primary_key=True),
    Column("alert_id", ForeignKey("alert.id", ondelete="CASCADE"), nullable=False),
    Column("body", JSON, nullable=False),
    Index(None, "alert_id"),
)

# Alerts that one receiver hears of together.
alert_group = Table(
    "alert_group",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("origin", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("labels", JSON, nullable=False),
    # When it is looked at next; NULL: nothing of it is left to tell.
    Column("due_at", Utc),
    # When it was looked at last, on the grid that its first alert began.
    Column("flushed_at", Utc),
    Index(None, "origin", "due_at"),
)

# What a group knows of an alert, and what it was told of it.
alert_member = Table(
    "alert_member",
    metadata,
    Column("group_id", ForeignKey("alert_group.id", ondelete="CASCADE"), primary_key=True),
    Column("alert_id", ForeignKey("alert.id", ondelete="CASCADE"), primary_key=True),
    Column("verdict", String(16), nullable=False),
    Column("detail", Said),
    Column("verdict_at", Utc, nullable=False),
    # NULL: no message told of it yet.
    Column("told_at", Utc),
    Column("told_severity", String(8)),
    Column("told_stories", Integer),
    Column("told_resolved", Boolean),
    # The message that told of it first.
    Column("thread", String(32)),
    # When there was nothing more to tell of it.
    Column("done_at", Utc),
    Index(None, "alert_id"),
)

# Every change of a verdict.
alert_decision = Table(
    "alert_decision",
    metadata,
    Column("alert_id", ForeignKey("alert.id", ondelete="CASCADE"), primary_key=True),
    Column("group_id", String(32), primary_key=True),
    Column("decided_at", Utc, primary_key=True),
    Column("receiver", Text, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("detail", Said),
)

# What a receiver was to be told; its deliveries carry it to the recipients.
message = Table(
    "message",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("origin", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("group_id", String(32)),
    Column("event", String(8), nullable=False),
    Column("created_at", Utc, nullable=False),
    # Ids of the stories it rests on.
    Column("stories", JSON, nullable=False),
    Index(None, "receiver", "created_at"),
)

message_alert = Table(
    "message_alert",
    metadata,
    Column("message_id", ForeignKey("message.id", ondelete="CASCADE"), primary_key=True),
    Column("alert_id", ForeignKey("alert.id", ondelete="CASCADE"), primary_key=True),
    # False: it is named beside those that made the message go.
    Column("about", Boolean, nullable=False),
    Index(None, "alert_id"),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("message_id", ForeignKey("message.id", ondelete="CASCADE")),
    Column("channel", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("expires_at", Utc, nullable=False),
    Column("body", JSON, nullable=False),
    Column("state", String(9), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Utc),
    Column("delivered_at", Utc),
    Column("reason", String(32)),
    Column("detail", Said),
    Index(None, "state", "next_attempt_at"),
    Index(None, "message_id"),
    Index(None, "created_at"),
)

# What the other side of a channel has asked for. It holds for the address and the secret of this fingerprint alone.
endpoint = Table(
    "endpoint",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("disabled_at", Utc),
    Column("not_before", Utc),
    Column("detail", Said),
)

silence = Table(
    "silence",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("matchers", JSON, nullable=False),
    Column("starts_at", Utc, nullable=False),
    Column("ends_at", Utc, nullable=False),
    Column("author", Said, nullable=False),
    Column("comment", Said, nullable=False),
    Column("created_at", Utc, nullable=False),
    Index(None, "ends_at"),
)

# Up to when each receiver had its digests.
digest = Table(
    "digest",
    metadata,
    Column("receiver", Text, primary_key=True),
    Column("until", Utc, nullable=False),
)

# Of older programs: what they left pending is taken over into `delivery`.
notification = Table(
    "notification",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("alert_id", ForeignKey("alert.id", ondelete="CASCADE"), nullable=False),
    Column("channel", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("expires_at", Utc, nullable=False),
    Column("body", JSON, nullable=False),
    Column("state", String(9), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Utc),
    Column("delivered_at", Utc),
    Column("reason", String(32)),
    Column("detail", Said),
    Index(None, "state", "next_attempt_at"),
    Index(None, "alert_id"),
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("stage", String(32), nullable=False),
    # The stream to put the original bytes on again; NULL: it never was on one.
    Column("stream", String(32)),
    Column("key", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("detail", Said, nullable=False),
    Column("failed_at", Utc, nullable=False),
    Column("replayed_at", Utc),
    Index(None, "failed_at"),
)

component = Table(
    "component",
    metadata,
    Column("process", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("state", String(8), nullable=False),
    Column("detail", Said),
    Column("since", Utc, nullable=False),
    Column("heartbeat_at", Utc, nullable=False),
)

lease = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    # HOST:PID, for people; what tells two reigns apart is the term.
    Column("owner", Text, nullable=False),
    Column("term", BigInteger, nullable=False),
    Column("until", Utc, nullable=False),
)

# What a detector remembers, as it was after the article `seen`.
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

# When each source was heard: spans of whole buckets of five minutes, half-open. An outage begins a new one.
coverage = Table(
    "coverage",
    metadata,
    Column("source", Text, primary_key=True),
    Column("heard_from", Utc, primary_key=True),
    Column("heard_until", Utc, nullable=False),
    # A source not heard for so long is no longer expected.
    Column("expected_until", Utc, nullable=False),
    Index(None, "expected_until"),
)
