-- Somebody takes care of an event: that is written together with the cancellation which keeps the rest
-- of its deliveries, and of its escalation, from being sent. `tenant` NULL means any tenant. No
-- `event_id` where there is no such event or delivery; `asked` tells whether the event asks for an
-- acknowledgement, and nothing is written where it does not. The first one counts.
CREATE OR REPLACE FUNCTION notifier.acknowledge(
    tenant uuid, event uuid, delivery uuid, how text,
    OUT event_id uuid, OUT asked boolean, OUT is_first boolean, OUT dispatch_ids uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    e record;
BEGIN
    is_first := false; dispatch_ids := '{}';
    IF delivery IS NOT NULL THEN
        SELECT d.event_id INTO event FROM notifier.notification_deliveries d WHERE d.id = delivery;
    END IF;
    SELECT n.id, n.tenant_id, n.escalation IS NOT NULL AS escalates INTO e
    FROM notifier.notification_events n
    WHERE n.id = event AND (tenant IS NULL OR n.tenant_id = tenant);
    event_id := e.id; asked := e.escalates;
    IF e.escalates IS NOT TRUE THEN
        RETURN;
    END IF;
    -- Each page of a fan-out takes it too: none is written after this that does not see it.
    PERFORM pg_advisory_xact_lock(uuid_hash_extended(e.id, 0));
    INSERT INTO notifier.acknowledgements AS a (event_id, tenant_id, delivery_id, how)
    VALUES (e.id, e.tenant_id, delivery, acknowledge.how) ON CONFLICT DO NOTHING;
    is_first := FOUND;
    IF is_first THEN
        SELECT c.dispatch_ids INTO dispatch_ids
        FROM notifier.cancel_begin(e.tenant_id, e.id, NULL, 'acknowledged') c;
    END IF;
END $$;

-- Use a magic link up: the delivery it was made for, once; NULL where it is not good any more.
CREATE OR REPLACE FUNCTION notifier.use_magic_link(hash bytea) RETURNS uuid
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE notifier.magic_links m SET used_at = clock_timestamp()
    WHERE m.hash = use_magic_link.hash AND m.used_at IS NULL AND m.expires_at > clock_timestamp()
    RETURNING m.delivery_id
$$;

-- Whether a magic link is good: 'good', 'used' or 'expired'; NULL where there is no such link.
CREATE OR REPLACE FUNCTION notifier.magic_link_state(hash bytea) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN m.used_at IS NOT NULL THEN 'used'
                WHEN m.expires_at <= clock_timestamp() THEN 'expired' ELSE 'good' END
    FROM notifier.magic_links m WHERE m.hash = magic_link_state.hash
$$;
