"""What may be emitted and what was: event types, templates, attachments, the event log, its keys."""

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from notifier.store.tables.base import (
    BY_ID,
    TimestampTz,
    Uuid,
    made_at,
    metadata,
    new_id,
    one_of,
    required,
)
from notifier.words import Lane, Source

event_types = Table(
    "event_types",
    metadata,
    Column("name", Text, primary_key=True),
    required("description"),
    required("category"),
    Column("schema", JSONB, nullable=False),
    Column("channels", ARRAY(Text), nullable=False),
    required("lane"),
    Column("mutable", Boolean, nullable=False),
    made_at(),
    made_at("updated_at"),
    Column("escalation", JSONB),
    # A payload that templates are tried with.
    Column("example", JSONB),
    one_of("lane", Lane),
)

templates = Table(
    "templates",
    metadata,
    new_id(),
    # NULL: shipped or registered for every tenant; a tenant's own row wins.
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE")),
    Column("event_type", Text, ForeignKey("event_types.name", ondelete="CASCADE"), nullable=False),
    # A channel, or 'short': the text of every channel that has no template of its own.
    required("channel"),
    required("locale"),
    Column("version", Integer, nullable=False),
    Column("parts", JSONB, nullable=False),
    made_at(),
    UniqueConstraint(
        "event_type",
        "channel",
        "tenant_id",
        "locale",
        "version",
        postgresql_nulls_not_distinct=True,
    ),
)

notification_events = Table(
    "notification_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    required("type"),
    Column("payload", JSONB, nullable=False),
    Column("audience", JSONB, nullable=False),
    required("source"),
    required("lane"),
    required("correlation_id"),
    Column("actor", Text),
    Column("idempotency_key", Text),
    Column("scheduled_for", TimestampTz),
    Column("expires_at", TimestampTz),
    made_at(),
    # Filled by the fan-out; nothing else of an event ever changes.
    Column("fanned_out_at", TimestampTz),
    Column("matched", Integer, nullable=False, server_default=text("0")),
    Column("created", Integer, nullable=False, server_default=text("0")),
    Column("refused", Integer, nullable=False, server_default=text("0")),
    # Of the emit, else of its type: who is asked next, as long as nobody acknowledges it.
    Column("escalation", JSONB),
    # NULL: none.
    Column("attachments", ARRAY(Uuid)),
    one_of("source", Source),
    one_of("lane", Lane),
    **BY_ID,
)

attachments = Table(
    "attachments",
    metadata,
    new_id(),
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    required("name"),
    required("media_type"),
    Column("content", LargeBinary, nullable=False),
    # SHA-256 of the content.
    Column("digest", LargeBinary, nullable=False),
    made_at(),
    UniqueConstraint("tenant_id", "digest", "name", "media_type"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("body_hash", LargeBinary, nullable=False),
)

event_cancellations = Table(
    "event_cancellations",
    metadata,
    new_id(),
    Column("event_id", Uuid, nullable=False),
    # NULL: the whole event.
    Column("delivery_id", Uuid),
    Column("actor", Text),
    made_at(),
    UniqueConstraint("event_id", "delivery_id", postgresql_nulls_not_distinct=True),
)
