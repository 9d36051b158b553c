"""The tables of alerts: their groups and verdicts, messages and deliveries, silences."""

from typing import Any

from sqlalchemy import JSON, Boolean, Column, ForeignKey, Index, Integer, String, Table, Text

from monitor.storage.columns import Said, Utc, metadata


def _on_its_way() -> list[Column[Any]]:
    """What is kept of a notification and how far it has come."""
    return [
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
    ]


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
    # The settings that its alerts were put into it by.
    Column("policy", String(32), nullable=False),
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
    *_on_its_way(),
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
    *_on_its_way(),
    Index(None, "state", "next_attempt_at"),
    Index(None, "alert_id"),
)
