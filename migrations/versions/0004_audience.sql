-- Recipients, their addresses, topics, subscriptions, preferences and suppressions.

CREATE TABLE notifier.recipients (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    tenant_id UUID NOT NULL,
    external_id TEXT NOT NULL,
    name TEXT,
    is_admin BOOLEAN DEFAULT false NOT NULL,
    locale TEXT DEFAULT 'en' NOT NULL,
    timezone TEXT DEFAULT 'UTC' NOT NULL,
    attributes JSONB DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT recipients_pkey PRIMARY KEY (id),
    CONSTRAINT recipients_tenant_id_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT recipients_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);

CREATE INDEX recipients_tenant_id_id_idx ON notifier.recipients (tenant_id, id);

CREATE TABLE notifier.contact_points (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    tenant_id UUID NOT NULL,
    recipient_id UUID NOT NULL,
    channel TEXT NOT NULL,
    address TEXT NOT NULL,
    secret TEXT,
    dead_at TIMESTAMP WITH TIME ZONE,
    dead_reason TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT contact_points_pkey PRIMARY KEY (id),
    CONSTRAINT contact_points_recipient_id_channel_address_key UNIQUE (recipient_id, channel, address),
    CONSTRAINT contact_points_channel_check CHECK (channel IN ('email', 'sms', 'push', 'inapp', 'slack', 'teams', 'voice', 'webhook', 'apprise')),
    CONSTRAINT contact_points_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE,
    CONSTRAINT contact_points_recipient_id_fkey FOREIGN KEY(recipient_id) REFERENCES notifier.recipients (id) ON DELETE CASCADE
);

CREATE TABLE notifier.topics (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    tenant_id UUID NOT NULL,
    name TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT topics_pkey PRIMARY KEY (id),
    CONSTRAINT topics_tenant_id_name_key UNIQUE (tenant_id, name),
    CONSTRAINT topics_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);

CREATE TABLE notifier.topic_members (
    topic_id UUID NOT NULL,
    recipient_id UUID NOT NULL,
    CONSTRAINT topic_members_pkey PRIMARY KEY (topic_id, recipient_id),
    CONSTRAINT topic_members_topic_id_fkey FOREIGN KEY(topic_id) REFERENCES notifier.topics (id) ON DELETE CASCADE,
    CONSTRAINT topic_members_recipient_id_fkey FOREIGN KEY(recipient_id) REFERENCES notifier.recipients (id) ON DELETE CASCADE
);

CREATE INDEX topic_members_recipient_id_idx ON notifier.topic_members (recipient_id);

CREATE TABLE notifier.notification_subscriptions (
    tenant_id UUID NOT NULL,
    event_type TEXT NOT NULL,
    recipient_id UUID NOT NULL,
    is_active BOOLEAN DEFAULT true NOT NULL,
    admin_only BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT notification_subscriptions_pkey PRIMARY KEY (tenant_id, event_type, recipient_id),
    CONSTRAINT notification_subscriptions_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE,
    CONSTRAINT notification_subscriptions_event_type_fkey FOREIGN KEY(event_type) REFERENCES notifier.event_types (name) ON DELETE CASCADE,
    CONSTRAINT notification_subscriptions_recipient_id_fkey FOREIGN KEY(recipient_id) REFERENCES notifier.recipients (id) ON DELETE CASCADE
);

CREATE INDEX notification_subscriptions_recipient_id_idx ON notifier.notification_subscriptions (recipient_id);

CREATE TABLE notifier.user_notification_preferences (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    tenant_id UUID NOT NULL,
    recipient_id UUID,
    scope TEXT NOT NULL,
    channel TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT user_notification_preferences_pkey PRIMARY KEY (id),
    CONSTRAINT user_notification_preferences_tenant_id_recipient_id_ch_cad1 UNIQUE NULLS NOT DISTINCT (tenant_id, recipient_id, channel, scope),
    CONSTRAINT user_notification_preferences_channel_check CHECK (channel IN ('email', 'sms', 'push', 'inapp', 'slack', 'teams', 'voice', 'webhook', 'apprise')),
    CONSTRAINT user_notification_preferences_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE,
    CONSTRAINT user_notification_preferences_recipient_id_fkey FOREIGN KEY(recipient_id) REFERENCES notifier.recipients (id) ON DELETE CASCADE
);

CREATE INDEX user_notification_preferences_recipient_id_idx ON notifier.user_notification_preferences (recipient_id);

CREATE TABLE notifier.suppressions (
    tenant_id UUID NOT NULL,
    channel TEXT NOT NULL,
    address TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT suppressions_pkey PRIMARY KEY (tenant_id, channel, address),
    CONSTRAINT suppressions_channel_check CHECK (channel IN ('email', 'sms', 'push', 'inapp', 'slack', 'teams', 'voice', 'webhook', 'apprise')),
    CONSTRAINT suppressions_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES notifier.tenants (id) ON DELETE CASCADE
);
