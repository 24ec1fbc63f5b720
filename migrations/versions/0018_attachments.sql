-- Files that messages carry, kept once for each tenant, and which of them an event names.

CREATE TABLE notifier.attachments (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    tenant_id UUID NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    content BYTEA NOT NULL,
    digest BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT attachments_pkey PRIMARY KEY (id),
    CONSTRAINT attachments_tenant_id_digest_name_media_type_key UNIQUE (tenant_id, digest, name, media_type),
    CONSTRAINT attachments_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);

-- What is attached is mostly compressed already.
ALTER TABLE notifier.attachments ALTER COLUMN content SET STORAGE EXTERNAL;

ALTER TABLE notifier.notification_events ADD COLUMN attachments UUID[];
