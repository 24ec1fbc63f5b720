-- What is wrong with the options of an emit, as {code, field, expected}; NULL where they fit.
CREATE OR REPLACE FUNCTION notifier.options_problem(options jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    key text;
    value text;
    problem text[];
BEGIN
    IF options = '{}' THEN
        RETURN NULL;
    ELSIF jsonb_typeof(options) IS DISTINCT FROM 'object' THEN
        RETURN ARRAY['invalid_option', 'options', 'an object'];
    END IF;
    FOR key, value IN SELECT o.key, CASE WHEN jsonb_typeof(o.value) = 'string' THEN o.value #>> '{}' END
                      FROM jsonb_each(options) o LOOP
        IF key NOT IN ('idempotency_key', 'scheduled_for', 'expires_at', 'lane', 'source', 'actor',
                       'correlation_id', 'escalation', 'attachments', 'on_invalid') THEN
            RETURN ARRAY['invalid_option', key, 'one of idempotency_key, scheduled_for, expires_at, lane, '
                         'source, actor, correlation_id, escalation, attachments'];
        ELSIF key = 'attachments' THEN
            CONTINUE;  -- The tenant's own: `attachments_problem` looks at them.
        ELSIF key = 'escalation' THEN
            problem := notifier.escalation_problem(options->key);
            IF problem IS NOT NULL THEN
                RETURN ARRAY['invalid_option', problem[1], problem[2]];
            END IF;
        ELSIF key IN ('scheduled_for', 'expires_at') THEN
            IF value IS NULL OR value !~* '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$'
                    OR NOT pg_input_is_valid(value, 'timestamptz') THEN
                RETURN ARRAY['invalid_option', key, 'a time with its offset (RFC 3339)'];
            END IF;
        ELSIF key = 'lane' THEN
            IF value IS NULL OR value NOT IN ('critical', 'normal', 'bulk') THEN
                RETURN ARRAY['invalid_option', key, 'one of critical, normal, bulk'];
            END IF;
        ELSIF key = 'source' THEN
            IF value IS NULL OR value NOT IN ('database_trigger', 'worker_job', 'api_action', 'cron_scheduler') THEN
                RETURN ARRAY['invalid_option', key,
                             'one of database_trigger, worker_job, api_action, cron_scheduler'];
            END IF;
        ELSIF key = 'on_invalid' THEN
            IF value IS NULL OR value NOT IN ('raise', 'record') THEN
                RETURN ARRAY['invalid_option', key, 'raise or record'];
            END IF;
        ELSIF value IS NULL OR char_length(value) NOT BETWEEN 1 AND 200 OR value ~ '[[:cntrl:]]' THEN
            RETURN ARRAY['invalid_option', key, 'a string of 1 to 200 characters without control characters'];
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- Every emit, whatever face it came through: validates, writes the event, fans out a small
-- audience at once and leaves a larger or later one to a worker. What is wrong comes back as
-- (error_code, error_field, error_expected) with nothing written, so that a caller can raise its
-- own exception without having broken the transaction it stands in.
CREATE OR REPLACE FUNCTION notifier.emit(
    tenant text, event_type text, payload jsonb, audience jsonb, options jsonb,
    OUT event_id uuid, OUT is_new boolean, OUT matched int, OUT created int, OUT refused int,
    OUT correlation_id text, OUT error_code text, OUT error_field text, OUT error_expected text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off AS $$
DECLARE
    -- An audience of up to this many recipients fans out in the emitter's transaction.
    inline_limit constant int := 500;
    e notifier.notification_events;
    kind notifier.event_types;
    problem text[];
    size int;
    body bytea;
    earlier record;
    page record;
    large boolean;
    grew boolean := false;
BEGIN
    IF tenant IS NULL OR tenant !~* '^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$' THEN
        problem := ARRAY['unknown_tenant', 'tenant', 'a UUID'];
    ELSIF NOT EXISTS (SELECT FROM notifier.tenants t WHERE t.id = tenant::uuid) THEN
        problem := ARRAY['unknown_tenant', 'tenant', 'the id of a tenant'];
    ELSE
        SELECT t.* INTO kind FROM notifier.event_types t WHERE t.name = event_type;
        IF kind.name IS NULL THEN
            problem := ARRAY['unknown_event_type', 'event_type', 'a registered event type'];
        ELSIF jsonb_typeof(payload) IS DISTINCT FROM 'object' THEN
            problem := ARRAY['invalid_payload', 'payload', 'an object'];
        ELSE
            size := octet_length(payload::text);
            problem := CASE WHEN size > 65536
                THEN ARRAY['payload_too_large', 'payload', 'at most 65536 bytes of JSON']
                ELSE array_prepend('invalid_payload', coalesce(
                    notifier.json_problem(payload, size, 'payload'),
                    notifier.check_payload(kind.schema, payload, 'payload'))) END;
            IF problem = ARRAY['invalid_payload'] THEN
                problem := NULL;
            END IF;
        END IF;
    END IF;
    IF problem IS NULL THEN
        IF audience = '"subscribers"' THEN
            audience := '{"subscribers": true}';
        END IF;
        problem := coalesce(notifier.audience_problem(tenant::uuid, audience), notifier.options_problem(options));
        IF problem IS NULL AND options ? 'attachments' THEN
            problem := notifier.attachments_problem(tenant::uuid, options->'attachments');
        END IF;
    END IF;
    IF problem IS NOT NULL THEN
        error_code := problem[1]; error_field := problem[2]; error_expected := problem[3];
        RETURN;
    END IF;

    e.id := notifier.new_id();
    e.tenant_id := tenant::uuid;
    e.type := kind.name;
    e.payload := payload;
    e.audience := audience;
    e.lane := coalesce(options->>'lane', kind.lane);
    e.source := coalesce(options->>'source', 'api_action');
    e.actor := options->>'actor';
    e.idempotency_key := options->>'idempotency_key';
    e.correlation_id := coalesce(options->>'correlation_id', e.id::text);
    e.scheduled_for := CASE WHEN (options->>'scheduled_for')::timestamptz > clock_timestamp()
                            THEN (options->>'scheduled_for')::timestamptz END;
    e.expires_at := (options->>'expires_at')::timestamptz;
    e.escalation := nullif(coalesce(options->'escalation', kind.escalation), '[]');
    IF options ? 'attachments' THEN
        e.attachments := (SELECT array_agg(v::uuid ORDER BY n)
                          FROM jsonb_array_elements_text(options->'attachments') WITH ORDINALITY AS x(v, n));
    END IF;
    e.created_at := clock_timestamp();
    e.matched := 0; e.created := 0; e.refused := 0;

    IF e.idempotency_key IS NOT NULL THEN
        -- The body is what the caller sent, but for the correlation id: a retry has one of its own.
        body := sha256(convert_to(jsonb_build_array(event_type, payload, audience,
                                                    options - 'correlation_id')::text, 'UTF8'));
        LOOP
            INSERT INTO notifier.idempotency_keys AS k (tenant_id, key, event_id, body_hash)
            VALUES (e.tenant_id, e.idempotency_key, e.id, body) ON CONFLICT DO NOTHING;
            EXIT WHEN FOUND;
            SELECT k.event_id, k.body_hash INTO earlier FROM notifier.idempotency_keys k
            WHERE k.tenant_id = e.tenant_id AND k.key = e.idempotency_key;
            CONTINUE WHEN NOT FOUND;
            IF earlier.body_hash <> body THEN
                error_code := 'idempotency_conflict'; error_field := 'idempotency_key';
                error_expected := 'a key not used before with another body';
                RETURN;
            END IF;
            is_new := false;
            SELECT n.id, n.matched, n.created, n.refused, n.correlation_id
            INTO event_id, matched, created, refused, correlation_id
            FROM notifier.notification_events n WHERE n.id = earlier.event_id;
            RETURN;
        END LOOP;
    END IF;

    large := e.scheduled_for IS NOT NULL
        OR coalesce(jsonb_array_length(audience->'recipients'), 0) > inline_limit
        OR coalesce(jsonb_array_length(audience->'addresses'), 0) > inline_limit;
    IF NOT large AND audience ?| ARRAY['topics', 'tenant', 'subscribers'] THEN
        SELECT count(*) > inline_limit INTO large
        FROM notifier.audience_page(e.tenant_id, e.type, audience, '00000000-0000-0000-0000-000000000000',
                                    inline_limit + 1);
    END IF;
    IF large THEN
        INSERT INTO notifier.dispatches (kind, tenant_id, event_id, lane, due_at)
        VALUES ('fan_out', e.tenant_id, e.id, e.lane, coalesce(e.scheduled_for, e.created_at));
    ELSE
        IF audience ?| ARRAY['recipients', 'topics', 'tenant', 'subscribers'] THEN
            page := notifier.fan_out_page(e, 0, '00000000-0000-0000-0000-000000000000', inline_limit + 1);
            e.matched := page.matched; e.created := page.created; e.refused := page.refused;
            -- Others joined the audience since it was counted: a worker goes on from here.
            grew := page.next_after IS NOT NULL;
            IF grew THEN
                INSERT INTO notifier.dispatches (kind, tenant_id, event_id, lane, due_at, after)
                VALUES ('fan_out', e.tenant_id, e.id, e.lane, e.created_at, page.next_after);
            END IF;
        END IF;
        IF audience ? 'addresses' THEN
            page := notifier.fan_out_addresses(e);
            e.matched := e.matched + page.matched;
            e.created := e.created + page.created;
            e.refused := e.refused + page.refused;
        END IF;
        e.fanned_out_at := CASE WHEN NOT grew THEN clock_timestamp() END;
        IF e.escalation IS NOT NULL AND NOT grew THEN
            INSERT INTO notifier.dispatches (kind, tenant_id, event_id, lane, step, due_at)
            VALUES ('fan_out', e.tenant_id, e.id, e.lane, 1,
                    e.created_at + make_interval(secs => (e.escalation->0->>'after')::int));
        END IF;
    END IF;
    INSERT INTO notifier.notification_events VALUES (e.*);
    event_id := e.id; is_new := true; matched := e.matched; created := e.created; refused := e.refused;
    correlation_id := e.correlation_id;
END $$;
