-- The first place where `value` breaks `schema`, as {field, expected}; NULL where it fits.
-- The schema is the closed subset that notifier.schema accepts at registration.
CREATE OR REPLACE FUNCTION notifier.check_payload(schema jsonb, value jsonb, field text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    kind text := jsonb_typeof(value);
    words text;
    name text;
    inner_schema jsonb;
    found text[];
    plain text;
    position int;
BEGIN
    IF schema ? 'type' THEN
        IF jsonb_typeof(schema->'type') = 'array' THEN
            SELECT string_agg(w, ' or ') INTO words FROM jsonb_array_elements_text(schema->'type') w;
        ELSE
            words := schema->>'type';
        END IF;
        IF NOT (schema->'type' @> to_jsonb(kind)
                OR (kind = 'number' AND schema->'type' @> '"integer"'
                    AND value::numeric = trunc(value::numeric))) THEN
            RETURN ARRAY[field, words];
        END IF;
    END IF;
    IF schema ? 'enum' AND NOT schema->'enum' @> jsonb_build_array(value) THEN
        SELECT 'one of ' || string_agg(w::text, ', ') INTO words FROM jsonb_array_elements(schema->'enum') w;
        RETURN ARRAY[field, words];
    END IF;
    IF kind = 'string' THEN
        plain := value #>> '{}';
        IF char_length(plain) < (schema->>'minLength')::int THEN
            RETURN ARRAY[field, format('at least %s characters', schema->>'minLength')];
        ELSIF char_length(plain) > (schema->>'maxLength')::int THEN
            RETURN ARRAY[field, format('at most %s characters', schema->>'maxLength')];
        END IF;
        CASE schema->>'format'
            WHEN 'email' THEN
                IF notifier.address_problem('email', plain) IS NOT NULL THEN
                    RETURN ARRAY[field, 'an e-mail address'];
                END IF;
            WHEN 'uuid' THEN
                IF plain !~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' THEN
                    RETURN ARRAY[field, 'a UUID'];
                END IF;
            WHEN 'date' THEN
                IF plain !~ '^\d{4}-\d\d-\d\d$' OR NOT pg_input_is_valid(plain, 'date') THEN
                    RETURN ARRAY[field, 'a date (YYYY-MM-DD)'];
                END IF;
            WHEN 'date-time' THEN
                IF plain !~* '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$'
                        OR NOT pg_input_is_valid(plain, 'timestamptz') THEN
                    RETURN ARRAY[field, 'a time with its offset (RFC 3339)'];
                END IF;
            WHEN 'uri' THEN
                IF plain !~ '^[A-Za-z][A-Za-z0-9+.-]*:[^[:space:][:cntrl:]]+$' THEN
                    RETURN ARRAY[field, 'a URI'];
                END IF;
            ELSE NULL;
        END CASE;
    ELSIF kind = 'number' THEN
        IF value::numeric < (schema->>'minimum')::numeric THEN
            RETURN ARRAY[field, format('a number of at least %s', schema->>'minimum')];
        ELSIF value::numeric > (schema->>'maximum')::numeric THEN
            RETURN ARRAY[field, format('a number of at most %s', schema->>'maximum')];
        END IF;
    ELSIF kind = 'object' THEN
        IF schema ? 'required' THEN
            FOR name IN SELECT jsonb_array_elements_text(schema->'required') LOOP
                IF NOT value ? name THEN
                    RETURN ARRAY[field || '.' || name, 'to be present'];
                END IF;
            END LOOP;
        END IF;
        IF schema->'additionalProperties' = 'false' THEN
            FOR name IN SELECT jsonb_object_keys(value) LOOP
                IF NOT coalesce(schema->'properties' ? name, false) THEN
                    RETURN ARRAY[field || '.' || name, 'no such property'];
                END IF;
            END LOOP;
        END IF;
        FOR name, inner_schema IN SELECT key, p.value FROM jsonb_each(schema->'properties') p LOOP
            IF value ? name THEN
                found := notifier.check_payload(inner_schema, value->name, field || '.' || name);
                IF found IS NOT NULL THEN
                    RETURN found;
                END IF;
            END IF;
        END LOOP;
    ELSIF kind = 'array' THEN
        IF jsonb_array_length(value) < (schema->>'minItems')::int THEN
            RETURN ARRAY[field, format('at least %s items', schema->>'minItems')];
        ELSIF jsonb_array_length(value) > (schema->>'maxItems')::int THEN
            RETURN ARRAY[field, format('at most %s items', schema->>'maxItems')];
        END IF;
        IF schema ? 'items' THEN
            FOR position IN 0 .. jsonb_array_length(value) - 1 LOOP
                found := notifier.check_payload(schema->'items', value->position, format('%s[%s]', field, position));
                IF found IS NOT NULL THEN
                    RETURN found;
                END IF;
            END LOOP;
        END IF;
    END IF;
    RETURN NULL;
END $$;

-- What keeps other programs than Postgres from reading the object `value`, as {field, expected};
-- NULL where nothing does. JSON knows no bounds, but its parsers do: Python's refuses whole numbers
-- of 4,300 digits, and gives up somewhere near a thousand levels.
-- size: the length of its text; what is short has no room for either and is not looked through.
CREATE OR REPLACE FUNCTION notifier.json_problem(value jsonb, size int, field text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF size > 200 AND jsonb_path_exists(value, 'strict $.**{100}') THEN
        RETURN (SELECT ARRAY[field || '.' || e.key, 'at most 100 nested levels'] FROM jsonb_each(value) e
                WHERE jsonb_path_exists(e.value, 'strict $.**{99}') LIMIT 1);
    ELSIF size > 1000 AND jsonb_path_exists(value, 'strict $.** ? (@ >= 1e1000 || @ <= -1e1000)') THEN
        RETURN (SELECT ARRAY[field || '.' || e.key, 'numbers of at most 1000 digits'] FROM jsonb_each(value) e
                WHERE jsonb_path_exists(e.value, 'strict $.** ? (@ >= 1e1000 || @ <= -1e1000)') LIMIT 1);
    END IF;
    RETURN NULL;
END $$;
