-- Tenants' connections to accounts at vendors, and those that wait for the vendor's answer.

CREATE TABLE notifier.connections (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    tenant_id UUID NOT NULL,
    provider TEXT NOT NULL,
    account_id TEXT,
    account_name TEXT,
    scopes TEXT[] NOT NULL,
    status TEXT NOT NULL,
    access_token TEXT,
    refresh_token TEXT,
    expires_at TIMESTAMP WITH TIME ZONE,
    refreshing_until TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    last_used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT connections_pkey PRIMARY KEY (id),
    CONSTRAINT connections_status_check CHECK (status IN ('active', 'revoked')),
    CONSTRAINT connections_token_check CHECK (status <> 'active' OR access_token IS NOT NULL),
    CONSTRAINT connections_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);

-- A message has one token, so a tenant uses one account at a time.
CREATE UNIQUE INDEX connections_active_key ON notifier.connections (tenant_id, provider) WHERE status = 'active';

CREATE INDEX connections_tenant_id_provider_idx ON notifier.connections (tenant_id, provider);

CREATE TABLE notifier.pending_connections (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    hash BYTEA NOT NULL,
    tenant_id UUID NOT NULL,
    provider TEXT NOT NULL,
    verifier TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pending_connections_pkey PRIMARY KEY (id),
    CONSTRAINT pending_connections_hash_key UNIQUE (hash),
    CONSTRAINT pending_connections_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);

CREATE INDEX pending_connections_expires_at_idx ON notifier.pending_connections (expires_at);
