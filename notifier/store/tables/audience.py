"""Who can be reached, and through whose accounts: tenants, recipients, topics, preferences."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from notifier.store.tables.base import (
    TimestampTz,
    Uuid,
    made_at,
    metadata,
    new_id,
    one_of,
    required,
)
from notifier.words import Channel, ConnectionStatus


def _tenant(primary_key: bool = False) -> Column[object]:
    return Column(
        "tenant_id",
        Uuid,
        ForeignKey("tenants.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
    )


def _recipient(primary_key: bool = False, nullable: bool = False) -> Column[object]:
    return Column(
        "recipient_id",
        Uuid,
        ForeignKey("recipients.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=nullable,
    )


tenants = Table(
    "tenants",
    metadata,
    new_id(),
    Column("name", Text, nullable=False, unique=True),
    # What stays in doubt on a channel that asks its provider is repeated rather than left unknown.
    Column("resend_in_doubt", Boolean, nullable=False, server_default=text("false")),
    made_at(),
)

api_keys = Table(
    "api_keys",
    metadata,
    new_id(),
    _tenant(),
    required("name"),
    Column("hash", LargeBinary, nullable=False, unique=True),
    made_at(),
    Column("expires_at", TimestampTz),
    Column("revoked_at", TimestampTz),
)

# What is sealed opens only for its tenant and row (`notifier.sealing`).
connections = Table(
    "connections",
    metadata,
    new_id(),
    _tenant(),
    required("provider"),
    # The account as the vendor calls it.
    Column("account_id", Text),
    Column("account_name", Text),
    Column("scopes", ARRAY(Text), nullable=False),
    required("status"),
    # Sealed; gone with the revocation.
    Column("access_token", Text),
    Column("refresh_token", Text),
    # Of the access token; NULL: good until it is revoked.
    Column("expires_at", TimestampTz),
    # Who is refreshing has it until then, and knows its claim by this.
    Column("refreshing_until", TimestampTz),
    made_at(),
    made_at("updated_at"),
    Column("last_used_at", TimestampTz),
    Index(
        "connections_active_key",
        "tenant_id",
        "provider",
        unique=True,
        postgresql_where=text("status = 'active'"),
    ),
    Index(None, "tenant_id", "provider"),
    one_of("status", ConnectionStatus),
    CheckConstraint("status <> 'active' OR access_token IS NOT NULL", name="token"),
)

# Between the address that a tenant was given and the vendor's answer to whoever followed it.
pending_connections = Table(
    "pending_connections",
    metadata,
    new_id(),
    # SHA-256 of the state, which is in the address alone.
    Column("hash", LargeBinary, nullable=False, unique=True),
    _tenant(),
    required("provider"),
    # For PKCE; sealed.
    required("verifier"),
    made_at(),
    Column("expires_at", TimestampTz, nullable=False),
    Column("used_at", TimestampTz),
    Index(None, "expires_at"),
)

recipients = Table(
    "recipients",
    metadata,
    new_id(),
    _tenant(),
    required("external_id"),
    Column("name", Text),
    Column("is_admin", Boolean, nullable=False, server_default=text("false")),
    Column("locale", Text, nullable=False, server_default=text("'en'")),
    Column("timezone", Text, nullable=False, server_default=text("'UTC'")),
    Column("attributes", JSONB, nullable=False, server_default=text("'{}'")),
    made_at(),
    made_at("updated_at"),
    UniqueConstraint("tenant_id", "external_id"),
    # A broadcast walks a tenant's recipients in this order.
    Index(None, "tenant_id", "id"),
)

contact_points = Table(
    "contact_points",
    metadata,
    new_id(),
    _tenant(),
    _recipient(),
    required("channel"),
    required("address"),
    Column("secret", Text),
    Column("dead_at", TimestampTz),
    Column("dead_reason", Text),
    made_at(),
    UniqueConstraint("recipient_id", "channel", "address"),
    one_of("channel", Channel),
)

topics = Table(
    "topics",
    metadata,
    new_id(),
    _tenant(),
    required("name"),
    made_at(),
    UniqueConstraint("tenant_id", "name"),
)

topic_members = Table(
    "topic_members",
    metadata,
    Column("topic_id", Uuid, ForeignKey("topics.id", ondelete="CASCADE"), primary_key=True),
    _recipient(primary_key=True),
    Index(None, "recipient_id"),
)

notification_subscriptions = Table(
    "notification_subscriptions",
    metadata,
    _tenant(primary_key=True),
    Column(
        "event_type", Text, ForeignKey("event_types.name", ondelete="CASCADE"), primary_key=True
    ),
    _recipient(primary_key=True),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("admin_only", Boolean, nullable=False, server_default=text("false")),
    made_at(),
    Index(None, "recipient_id"),
)

user_notification_preferences = Table(
    "user_notification_preferences",
    metadata,
    new_id(),
    _tenant(),
    # NULL: the tenant's default, underneath every recipient's own rows.
    _recipient(nullable=True),
    # An event type, a category as 'category:work', or '*'.
    required("scope"),
    required("channel"),
    Column("enabled", Boolean, nullable=False),
    made_at("updated_at"),
    UniqueConstraint(
        "tenant_id", "recipient_id", "channel", "scope", postgresql_nulls_not_distinct=True
    ),
    Index(None, "recipient_id"),
    one_of("channel", Channel),
)

suppressions = Table(
    "suppressions",
    metadata,
    _tenant(primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    required("reason"),
    made_at(),
    Index(None, "tenant_id", "created_at"),
    one_of("channel", Channel),
)
