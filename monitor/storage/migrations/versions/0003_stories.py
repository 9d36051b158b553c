"""Stories: which articles tell the same one, how many there are, and when which source was heard."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TREND_VIEW = """
SELECT key_kind, key, bucket_start, positive, neutral, negative, unlabelled,
       positive + neutral + negative + unlabelled AS articles,
       CASE WHEN positive + neutral + negative = 0 THEN NULL
            ELSE CAST(negative AS DOUBLE PRECISION) / (positive + neutral + negative) END AS negative_share,
       CASE WHEN positive + neutral + negative = 0 THEN NULL
            ELSE CAST(polarity_micro AS DOUBLE PRECISION) / 1000000 / (positive + neutral + negative) END
            AS mean_polarity,
       stories, negative_stories, sources
FROM trend WHERE resolution_s = {width_s}
"""

VIEWS = {
    "trend_5m": TREND_VIEW.format(width_s=300),
    "trend_1h": TREND_VIEW.format(width_s=3600),
    "trend_1d": TREND_VIEW.format(width_s=86400),
    "spikes": """
SELECT id, key_kind, key, state, severity, window_start, window_end, detected_at, resolved_at, observed, total,
       expected, score, sources, detector, horizon_s, expected_low, expected_high, per_week
FROM spike
""",
}

NEXT_BUCKET = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S.000000', bucket_start, '+5 minutes')",
    "postgresql": "bucket_start + INTERVAL '5 minutes'",
}
COVERAGE_VIEW = """
WITH RECURSIVE bucket(bucket_start) AS (
    SELECT min(heard_from) FROM coverage
    UNION ALL
    SELECT {next} FROM bucket WHERE {next} < (SELECT max(heard_until) FROM coverage)
)
SELECT bucket_start,
       (SELECT count(DISTINCT source) FROM coverage
        WHERE heard_from <= bucket_start AND expected_until > bucket_start) AS sources_expected,
       (SELECT count(DISTINCT source) FROM coverage
        WHERE heard_from <= bucket_start AND heard_until > bucket_start) AS sources_heard
FROM bucket WHERE bucket_start IS NOT NULL
"""


def upgrade() -> None:
    op.add_column("article", sa.Column("seen", sa.BigInteger(), nullable=True))
    unseen = sa.text("seen IS NULL")
    op.create_index(op.f("ix_article_seen"), "article", ["seen"], unique=False)
    op.create_index(
        "ix_article_unseen",
        "article",
        ["fetched_at", "published_at", "id"],
        unique=False,
        sqlite_where=unseen,
        postgresql_where=unseen,
    )
    for name in ("stories", "negative_stories", "sources"):
        op.add_column("trend", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("spike", sa.Column("horizon_s", sa.Integer(), nullable=True))
    for name in ("expected_low", "expected_high", "per_week"):
        op.add_column("spike", sa.Column(name, sa.Float(), nullable=True))
    op.create_table(
        "trend_source",
        sa.Column("resolution_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bucket_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key_kind", sa.String(length=8), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "resolution_s", "bucket_start", "key_kind", "key", "source", name=op.f("pk_trend_source")
        ),
    )
    op.create_table(
        "checkpoint",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_checkpoint")),
    )
    op.create_table(
        "coverage",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("heard_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heard_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expected_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source", "heard_from", name=op.f("pk_coverage")),
    )
    op.create_index(op.f("ix_coverage_expected_until"), "coverage", ["expected_until"], unique=False)
    dialect = op.get_bind().dialect.name
    for name, query in VIEWS.items():
        # Replaced where the database can, so that analysts keep the rights they were given on them.
        if dialect == "postgresql":
            op.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")
        else:
            op.execute(f"DROP VIEW {name}")
            op.execute(f"CREATE VIEW {name} AS {query}")
    op.execute(f"CREATE VIEW coverage_5m AS {COVERAGE_VIEW.format(next=NEXT_BUCKET[dialect])}")
