-- The next `size` recipients of an audience after `after`, by id. Each kind of audience walks an
-- index in id order, so a page costs the same wherever it starts. Whoever is excepted is still in
-- the page, so that a page of excepted recipients does not look like the end.
CREATE OR REPLACE FUNCTION notifier.audience_page(
    tenant uuid, event_type text, audience jsonb, after uuid, size int)
RETURNS TABLE (id uuid, external_id text, locale text)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    -- The common audiences have statements of their own: the union below costs an emit of one
    -- recipient three times as much.
    IF audience->'tenant' = 'true' THEN
        -- Whoever else is named belongs to the tenant, too.
        RETURN QUERY
        SELECT r.id, r.external_id, r.locale FROM notifier.recipients r
        WHERE r.tenant_id = tenant AND r.id > after
        ORDER BY r.id LIMIT size;
        RETURN;
    ELSIF audience ? 'recipients' AND NOT audience ?| ARRAY['topics', 'subscribers'] THEN
        RETURN QUERY
        SELECT r.id, r.external_id, r.locale
        FROM (SELECT DISTINCT jsonb_array_elements_text(audience->'recipients') AS name) named
        CROSS JOIN LATERAL (
            -- OFFSET 0 keeps this a look-up by name: the planner would rather walk the whole
            -- tenant in the order of ids.
            SELECT x.id, x.external_id, x.locale FROM notifier.recipients x
            WHERE x.tenant_id = tenant AND x.external_id = named.name OFFSET 0) r
        WHERE r.id > after
        ORDER BY r.id LIMIT size;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT r.id, r.external_id, r.locale FROM (
        (SELECT x.id FROM notifier.recipients x
         WHERE audience ? 'recipients' AND x.tenant_id = tenant
           AND x.external_id IN (SELECT jsonb_array_elements_text(audience->'recipients'))
           AND x.id > after
         ORDER BY x.id LIMIT size)
        UNION
        (SELECT m.recipient_id FROM notifier.topics t JOIN notifier.topic_members m ON m.topic_id = t.id
         WHERE audience ? 'topics' AND t.tenant_id = tenant
           AND t.name IN (SELECT jsonb_array_elements_text(audience->'topics'))
           AND m.recipient_id > after
         ORDER BY m.recipient_id LIMIT size)
        UNION
        (SELECT s.recipient_id FROM notifier.notification_subscriptions s
         JOIN notifier.recipients x ON x.id = s.recipient_id
         WHERE audience ? 'subscribers' AND s.tenant_id = tenant AND s.event_type = audience_page.event_type
           AND s.is_active AND (x.is_admin OR NOT s.admin_only) AND s.recipient_id > after
         ORDER BY s.recipient_id LIMIT size)
    ) page
    JOIN notifier.recipients r ON r.id = page.id
    ORDER BY r.id LIMIT size;
END $$;
