-- What may be emitted, and the templates it is rendered with.

CREATE TABLE notifier.event_types (
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    category TEXT NOT NULL,
    schema JSONB NOT NULL,
    channels TEXT[] NOT NULL,
    lane TEXT NOT NULL,
    mutable BOOLEAN NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT event_types_pkey PRIMARY KEY (name),
    CONSTRAINT event_types_lane_check CHECK (lane IN ('critical', 'normal', 'bulk'))
);

CREATE TABLE notifier.templates (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    tenant_id UUID,
    event_type TEXT NOT NULL,
    channel TEXT NOT NULL,
    locale TEXT NOT NULL,
    version INTEGER NOT NULL,
    parts JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT templates_pkey PRIMARY KEY (id),
    CONSTRAINT templates_event_type_channel_tenant_id_locale_version_key UNIQUE NULLS NOT DISTINCT (event_type, channel, tenant_id, locale, version),
    CONSTRAINT templates_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE,
    CONSTRAINT templates_event_type_fkey FOREIGN KEY(event_type) REFERENCES notifier.event_types (name) ON DELETE CASCADE
);
