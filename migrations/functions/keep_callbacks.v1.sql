-- Keep what a provider called back with, and see to it that a dispatch for it is due. The caller has
-- checked the signature; what it means is a worker's business.
CREATE OR REPLACE FUNCTION notifier.keep_callbacks(provider text, facts jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO notifier.callbacks (provider, fact)
    SELECT keep_callbacks.provider, f FROM jsonb_array_elements(facts) AS f;
    -- One that is due will find these rows, because its claim waits for this lock; one that a worker has
    -- in hand may have looked already.
    PERFORM FROM notifier.dispatches d
    WHERE d.lane = 'critical' AND coalesce(d.channel, '') = '' AND d.due_at <= clock_timestamp()
      AND d.kind = 'receive' AND d.lease_until IS NULL
    ORDER BY d.due_at LIMIT 1 FOR KEY SHARE;
    IF NOT FOUND THEN
        INSERT INTO notifier.dispatches (kind, lane, due_at)
        VALUES ('receive', 'critical', clock_timestamp());
    END IF;
END $$;
