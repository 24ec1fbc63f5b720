-- What providers called back with and nobody has looked at yet, or nobody could match.

CREATE TABLE notifier.callbacks (
    id UUID DEFAULT notifier.new_id() NOT NULL,
    provider TEXT NOT NULL,
    fact JSONB NOT NULL,
    looks SMALLINT DEFAULT 0 NOT NULL,
    look_at TIMESTAMP WITH TIME ZONE DEFAULT now(),
    received_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT callbacks_pkey PRIMARY KEY (id)
);

CREATE INDEX callbacks_look_at_idx ON notifier.callbacks (look_at);

ALTER TABLE notifier.dispatches DROP CONSTRAINT dispatches_kind_check;
ALTER TABLE notifier.dispatches ADD CONSTRAINT dispatches_kind_check
    CHECK (kind IN ('deliver', 'fan_out', 'reconcile', 'receive'));
