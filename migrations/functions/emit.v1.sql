-- What is wrong with an audience, as {code, field, expected}; NULL where it is of the documented form.
CREATE OR REPLACE FUNCTION notifier.audience_problem(tenant uuid, audience jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    key text;
    item record;
    wrong text;
BEGIN
    IF audience = '{"subscribers": true}' THEN
        RETURN NULL;
    ELSIF jsonb_typeof(audience) IS DISTINCT FROM 'object' OR audience ? 'subscribers' THEN
        RETURN ARRAY['invalid_audience', 'audience',
                     '"subscribers" or an object of recipients, topics, tenant, addresses'];
    END IF;
    FOR key IN SELECT jsonb_object_keys(audience) LOOP
        IF key NOT IN ('recipients', 'topics', 'tenant', 'addresses', 'channels', 'except') THEN
            RETURN ARRAY['invalid_audience', 'audience.' || key,
                         'one of recipients, topics, tenant, addresses, channels, except'];
        ELSIF key = 'tenant' THEN
            IF audience->key <> 'true' THEN
                RETURN ARRAY['invalid_audience', 'audience.tenant', 'true'];
            END IF;
        ELSIF jsonb_typeof(audience->key) <> 'array' OR jsonb_array_length(audience->key) > 10000 THEN
            RETURN ARRAY['invalid_audience', 'audience.' || key, 'a list of at most 10000'];
        ELSIF key <> 'addresses' THEN
            SELECT n - 1 AS n, v INTO item FROM jsonb_array_elements(audience->key) WITH ORDINALITY AS x(v, n)
            WHERE jsonb_typeof(v) <> 'string' LIMIT 1;
            IF FOUND THEN
                RETURN ARRAY['invalid_audience', format('audience.%s[%s]', key, item.n), 'a string'];
            END IF;
        END IF;
    END LOOP;
    IF NOT audience ?| ARRAY['recipients', 'topics', 'tenant', 'addresses'] THEN
        RETURN ARRAY['invalid_audience', 'audience', 'at least one of recipients, topics, tenant, addresses'];
    END IF;
    IF audience ? 'channels' THEN
        SELECT n - 1 AS n INTO item FROM jsonb_array_elements_text(audience->'channels') WITH ORDINALITY AS x(v, n)
        WHERE notifier.chunk_size(v) IS NULL LIMIT 1;
        IF FOUND OR audience->'channels' = '[]' THEN
            RETURN ARRAY['invalid_audience', format('audience.channels[%s]', coalesce(item.n, 0)),
                'one of email, sms, push, inapp, slack, teams, voice, webhook, apprise'];
        END IF;
    END IF;
    IF audience ? 'recipients' THEN
        SELECT n - 1 AS n INTO item
        FROM jsonb_array_elements_text(audience->'recipients') WITH ORDINALITY AS x(v, n)
        -- A scalar sub-select stays a look-up by index; NOT EXISTS becomes a join that reads the table.
        WHERE (SELECT r.id FROM notifier.recipients r WHERE r.tenant_id = tenant AND r.external_id = v) IS NULL
        ORDER BY n LIMIT 1;
        IF FOUND THEN
            RETURN ARRAY['unknown_recipient', format('audience.recipients[%s]', item.n),
                         'the external id of a recipient of this tenant'];
        END IF;
    END IF;
    IF audience ? 'topics' THEN
        SELECT n - 1 AS n INTO item
        FROM jsonb_array_elements_text(audience->'topics') WITH ORDINALITY AS x(v, n)
        WHERE (SELECT t.id FROM notifier.topics t WHERE t.tenant_id = tenant AND t.name = v) IS NULL
        ORDER BY n LIMIT 1;
        IF FOUND THEN
            RETURN ARRAY['unknown_topic', format('audience.topics[%s]', item.n), 'the name of a topic of this tenant'];
        END IF;
    END IF;
    IF audience ? 'addresses' THEN
        FOR item IN SELECT n - 1 AS n, v FROM jsonb_array_elements(audience->'addresses') WITH ORDINALITY AS x(v, n)
        LOOP
            IF jsonb_typeof(item.v) <> 'object' OR NOT item.v ?& ARRAY['channel', 'address']
                    OR item.v - ARRAY['channel', 'address', 'locale'] <> '{}'
                    OR EXISTS (SELECT FROM jsonb_each(item.v) f WHERE jsonb_typeof(f.value) <> 'string') THEN
                RETURN ARRAY['invalid_audience', format('audience.addresses[%s]', item.n),
                             'an object of strings: channel, address and optionally locale'];
            ELSIF notifier.chunk_size(item.v->>'channel') IS NULL OR item.v->>'channel' = 'inapp' THEN
                RETURN ARRAY['invalid_audience', format('audience.addresses[%s].channel', item.n),
                    'one of email, sms, push, slack, teams, voice, webhook, apprise'];
            END IF;
            wrong := notifier.address_problem(item.v->>'channel', item.v->>'address');
            IF wrong IS NOT NULL THEN
                RETURN ARRAY['invalid_address', format('audience.addresses[%s].address', item.n), wrong];
            END IF;
        END LOOP;
    END IF;
    RETURN NULL;
END $$;

-- What is wrong with the options of an emit, as {code, field, expected}; NULL where they fit.
CREATE OR REPLACE FUNCTION notifier.options_problem(options jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    key text;
    value text;
BEGIN
    IF options = '{}' THEN
        RETURN NULL;
    ELSIF jsonb_typeof(options) IS DISTINCT FROM 'object' THEN
        RETURN ARRAY['invalid_option', 'options', 'an object'];
    END IF;
    FOR key, value IN SELECT o.key, CASE WHEN jsonb_typeof(o.value) = 'string' THEN o.value #>> '{}' END
                      FROM jsonb_each(options) o LOOP
        IF key NOT IN ('idempotency_key', 'scheduled_for', 'expires_at', 'lane', 'source', 'actor',
                       'correlation_id', 'on_invalid') THEN
            RETURN ARRAY['invalid_option', key, 'one of idempotency_key, scheduled_for, expires_at, lane, '
                         'source, actor, correlation_id'];
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
            page := notifier.fan_out_page(e, '00000000-0000-0000-0000-000000000000', inline_limit + 1);
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
    END IF;
    INSERT INTO notifier.notification_events VALUES (e.*);
    event_id := e.id; is_new := true; matched := e.matched; created := e.created; refused := e.refused;
    correlation_id := e.correlation_id;
END $$;

-- The SQL face, for triggers and other languages. What is wrong aborts the statement, or, with
-- the option on_invalid = record, becomes a system event and lets the business write pass.
CREATE OR REPLACE FUNCTION notifier.emit_notification_event(
    tenant uuid, event_type text, payload jsonb, audience jsonb DEFAULT '"subscribers"', options jsonb DEFAULT '{}')
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    answer record;
BEGIN
    answer := notifier.emit(tenant::text, event_type, payload, audience,
                            '{"source": "database_trigger"}' || options);
    IF answer.error_code IS NOT NULL THEN
        IF options->>'on_invalid' = 'record' THEN
            INSERT INTO notifier.admin_system_events (tenant_id, severity, kind, message, detail)
            SELECT (SELECT t.id FROM notifier.tenants t WHERE t.id = tenant), 'high', 'emit_refused',
                   format('%s: expected %s', answer.error_field, answer.error_expected),
                   jsonb_build_object('code', answer.error_code, 'field', answer.error_field,
                                      'event_type', event_type);
            RETURN NULL;
        END IF;
        RAISE EXCEPTION USING
            ERRCODE = 'NT422',
            MESSAGE = format('%s: expected %s', answer.error_field, answer.error_expected),
            DETAIL = answer.error_code, HINT = answer.error_field;
    END IF;
    RETURN answer.event_id;
END $$;
