-- The template that a delivery pins: the tenant's own before the shipped one, the channel's own
-- before the short text, the locale (de-AT, however it is written), then its language, then English;
-- the newest version.
CREATE OR REPLACE FUNCTION notifier.pick_template(tenant uuid, event_type text, channel text, locale text)
RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT t.id FROM notifier.templates t, lower(replace(pick_template.locale, '_', '-')) AS tag
    WHERE t.event_type = pick_template.event_type AND t.channel IN (pick_template.channel, 'short')
      AND (t.tenant_id = tenant OR t.tenant_id IS NULL)
      AND lower(t.locale) IN (tag, split_part(tag, '-', 1), 'en')
    ORDER BY t.channel = 'short', t.tenant_id IS NULL, lower(t.locale) <> tag,
             t.locale = 'en', t.version DESC
    LIMIT 1
$$;

-- One page of an event's fan-out: every (recipient, channel, contact point) of the page becomes a
-- delivery, refused ones with their reason, and what is to be sent is put on dispatches.
-- Repeating a page writes nothing twice: the delivery's id says what it is for.
-- A step of an escalation (`at_step` above 0) leaves out whom an earlier one has reached, in the sense
-- of its policy; an acknowledgement stops all of it elsewhere.
-- `next_after` is NULL once the audience is exhausted.
CREATE OR REPLACE FUNCTION notifier.fan_out_page(
    e notifier.notification_events, at_step int, after uuid, size int,
    OUT next_after uuid, OUT matched int, OUT created int, OUT refused int)
LANGUAGE plpgsql AS $$
DECLARE
    event_type notifier.event_types;
    late boolean := e.expires_at <= clock_timestamp();
    exceptions boolean := e.audience ? 'except';
    policy constant jsonb := e.escalation->(at_step - 1);
    channels jsonb;
    scopes text[];
    work record;
    seen int;
BEGIN
    SELECT t.* INTO STRICT event_type FROM notifier.event_types t WHERE t.name = e.type;
    scopes := ARRAY[e.type, 'category:' || event_type.category, '*'];
    channels := CASE WHEN at_step = 0 THEN coalesce(e.audience->'channels', to_jsonb(event_type.channels))
                     ELSE policy->'channels' END;
    matched := 0; created := 0; refused := 0;
    FOR work IN
        WITH reached AS MATERIALIZED (
            SELECT d.recipient_id FROM notifier.notification_deliveries d
            WHERE at_step > 0 AND d.event_id = e.id AND d.recipient_id IS NOT NULL
              AND d.id BETWEEN notifier.id_low(e.id) AND notifier.id_high(e.id) AND d.step < at_step
              AND CASE policy->>'unless'
                      WHEN 'delivered' THEN coalesce(d.delivered_at, d.opened_at, d.clicked_at)
                      WHEN 'seen' THEN coalesce(d.opened_at, d.clicked_at)
                  END IS NOT NULL
        ), members AS MATERIALIZED (
            SELECT r.id, r.external_id, r.locale
            FROM notifier.audience_page(e.tenant_id, e.type, e.audience, after, size) r
        ), chosen AS MATERIALIZED (
            SELECT c.channel, notifier.delivery_seed(e.id, c.channel, at_step) AS seed,
                   (SELECT p.enabled FROM notifier.user_notification_preferences p
                    WHERE p.tenant_id = e.tenant_id AND p.recipient_id IS NULL AND p.channel = c.channel
                      AND p.scope = ANY (scopes)
                    ORDER BY p.scope = '*', p.scope <> e.type LIMIT 1) AS enabled
            FROM (SELECT DISTINCT jsonb_array_elements_text(channels) AS channel) c
        ), texts AS MATERIALIZED (
            SELECT l.locale, c.channel, c.seed, c.enabled,
                   notifier.pick_template(e.tenant_id, e.type, c.channel, l.locale) AS template_id
            FROM (SELECT DISTINCT locale FROM members) l CROSS JOIN chosen c
        ), pairs AS (
            SELECT m.id AS recipient_id, m.locale, t.channel, t.seed, t.template_id,
                   cp.id AS contact_point_id, cp.address,
                   CASE
                       WHEN NOT wanted.yes THEN 'opted_out'
                       WHEN late THEN 'expired'
                       WHEN cp.id IS NULL AND t.channel <> 'inapp' THEN 'no_address'
                       WHEN s.address IS NOT NULL THEN 'suppressed_address'
                   END AS reason
            FROM members m JOIN texts t ON t.locale = m.locale
            -- LIMIT and OFFSET 0 keep these look-ups by index for each member: the planner, who does
            -- not know whether a page is one recipient or thousands, would read whole tables.
            LEFT JOIN LATERAL (
                SELECT p.enabled FROM notifier.user_notification_preferences p
                WHERE event_type.mutable AND p.tenant_id = e.tenant_id AND p.recipient_id = m.id
                  AND p.channel = t.channel AND p.scope = ANY (scopes)
                ORDER BY p.scope = '*', p.scope <> e.type LIMIT 1) o ON true
            CROSS JOIN LATERAL (
                SELECT NOT event_type.mutable OR coalesce(o.enabled, t.enabled, true) AS yes OFFSET 0) wanted
            LEFT JOIN LATERAL (
                SELECT c.id, c.address FROM notifier.contact_points c
                WHERE c.recipient_id = m.id AND c.channel = t.channel AND c.dead_at IS NULL
                  AND t.channel <> 'inapp' AND wanted.yes OFFSET 0) cp ON true
            LEFT JOIN LATERAL (
                SELECT x.address FROM notifier.suppressions x
                WHERE x.tenant_id = e.tenant_id AND x.channel = t.channel AND x.address = cp.address
                OFFSET 0) s ON true
            WHERE NOT (exceptions AND e.audience->'except' ? m.external_id)
              AND m.id NOT IN (SELECT reached.recipient_id FROM reached)
        ), written AS (
            INSERT INTO notifier.notification_deliveries
                (id, event_id, tenant_id, recipient_id, contact_point_id, template_id, channel, address,
                 locale, step, status, reason)
            SELECT notifier.delivery_id(e.id, p.seed, p.recipient_id, p.contact_point_id), e.id,
                   e.tenant_id, p.recipient_id, p.contact_point_id, p.template_id, p.channel,
                   p.address, p.locale, at_step, CASE WHEN p.reason IS NULL THEN 'queued' ELSE 'refused' END, p.reason
            FROM pairs p
            ON CONFLICT DO NOTHING
            RETURNING notification_deliveries.id, notification_deliveries.channel,
                      notification_deliveries.reason
        ), page AS (
            SELECT count(*) AS rows, (array_agg(members.id ORDER BY members.id DESC))[1] AS last FROM members
        )
        SELECT w.channel, w.ids, w.taken, w.turned_away, page.rows, page.last
        FROM page LEFT JOIN (
            SELECT written.channel, array_agg(written.id) FILTER (WHERE reason IS NULL) AS ids,
                   count(*) FILTER (WHERE reason IS NULL) AS taken,
                   count(*) FILTER (WHERE reason IS NOT NULL) AS turned_away
            FROM written GROUP BY written.channel) w ON true
    LOOP
        seen := work.rows;
        next_after := CASE WHEN seen = size THEN work.last END;
        created := created + coalesce(work.taken, 0);
        refused := refused + coalesce(work.turned_away, 0);
        IF work.ids IS NOT NULL THEN
            PERFORM notifier.dispatch(e, work.channel, work.ids, clock_timestamp());
        END IF;
    END LOOP;
    matched := created + refused;
END $$;

-- One step of a fan-out that a worker walks: under the event's lock, which a cancel takes too,
-- writes the next page, counts it on the event and moves the dispatch's cursor, fenced by the
-- claim's token. When it is `done`, the dispatch goes on to the next step of the event's escalation,
-- due when that is, or is deleted. NULL `done` means the claim is lost.
CREATE OR REPLACE FUNCTION notifier.fan_out_step(
    dispatch_id uuid, claim uuid, lease interval, size int, OUT done boolean, OUT pairs int)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off AS $$
DECLARE
    work notifier.dispatches;
    e notifier.notification_events;
    page record;
    listed record;
    following jsonb;
BEGIN
    -- A page that a crash of the server forgets takes the cursor's move with it and is walked
    -- again. Nothing of it can have been sent: the claim of a dispatch waits for the disk, and
    -- the log reaches the disk in order.
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT d.* INTO work FROM notifier.dispatches d
    WHERE d.id = dispatch_id AND d.token = claim AND d.lease_until > clock_timestamp() FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(uuid_hash_extended(work.event_id, 0));
    SELECT n.* INTO STRICT e FROM notifier.notification_events n WHERE n.id = work.event_id;
    IF EXISTS (SELECT FROM notifier.event_cancellations c
               WHERE c.event_id = e.id AND c.delivery_id IS NULL) THEN
        DELETE FROM notifier.dispatches d WHERE d.id = dispatch_id;
        done := true; pairs := 0;
        RETURN;
    END IF;
    page := notifier.fan_out_page(e, work.step, coalesce(work.after, '00000000-0000-0000-0000-000000000000'), size);
    pairs := page.matched;
    IF work.step = 0 AND work.after IS NULL AND e.audience ? 'addresses' THEN
        listed := notifier.fan_out_addresses(e);
        page.matched := page.matched + listed.matched;
        page.created := page.created + listed.created;
        page.refused := page.refused + listed.refused;
    END IF;
    done := page.next_after IS NULL;
    UPDATE notifier.notification_events n
    SET matched = n.matched + page.matched, created = n.created + page.created,
        refused = n.refused + page.refused,
        fanned_out_at = CASE WHEN work.step > 0 THEN n.fanned_out_at WHEN done THEN clock_timestamp() END
    WHERE n.id = e.id;
    following := e.escalation->(work.step::int);
    IF done AND following IS NOT NULL THEN
        UPDATE notifier.dispatches d
        SET step = work.step + 1, after = NULL, token = NULL, lease_until = NULL, attempts = 0, rings = 0,
            last_rung_at = NULL,
            due_at = clock_timestamp() + make_interval(secs => (following->>'after')::int)
        WHERE d.id = dispatch_id;
    ELSIF done THEN
        DELETE FROM notifier.dispatches d WHERE d.id = dispatch_id;
    ELSE
        UPDATE notifier.dispatches d
        SET after = page.next_after, lease_until = clock_timestamp() + lease WHERE d.id = dispatch_id;
    END IF;
END $$;
