"""The engine's own tables: deliveries, their journal, and the dispatches that carry them."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from notifier.status import Actor, Reason, Status
from notifier.store.tables.base import (
    BY_DELIVERY,
    BY_ID,
    TimestampTz,
    Uuid,
    made_at,
    metadata,
    new_id,
    one_of,
    required,
)
from notifier.words import Channel, DispatchKind, Lane, Severity

# Written once, at the outcome, and that update must stay inside its page (HOT): so no status
# or time is in an index or predicate, and partitions leave half of each page free.
notification_deliveries = Table(
    "notification_deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("recipient_id", Uuid),
    Column("contact_point_id", Uuid),
    Column("template_id", Uuid),
    Column("channel", Text, nullable=False),
    Column("address", Text),
    Column("locale", Text, nullable=False),
    Column("step", SmallInteger, nullable=False, server_default=text("0")),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    Column("provider", Text),
    Column("code", Text),
    Column("updated_at", TimestampTz),
    Column("sent_at", TimestampTz),
    Column("delivered_at", TimestampTz),
    Column("opened_at", TimestampTz),
    Column("clicked_at", TimestampTz),
    one_of("channel", Channel),
    one_of("status", Status),
    one_of("reason", Reason),
    **BY_ID,
)

delivery_journal = Table(
    "delivery_journal",
    metadata,
    Column("delivery_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True, server_default=text("notifier.new_id()")),
    made_at("at"),
    required("actor"),
    required("from_status"),
    required("to_status"),
    Column("attempt", SmallInteger, nullable=False),
    # Which claim of its dispatch made the move: above 1, the work was taken over.
    Column("claim", SmallInteger, nullable=False, server_default=text("0")),
    Column("provider", Text),
    Column("code", Text),
    Column("detail", Text),
    one_of("actor", Actor),
    one_of("from_status", Status),
    one_of("to_status", Status),
    **BY_DELIVERY,
)

dispatches = Table(
    "dispatches",
    metadata,
    new_id(),
    required("kind"),
    # NULL: a chunk packed from several tenants, as is event_id for several events.
    Column("tenant_id", Uuid),
    Column("event_id", Uuid),
    Column("channel", Text),
    required("lane"),
    Column("delivery_ids", ARRAY(Uuid), nullable=False, server_default=text("'{}'")),
    Column("after", Uuid),
    Column("due_at", TimestampTz, nullable=False),
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    Column("token", Uuid),
    Column("lease_until", TimestampTz),
    Column("rings", SmallInteger, nullable=False, server_default=text("0")),
    Column("last_rung_at", TimestampTz),
    made_at(),
    # Where there is a choice: through which provider the claim sends, or the last one that died did.
    Column("provider", Text),
    # Where it waits for the end of one.
    Column("pause_id", Uuid),
    # Of a fan-out: which step of its event's escalation it makes; 0: the event's own channels.
    Column("step", SmallInteger, nullable=False, server_default=text("0")),
    one_of("kind", DispatchKind),
    one_of("channel", Channel),
    one_of("lane", Lane),
    # The relay reads each queue's oldest; a fan-out has no channel.
    Index("dispatches_queue_idx", "lane", text("coalesce(channel, '')"), "due_at"),
    # Tiny and churned: half a page free keeps claims and rings inside their page.
    postgresql_with={
        "fillfactor": 50,
        "autovacuum_vacuum_scale_factor": 0,
        "autovacuum_vacuum_threshold": 1000,
        "autovacuum_vacuum_cost_delay": 0,
    },
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("delivery_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("event_id", Uuid, nullable=False),
    required("channel"),
    required("code"),
    required("reason"),
    Column("attempts", SmallInteger, nullable=False),
    made_at(),
    one_of("channel", Channel),
    Index(None, "tenant_id", "created_at"),
)

in_doubt = Table(
    "in_doubt",
    metadata,
    Column("delivery_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    required("channel"),
    Column("provider", Text),
    required("reason"),
    made_at("since"),
    one_of("channel", Channel),
)

provider_messages = Table(
    "provider_messages",
    metadata,
    Column("delivery_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True, server_default=text("notifier.new_id()")),
    required("provider"),
    required("provider_message_id"),
    Column("attempt", SmallInteger, nullable=False),
    Column("raw_status", Text),
    Column("error_code", Text),
    Column("segments", SmallInteger),
    Column("price", Numeric),
    Column("currency", Text),
    # Told by a worker whose lease had ended: a fact to apply, not a move it may make.
    Column("late", Boolean, nullable=False, server_default=text("false")),
    made_at("at"),
    Index(None, "provider_message_id"),
    **BY_DELIVERY,
)

notifications = Table(
    "notifications",
    metadata,
    # The delivery's id, so that writing it twice is writing it once.
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("recipient_id", Uuid, ForeignKey("recipients.id", ondelete="CASCADE"), nullable=False),
    required("type"),
    required("title"),
    required("message"),
    made_at(),
    Column("expires_at", TimestampTz),
    Column("read_at", TimestampTz),
    Column("deleted_at", TimestampTz),
    Index(None, "recipient_id", "id"),
)

admin_system_events = Table(
    "admin_system_events",
    metadata,
    new_id(),
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE")),
    required("severity"),
    required("kind"),
    required("message"),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'")),
    made_at(),
    Column("resolved_at", TimestampTz),
    Column("resolved_by", Text),
    one_of("severity", Severity),
)

sandbox_messages = Table(
    "sandbox_messages",
    metadata,
    Column("delivery_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    required("channel"),
    required("address"),
    Column("attempt", Integer, nullable=False),
    Column("parts", JSONB, nullable=False),
    made_at(),
    one_of("channel", Channel),
)

provider_routes = Table(
    "provider_routes",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("place", SmallInteger, nullable=False, server_default=text("0")),
    Column("weight", SmallInteger, nullable=False, server_default=text("1")),
    one_of("channel", Channel),
    CheckConstraint("weight > 0", name="weight"),
)

pauses = Table(
    "pauses",
    metadata,
    new_id(),
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE")),
    Column("channel", Text),
    Column("provider", Text),
    Column("event_type", Text),
    required("reason"),
    Column("actor", Text),
    made_at(),
    Column("until", TimestampTz),
    Column("ended_at", TimestampTz),
    Column("ended_by", Text),
    one_of("channel", Channel),
    CheckConstraint(
        "coalesce(tenant_id::text, channel, provider, event_type) IS NOT NULL", name="what"
    ),
)

# The first one counts, and stops what the event has not sent.
acknowledgements = Table(
    "acknowledgements",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    # NULL: the event was acknowledged, not a message of it.
    Column("delivery_id", Uuid),
    required("how"),
    made_at(),
)

magic_links = Table(
    "magic_links",
    metadata,
    # SHA-256 of the token, which is in the message alone.
    Column("hash", LargeBinary, primary_key=True),
    Column("delivery_id", Uuid, nullable=False),
    Column("expires_at", TimestampTz, nullable=False),
    Column("used_at", TimestampTz),
    Index(None, "expires_at"),
)

callbacks = Table(
    "callbacks",
    metadata,
    new_id(),
    required("provider"),
    Column("fact", JSONB, nullable=False),
    Column("looks", SmallInteger, nullable=False, server_default=text("0")),
    # When to look for its delivery next; none: nobody looks any more, and it is kept.
    Column("look_at", TimestampTz, server_default=text("now()")),
    made_at("received_at"),
    Index(None, "look_at"),
)
