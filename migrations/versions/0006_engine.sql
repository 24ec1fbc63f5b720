-- Deliveries, their journal, dispatches and what stands beside them.

CREATE TABLE notifier.notification_deliveries (
    id UUID NOT NULL,
    event_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    recipient_id UUID,
    contact_point_id UUID,
    template_id UUID,
    channel TEXT NOT NULL,
    address TEXT,
    locale TEXT NOT NULL,
    step SMALLINT DEFAULT 0 NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    attempts SMALLINT DEFAULT 0 NOT NULL,
    provider TEXT,
    code TEXT,
    updated_at TIMESTAMP WITH TIME ZONE,
    sent_at TIMESTAMP WITH TIME ZONE,
    delivered_at TIMESTAMP WITH TIME ZONE,
    opened_at TIMESTAMP WITH TIME ZONE,
    clicked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT notification_deliveries_pkey PRIMARY KEY (id),
    CONSTRAINT notification_deliveries_channel_check CHECK (channel IN ('email', 'sms', 'push', 'inapp', 'slack', 'teams', 'voice', 'webhook', 'apprise')),
    CONSTRAINT notification_deliveries_status_check CHECK (status IN ('scheduled', 'queued', 'sending', 'retrying', 'unknown', 'sent', 'delivered', 'opened', 'clicked', 'complained', 'bounced', 'failed', 'cancelled', 'expired', 'refused')),
    CONSTRAINT notification_deliveries_reason_check CHECK (reason IN ('opted_out', 'capped', 'suppressed_address', 'no_address', 'no_provider', 'over_limit', 'paused', 'expired'))
)
 PARTITION BY RANGE (id);

CREATE TABLE notifier.delivery_journal (
    delivery_id UUID NOT NULL,
    id UUID DEFAULT notifier.new_id() NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    actor TEXT NOT NULL,
    from_status TEXT NOT NULL,
    to_status TEXT NOT NULL,
    attempt SMALLINT NOT NULL,
    claim SMALLINT DEFAULT 0 NOT NULL,
    provider TEXT,
    code TEXT,
    detail TEXT,
    CONSTRAINT delivery_journal_pkey PRIMARY KEY (delivery_id, id),
    CONSTRAINT delivery_journal_actor_check CHECK (actor IN ('engine', 'receipts', 'operator')),
    CONSTRAINT delivery_journal_from_status_check CHECK (from_status IN ('scheduled', 'queued', 'sending', 'retrying', 'unknown', 'sent', 'delivered', 'opened', 'clicked', 'complained', 'bounced', 'failed', 'cancelled', 'expired', 'refused')),
    CONSTRAINT delivery_journal_to_status_check CHECK (to_status IN ('scheduled', 'queued', 'sending', 'retrying', 'unknown', 'sent', 'delivered', 'opened', 'clicked', 'complained', 'bounced', 'failed', 'cancelled', 'expired', 'refused'))
)
 PARTITION BY RANGE (delivery_id);

CREATE TABLE notifier.dispatches (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    kind TEXT NOT NULL,
    tenant_id UUID,
    event_id UUID,
    channel TEXT,
    lane TEXT NOT NULL,
    delivery_ids UUID[] DEFAULT '{}' NOT NULL,
    after UUID,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    attempts SMALLINT DEFAULT 0 NOT NULL,
    token UUID,
    lease_until TIMESTAMP WITH TIME ZONE,
    rings SMALLINT DEFAULT 0 NOT NULL,
    last_rung_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT dispatches_pkey PRIMARY KEY (id),
    CONSTRAINT dispatches_kind_check CHECK (kind IN ('deliver', 'fan_out', 'reconcile')),
    CONSTRAINT dispatches_channel_check CHECK (channel IN ('email', 'sms', 'push', 'inapp', 'slack', 'teams', 'voice', 'webhook', 'apprise')),
    CONSTRAINT dispatches_lane_check CHECK (lane IN ('critical', 'normal', 'bulk'))
)
 WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- Ids hardly compress, and every flush writes the array anew.
ALTER TABLE notifier.dispatches ALTER COLUMN delivery_ids SET STORAGE EXTERNAL;

CREATE INDEX dispatches_queue_idx ON notifier.dispatches (lane, coalesce(channel, ''), due_at);

CREATE TABLE notifier.dead_letters (
    delivery_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    event_id UUID NOT NULL,
    channel TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    attempts SMALLINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT dead_letters_pkey PRIMARY KEY (delivery_id),
    CONSTRAINT dead_letters_channel_check CHECK (channel IN ('email', 'sms', 'push', 'inapp', 'slack', 'teams', 'voice', 'webhook', 'apprise')),
    CONSTRAINT dead_letters_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);

CREATE INDEX dead_letters_tenant_id_created_at_idx ON notifier.dead_letters (tenant_id, created_at);

CREATE TABLE notifier.in_doubt (
    delivery_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    channel TEXT NOT NULL,
    provider TEXT,
    reason TEXT NOT NULL,
    asked SMALLINT DEFAULT 0 NOT NULL,
    since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT in_doubt_pkey PRIMARY KEY (delivery_id),
    CONSTRAINT in_doubt_channel_check CHECK (channel IN ('email', 'sms', 'push', 'inapp', 'slack', 'teams', 'voice', 'webhook', 'apprise')),
    CONSTRAINT in_doubt_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);

CREATE TABLE notifier.provider_messages (
    delivery_id UUID NOT NULL,
    id UUID DEFAULT notifier.new_id() NOT NULL,
    provider TEXT NOT NULL,
    provider_message_id TEXT NOT NULL,
    attempt SMALLINT NOT NULL,
    raw_status TEXT,
    error_code TEXT,
    segments SMALLINT,
    price NUMERIC,
    currency TEXT,
    late BOOLEAN DEFAULT false NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT provider_messages_pkey PRIMARY KEY (delivery_id, id)
)
 PARTITION BY RANGE (delivery_id);

CREATE INDEX provider_messages_provider_message_id_idx ON notifier.provider_messages (provider_message_id);

CREATE TABLE notifier.notifications (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    recipient_id UUID NOT NULL,
    type TEXT NOT NULL,
    title TEXT NOT NULL,
    message TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    read_at TIMESTAMP WITH TIME ZONE,
    deleted_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT notifications_pkey PRIMARY KEY (id),
    CONSTRAINT notifications_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE,
    CONSTRAINT notifications_recipient_id_fkey FOREIGN KEY(recipient_id) REFERENCES notifier.recipients (id) ON DELETE CASCADE
);

CREATE INDEX notifications_recipient_id_id_idx ON notifier.notifications (recipient_id, id);

CREATE TABLE notifier.admin_system_events (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    tenant_id UUID,
    severity TEXT NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    detail JSONB DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    resolved_at TIMESTAMP WITH TIME ZONE,
    resolved_by TEXT,
    CONSTRAINT admin_system_events_pkey PRIMARY KEY (id),
    CONSTRAINT admin_system_events_severity_check CHECK (severity IN ('low', 'medium', 'high', 'critical')),
    CONSTRAINT admin_system_events_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);

CREATE TABLE notifier.sandbox_messages (
    delivery_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    channel TEXT NOT NULL,
    address TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    parts JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT sandbox_messages_pkey PRIMARY KEY (delivery_id),
    CONSTRAINT sandbox_messages_channel_check CHECK (channel IN ('email', 'sms', 'push', 'inapp', 'slack', 'teams', 'voice', 'webhook', 'apprise')),
    CONSTRAINT sandbox_messages_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);
