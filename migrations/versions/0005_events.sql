-- The event log, its idempotency keys and cancellations.

CREATE TABLE notifier.notification_events (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    type TEXT NOT NULL,
    payload JSONB NOT NULL,
    audience JSONB NOT NULL,
    source TEXT NOT NULL,
    lane TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    actor TEXT,
    idempotency_key TEXT,
    scheduled_for TIMESTAMP WITH TIME ZONE,
    expires_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    fanned_out_at TIMESTAMP WITH TIME ZONE,
    matched INTEGER DEFAULT 0 NOT NULL,
    created INTEGER DEFAULT 0 NOT NULL,
    refused INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT notification_events_pkey PRIMARY KEY (id),
    CONSTRAINT notification_events_source_check CHECK (source IN ('database_trigger', 'worker_job', 'api_action', 'cron_scheduler')),
    CONSTRAINT notification_events_lane_check CHECK (lane IN ('critical', 'normal', 'bulk'))
)
 PARTITION BY RANGE (id);

CREATE TABLE notifier.idempotency_keys (
    tenant_id UUID NOT NULL,
    key TEXT NOT NULL,
    event_id UUID NOT NULL,
    body_hash BYTEA NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant_id, key),
    CONSTRAINT idempotency_keys_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);

CREATE TABLE notifier.event_cancellations (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    event_id UUID NOT NULL,
    delivery_id UUID,
    actor TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT event_cancellations_pkey PRIMARY KEY (id),
    CONSTRAINT event_cancellations_event_id_delivery_id_key UNIQUE NULLS NOT DISTINCT (event_id, delivery_id)
);
