-- Tenants and their API keys.

CREATE TABLE notifier.tenants (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    name TEXT NOT NULL,
    resend_in_doubt BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT tenants_pkey PRIMARY KEY (id),
    CONSTRAINT tenants_name_key UNIQUE (name)
);

CREATE TABLE notifier.api_keys (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    tenant_id UUID NOT NULL,
    name TEXT NOT NULL,
    hash BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE,
    CONSTRAINT api_keys_hash_key UNIQUE (hash)
);
