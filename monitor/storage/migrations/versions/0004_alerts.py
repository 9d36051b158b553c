"""Alerts by key, their groups and silences, and deliveries apart from them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

SPIKES_VIEW = """
SELECT id, key_kind, key, state, severity, window_start, window_end, detected_at, resolved_at, observed, total,
       expected, score, sources, detector, horizon_s, expected_low, expected_high, per_week, threshold
FROM spike
"""
ALERTS_VIEW = """
SELECT id, key_kind, key, severity, opened_at, resolved_at, acked_at, acked_by
FROM alert WHERE key IS NOT NULL AND group_key = 'all'
"""


def upgrade() -> None:
    op.create_table(
        "alert_group",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("flushed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("policy", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_group")),
    )
    op.create_index(op.f("ix_alert_group_origin_due_at"), "alert_group", ["origin", "due_at"], unique=False)
    op.create_table(
        "digest",
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("receiver", name=op.f("pk_digest")),
    )
    op.create_table(
        "endpoint",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("channel", name=op.f("pk_endpoint")),
    )
    op.create_table(
        "message",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("group_id", sa.String(length=32), nullable=True),
        sa.Column("event", sa.String(length=8), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stories", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
    )
    op.create_index(op.f("ix_message_receiver_created_at"), "message", ["receiver", "created_at"], unique=False)
    op.create_table(
        "silence",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("matchers", sa.JSON(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silence")),
    )
    op.create_index(op.f("ix_silence_ends_at"), "silence", ["ends_at"], unique=False)
    op.create_table(
        "alert_decision",
        sa.Column("alert_id", sa.String(length=32), nullable=False),
        sa.Column("group_id", sa.String(length=32), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alert.id"], name=op.f("fk_alert_decision_alert_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("alert_id", "group_id", "decided_at", name=op.f("pk_alert_decision")),
    )
    op.create_table(
        "alert_member",
        sa.Column("group_id", sa.String(length=32), nullable=False),
        sa.Column("alert_id", sa.String(length=32), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("verdict_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_severity", sa.String(length=8), nullable=True),
        sa.Column("told_stories", sa.Integer(), nullable=True),
        sa.Column("told_resolved", sa.Boolean(), nullable=True),
        sa.Column("thread", sa.String(length=32), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"], name=op.f("fk_alert_member_alert_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["group_id"], ["alert_group.id"], name=op.f("fk_alert_member_group_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("group_id", "alert_id", name=op.f("pk_alert_member")),
    )
    op.create_index(op.f("ix_alert_member_alert_id"), "alert_member", ["alert_id"], unique=False)
    op.create_table(
        "delivery",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("message_id", sa.String(length=32), nullable=True),
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
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_delivery_message_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
    )
    op.create_index(op.f("ix_delivery_created_at"), "delivery", ["created_at"], unique=False)
    op.create_index(op.f("ix_delivery_message_id"), "delivery", ["message_id"], unique=False)
    op.create_index(op.f("ix_delivery_state_next_attempt_at"), "delivery", ["state", "next_attempt_at"], unique=False)
    op.create_table(
        "message_alert",
        sa.Column("message_id", sa.String(length=32), nullable=False),
        sa.Column("alert_id", sa.String(length=32), nullable=False),
        sa.Column("about", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"], name=op.f("fk_message_alert_alert_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_message_alert_message_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("message_id", "alert_id", name=op.f("pk_message_alert")),
    )
    op.create_index(op.f("ix_message_alert_alert_id"), "message_alert", ["alert_id"], unique=False)
    op.add_column("alert", sa.Column("key_kind", sa.String(length=8), nullable=True))
    op.add_column("alert", sa.Column("key", sa.Text(), nullable=True))
    op.add_column("alert", sa.Column("severity", sa.String(length=8), nullable=True))
    op.add_column("alert", sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("alert", sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("alert", sa.Column("routed", sa.Boolean(), nullable=True))
    op.add_column("alert", sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("alert", sa.Column("acked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("alert", sa.Column("acked_by", sa.Text(), nullable=True))
    op.add_column("alert", sa.Column("ack_comment", sa.Text(), nullable=True))
    op.create_index("ix_alert_key", "alert", ["key_kind", "key", "opened_at"], unique=False)
    op.create_index(
        "ix_alert_open",
        "alert",
        ["group_key", "changed_at"],
        unique=False,
        sqlite_where=sa.text("closed_at IS NULL AND key IS NOT NULL"),
        postgresql_where=sa.text("closed_at IS NULL AND key IS NOT NULL"),
    )
    op.add_column("spike", sa.Column("threshold", sa.Float(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        # Replaced, so that analysts keep the rights they were given on it.
        op.execute(f"CREATE OR REPLACE VIEW spikes AS {SPIKES_VIEW}")
    else:
        op.execute("DROP VIEW spikes")
        op.execute(f"CREATE VIEW spikes AS {SPIKES_VIEW}")
    op.execute(f"CREATE VIEW alerts AS {ALERTS_VIEW}")
