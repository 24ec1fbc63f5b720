-- Have what fits wait: of a tenant, a channel, a provider, an event type, or of several of them at
-- once. Workers follow it from their next window on. Its id.
CREATE OR REPLACE FUNCTION notifier.pause(
    tenant uuid, channel text, provider text, event_type text, reason text, actor text, until timestamptz
) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    made uuid;
BEGIN
    INSERT INTO notifier.pauses AS p (tenant_id, channel, provider, event_type, reason, actor, until)
    VALUES (tenant, channel, provider, event_type, reason, actor, until) RETURNING p.id INTO made;
    INSERT INTO notifier.admin_system_events (tenant_id, severity, kind, message, detail)
    VALUES (tenant, 'medium', 'paused', reason, jsonb_strip_nulls(jsonb_build_object(
        'pause', made, 'channel', channel, 'provider', provider, 'event_type', event_type,
        'actor', actor, 'until', until)));
    RETURN made;
END $$;

-- End a pause (of `tenant`, where given); how many dispatches had waited for it, NULL where there is
-- no such pause. The row's lock first: who parks work holds the row, so that none is parked unseen.
CREATE OR REPLACE FUNCTION notifier.resume(tenant uuid, pause uuid, actor text) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ended record;
    released int;
BEGIN
    UPDATE notifier.pauses p SET ended_at = clock_timestamp(), ended_by = resume.actor
    WHERE p.id = pause AND p.ended_at IS NULL AND (tenant IS NULL OR p.tenant_id = tenant)
    RETURNING p.tenant_id, p.reason INTO ended;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE notifier.dispatches d SET due_at = clock_timestamp(), pause_id = NULL WHERE d.pause_id = pause;
    GET DIAGNOSTICS released = ROW_COUNT;
    INSERT INTO notifier.admin_system_events (tenant_id, severity, kind, message, detail)
    VALUES (ended.tenant_id, 'low', 'resumed', ended.reason, jsonb_strip_nulls(jsonb_build_object(
        'pause', pause, 'actor', actor, 'dispatches', released)));
    RETURN released;
END $$;
