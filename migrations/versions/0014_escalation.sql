-- Escalation: who is asked next where nobody has taken care of an event, and who has.

ALTER TABLE notifier.event_types ADD COLUMN escalation JSONB;

ALTER TABLE notifier.notification_events ADD COLUMN escalation JSONB;

-- Which step of an event's escalation a fan-out makes; 0: its own channels.
ALTER TABLE notifier.dispatches ADD COLUMN step SMALLINT DEFAULT 0 NOT NULL;

CREATE TABLE notifier.acknowledgements (
    event_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    delivery_id UUID,
    how TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT acknowledgements_pkey PRIMARY KEY (event_id),
    CONSTRAINT acknowledgements_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);

CREATE TABLE notifier.magic_links (
    hash BYTEA NOT NULL,
    delivery_id UUID NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT magic_links_pkey PRIMARY KEY (hash)
);

CREATE INDEX magic_links_expires_at_idx ON notifier.magic_links (expires_at);
