-- Which providers a tenant wants for a channel, where that is not what the installation says.

CREATE TABLE notifier.provider_routes (
    tenant_id UUID NOT NULL,
    channel TEXT NOT NULL,
    provider TEXT NOT NULL,
    place SMALLINT DEFAULT 0 NOT NULL,
    weight SMALLINT DEFAULT 1 NOT NULL,
    CONSTRAINT provider_routes_pkey PRIMARY KEY (tenant_id, channel, provider),
    CONSTRAINT provider_routes_channel_check CHECK (channel IN ('email', 'sms', 'push', 'inapp', 'slack', 'teams', 'voice', 'webhook', 'apprise')),
    CONSTRAINT provider_routes_weight_check CHECK (weight > 0),
    CONSTRAINT provider_routes_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);

-- Which provider the last claim sent through, where there was a choice: what a dead worker had in
-- hand stays with it.
ALTER TABLE notifier.dispatches ADD COLUMN provider TEXT;
