-- Cancelling, in steps that are each a transaction of the caller's, so that the API, which may not
-- touch the queue, cancels by the same rules as the engine. `tenant` NULL means any tenant.

-- Write the cancellation under the event's lock, which each page of a fan-out takes too. The
-- event, and the dispatches that carry deliveries of it or will make them; no row where there is
-- no such event or delivery.
CREATE OR REPLACE FUNCTION notifier.cancel_begin(tenant uuid, event uuid, delivery uuid, actor text)
RETURNS TABLE (event_id uuid, dispatch_ids uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target uuid;
BEGIN
    IF delivery IS NOT NULL THEN
        SELECT d.event_id INTO target FROM notifier.notification_deliveries d
        WHERE d.id = delivery AND (tenant IS NULL OR d.tenant_id = tenant);
    ELSE
        SELECT e.id INTO target FROM notifier.notification_events e
        WHERE e.id = event AND (tenant IS NULL OR e.tenant_id = tenant);
    END IF;
    IF target IS NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(uuid_hash_extended(target, 0));
    INSERT INTO notifier.event_cancellations (event_id, delivery_id, actor)
    VALUES (target, delivery, cancel_begin.actor) ON CONFLICT DO NOTHING;
    event_id := target;
    -- Packed dispatches name no event; the ids of their deliveries tell. A dispatch made after
    -- this moment is emptied by the worker that claims it, which reads the cancellation.
    SELECT coalesce(array_agg(p.id), '{}') INTO dispatch_ids FROM notifier.dispatches p
    WHERE p.event_id = target
       OR (p.event_id IS NULL AND EXISTS (
               SELECT FROM unnest(p.delivery_ids) AS x(id)
               WHERE x.id BETWEEN notifier.id_low(target) AND notifier.id_high(target)));
    RETURN NEXT;
END $$;

-- Take what is cancelled from one dispatch, unless a worker holds it; how many deliveries that
-- stopped. One that is `sending` stays: the provider may have it.
CREATE OR REPLACE FUNCTION notifier.cancel_dispatch(dispatch uuid, event uuid, delivery uuid) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    carried uuid[];
    gone uuid[];
    stopped int;
BEGIN
    -- What nobody has cancelled is not taken from anywhere.
    IF NOT EXISTS (SELECT FROM notifier.event_cancellations c
                   WHERE c.event_id = event AND c.delivery_id IS NOT DISTINCT FROM delivery) THEN
        RETURN 0;
    END IF;
    SELECT p.delivery_ids INTO carried FROM notifier.dispatches p
    WHERE p.id = dispatch AND (p.lease_until IS NULL OR p.lease_until < clock_timestamp()) FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 0;
    ELSIF carried = '{}' THEN
        DELETE FROM notifier.dispatches p
        WHERE p.id = dispatch AND p.event_id = event AND delivery IS NULL;
        RETURN 0;
    END IF;
    SELECT array_agg(d.id) INTO gone
    FROM unnest(carried) AS x(id) JOIN notifier.notification_deliveries d ON d.id = x.id
    WHERE d.event_id = event AND (delivery IS NULL OR d.id = delivery) AND d.status <> 'sending';
    IF gone IS NULL THEN
        RETURN 0;
    END IF;
    WITH chosen AS (
        SELECT d.id, d.status FROM unnest(gone) AS x(id)
        JOIN notifier.notification_deliveries d ON d.id = x.id
        WHERE d.status IN ('scheduled', 'queued', 'retrying')
    ), moved AS (
        UPDATE notifier.notification_deliveries d
        SET status = 'cancelled', updated_at = now(), code = NULL
        FROM chosen WHERE d.id = chosen.id AND d.status = chosen.status
        RETURNING d.id, chosen.status AS before, d.attempts
    ), told AS (
        INSERT INTO notifier.delivery_journal (delivery_id, at, actor, from_status, to_status, attempt)
        SELECT moved.id, now(), 'operator', moved.before, 'cancelled', moved.attempts FROM moved
    )
    SELECT count(*) INTO stopped FROM moved;
    SELECT array_agg(x.id ORDER BY x.n) INTO carried
    FROM unnest(carried) WITH ORDINALITY AS x(id, n) WHERE x.id <> ALL (gone);
    IF carried IS NULL THEN
        DELETE FROM notifier.dispatches p WHERE p.id = dispatch;
    ELSE
        UPDATE notifier.dispatches p SET delivery_ids = carried WHERE p.id = dispatch;
    END IF;
    RETURN stopped;
END $$;

-- Of an event, or of one delivery of it: how many are in flight, and how many were sent.
CREATE OR REPLACE FUNCTION notifier.cancel_counts(
    event uuid, delivery uuid, OUT in_flight bigint, OUT sent bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT count(*) FILTER (WHERE d.status IN ('scheduled', 'queued', 'retrying', 'sending')),
           count(*) FILTER (WHERE d.sent_at IS NOT NULL)
    FROM notifier.notification_deliveries d
    WHERE d.event_id = event AND d.id BETWEEN notifier.id_low(event) AND notifier.id_high(event)
      AND (delivery IS NULL OR d.id = delivery)
$$;
