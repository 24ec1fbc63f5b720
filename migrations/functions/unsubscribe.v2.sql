-- The one-click unsubscription (RFC 8058) of whoever got a delivery: the recipient no longer wants
-- its event type on its channel; an address without a recipient is suppressed. False where there is
-- no such delivery. The caller has checked the link's signature; nobody is logged in.
CREATE OR REPLACE FUNCTION notifier.unsubscribe(delivery uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target record;
BEGIN
    SELECT d.tenant_id, d.recipient_id, d.channel, d.address, e.type INTO target
    FROM notifier.notification_deliveries d JOIN notifier.notification_events e ON e.id = d.event_id
    WHERE d.id = delivery;
    IF NOT FOUND OR (target.recipient_id IS NULL AND target.address IS NULL) THEN
        RETURN false;
    ELSIF target.recipient_id IS NOT NULL THEN
        INSERT INTO notifier.user_notification_preferences (tenant_id, recipient_id, scope, channel, enabled)
        SELECT target.tenant_id, r.id, target.type, target.channel, false
        FROM notifier.recipients r WHERE r.id = target.recipient_id
        ON CONFLICT (tenant_id, recipient_id, channel, scope) DO UPDATE SET enabled = false, updated_at = now();
        -- An erased recipient gets nothing any more.
        RETURN true;
    END IF;
    -- A recipient's word takes the place of any other reason, which a tenant could lift.
    INSERT INTO notifier.suppressions AS s (tenant_id, channel, address, reason)
    VALUES (target.tenant_id, target.channel, target.address, 'unsubscribed')
    ON CONFLICT (tenant_id, channel, address) DO UPDATE SET reason = excluded.reason
    WHERE s.reason NOT IN ('replied STOP', 'complained');
    RETURN true;
END $$;
