"""The first schema: tables, indexes, and the views that analysts query."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TREND_VIEW = """
SELECT key_kind, key, bucket_start, positive, neutral, negative, unlabelled,
       positive + neutral + negative + unlabelled AS articles,
       CASE WHEN positive + neutral + negative = 0 THEN NULL
            ELSE CAST(negative AS DOUBLE PRECISION) / (positive + neutral + negative) END AS negative_share,
       CASE WHEN positive + neutral + negative = 0 THEN NULL
            ELSE CAST(polarity_micro AS DOUBLE PRECISION) / 1000000 / (positive + neutral + negative) END
            AS mean_polarity
FROM trend WHERE resolution_s = {width_s}
"""

VIEWS = {
    "trend_5m": TREND_VIEW.format(width_s=300),
    "trend_1h": TREND_VIEW.format(width_s=3600),
    "trend_1d": TREND_VIEW.format(width_s=86400),
    "spikes": """
SELECT id, key_kind, key, state, severity, window_start, window_end, detected_at, resolved_at, observed, total,
       expected, score, sources, detector
FROM spike
""",
    "headlines": """
SELECT a.id, a.story_id, a.published_at, a.time_basis, a.fetched_at, a.source, a.language, a.title, a.summary, a.url,
       l.topic, l.sentiment, l.negative, l.neutral, l.positive, a.model_version
FROM article a LEFT JOIN label l ON l.article_id = a.id AND l.model_version = a.model_version
""",
}


def upgrade() -> None:
    op.create_table(
        "alert",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert")),
    )
    op.create_index(op.f("ix_alert_group_key_opened_at"), "alert", ["group_key", "opened_at"], unique=False)
    op.create_table(
        "article",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("story_id", sa.String(length=32), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("guid", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("declared_language", sa.Text(), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("time_basis", sa.String(length=9), nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_article")),
    )
    op.create_index(op.f("ix_article_fetched_at"), "article", ["fetched_at"], unique=False)
    op.create_index(op.f("ix_article_published_at"), "article", ["published_at"], unique=False)
    op.create_index(op.f("ix_article_source_published_at"), "article", ["source", "published_at"], unique=False)
    op.create_index(op.f("ix_article_story_id"), "article", ["story_id"], unique=False)
    op.create_table(
        "component",
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("process", "name", name=op.f("pk_component")),
    )
    op.create_table(
        "dead_letter",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("stream", sa.String(length=32), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replayed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter")),
    )
    op.create_index(op.f("ix_dead_letter_failed_at"), "dead_letter", ["failed_at"], unique=False)
    op.create_table(
        "feed",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("cursor", sa.JSON(), nullable=False),
        sa.Column("next_poll_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_polled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_success_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_new_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("moved_to", sa.Text(), nullable=True),
        sa.Column("parked", sa.Boolean(), nullable=False),
        sa.Column("articles", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_feed")),
    )
    op.create_table(
        "spike",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("key_kind", sa.String(length=8), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("observed", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("expected", sa.Float(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("severity", sa.String(length=8), nullable=False),
        sa.Column("sources", sa.Integer(), nullable=False),
        sa.Column("detector", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("stories", sa.JSON(), nullable=False),
        sa.Column("last_high_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spike")),
    )
    op.create_index(op.f("ix_spike_detected_at"), "spike", ["detected_at"], unique=False)
    op.create_index(
        op.f("ix_spike_key_kind_key_detected_at"), "spike", ["key_kind", "key", "detected_at"], unique=False
    )
    op.create_table(
        "trend",
        sa.Column("resolution_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bucket_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key_kind", sa.String(length=8), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("positive", sa.Integer(), nullable=False),
        sa.Column("neutral", sa.Integer(), nullable=False),
        sa.Column("negative", sa.Integer(), nullable=False),
        sa.Column("unlabelled", sa.Integer(), nullable=False),
        sa.Column("polarity_micro", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("resolution_s", "bucket_start", "key_kind", "key", name=op.f("pk_trend")),
    )
    op.create_table(
        "alert_spike",
        sa.Column("spike_id", sa.String(length=32), nullable=False),
        sa.Column("alert_id", sa.String(length=32), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"], name=op.f("fk_alert_spike_alert_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("spike_id", name=op.f("pk_alert_spike")),
    )
    op.create_index(op.f("ix_alert_spike_alert_id"), "alert_spike", ["alert_id"], unique=False)
    op.create_table(
        "label",
        sa.Column("article_id", sa.String(length=32), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("sentiment", sa.String(length=8), nullable=False),
        sa.Column("negative", sa.Float(), nullable=False),
        sa.Column("neutral", sa.Float(), nullable=False),
        sa.Column("positive", sa.Float(), nullable=False),
        sa.Column("topics", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["article_id"], ["article.id"], name=op.f("fk_label_article_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("article_id", "model_version", name=op.f("pk_label")),
    )
    op.create_table(
        "notification",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("alert_id", sa.String(length=32), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"], name=op.f("fk_notification_alert_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification")),
    )
    op.create_index(op.f("ix_notification_alert_id"), "notification", ["alert_id"], unique=False)
    op.create_index(
        op.f("ix_notification_state_next_attempt_at"), "notification", ["state", "next_attempt_at"], unique=False
    )
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")
