-- What must wait, why, and by whose word; and which dispatches wait for it.

CREATE TABLE notifier.pauses (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    tenant_id UUID,
    channel TEXT,
    provider TEXT,
    event_type TEXT,
    reason TEXT NOT NULL,
    actor TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    until TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    ended_by TEXT,
    CONSTRAINT pauses_pkey PRIMARY KEY (id),
    CONSTRAINT pauses_channel_check CHECK (channel IN ('email', 'sms', 'push', 'inapp', 'slack', 'teams', 'voice', 'webhook', 'apprise')),
    CONSTRAINT pauses_what_check CHECK (coalesce(tenant_id::text, channel, provider, event_type) IS NOT NULL),
    CONSTRAINT pauses_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);

ALTER TABLE notifier.dispatches ADD COLUMN pause_id UUID;
