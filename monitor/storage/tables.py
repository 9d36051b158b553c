"""The schema as the code uses it. Migrations make it, and the views with the stable names that analysts query."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from monitor.storage.alert_tables import alert as alert
from monitor.storage.alert_tables import alert_decision as alert_decision
from monitor.storage.alert_tables import alert_group as alert_group
from monitor.storage.alert_tables import alert_member as alert_member
from monitor.storage.alert_tables import alert_spike as alert_spike
from monitor.storage.alert_tables import delivery as delivery
from monitor.storage.alert_tables import digest as digest
from monitor.storage.alert_tables import endpoint as endpoint
from monitor.storage.alert_tables import message as message
from monitor.storage.alert_tables import message_alert as message_alert
from monitor.storage.alert_tables import notification as notification
from monitor.storage.alert_tables import silence as silence
from monitor.storage.columns import Said as Said
from monitor.storage.columns import Utc as Utc
from monitor.storage.columns import metadata as metadata

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
