-- Keeps a file for the messages of a tenant. The same file, name and media type are kept once and have
-- one id, so that an emit that is tried again names the same one. What is wrong comes back as
-- (error_code, error_field, error_expected) with nothing written.
CREATE OR REPLACE FUNCTION notifier.attach(
    tenant text, name text, media_type text, content bytea,
    OUT attachment_id uuid, OUT error_code text, OUT error_field text, OUT error_expected text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fingerprint bytea;
    problem text[];
BEGIN
    IF tenant IS NULL OR tenant !~* '^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$' THEN
        problem := ARRAY['unknown_tenant', 'tenant', 'a UUID'];
    ELSIF NOT EXISTS (SELECT FROM notifier.tenants t WHERE t.id = tenant::uuid) THEN
        problem := ARRAY['unknown_tenant', 'tenant', 'the id of a tenant'];
    ELSIF name IS NULL OR octet_length(name) NOT BETWEEN 1 AND 255 OR name ~ '[[:cntrl:]/\\]' THEN
        -- Percent-encoded, it still fits on one line of a mail's header.
        problem := ARRAY['invalid_attachment', 'name',
                         'the name of a file, of 1 to 255 bytes, without slashes and control characters'];
    -- RFC 6838, 4.2
    ELSIF media_type IS NULL
            OR lower(media_type COLLATE "C") LIKE 'multipart/%' OR media_type !~ '^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$' THEN
        problem := ARRAY['invalid_attachment', 'media_type', 'a media type such as application/pdf, and not multipart'];
    ELSIF content IS NULL OR length(content) NOT BETWEEN 1 AND 7000000 THEN
        problem := ARRAY['invalid_attachment', 'content', '1 to 7000000 bytes'];
    END IF;
    IF problem IS NOT NULL THEN
        error_code := problem[1]; error_field := problem[2]; error_expected := problem[3];
        RETURN;
    END IF;
    fingerprint := sha256(content);
    LOOP
        INSERT INTO notifier.attachments AS a (tenant_id, name, media_type, content, digest)
        VALUES (tenant::uuid, attach.name, lower(attach.media_type COLLATE "C"), attach.content, fingerprint)
        ON CONFLICT DO NOTHING RETURNING a.id INTO attachment_id;
        EXIT WHEN FOUND;
        SELECT a.id INTO attachment_id FROM notifier.attachments a
        WHERE a.tenant_id = tenant::uuid AND a.digest = fingerprint AND a.name = attach.name
          AND a.media_type = lower(attach.media_type COLLATE "C");
        EXIT WHEN FOUND;
    END LOOP;
END $$;

-- The same for SQL: raises what is wrong, as emit_notification_event does.
CREATE OR REPLACE FUNCTION notifier.attach_file(tenant uuid, name text, media_type text, content bytea)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    answer record;
BEGIN
    answer := notifier.attach(tenant::text, name, media_type, content);
    IF answer.error_code IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'NT422',
            MESSAGE = format('%s: expected %s', answer.error_field, answer.error_expected),
            DETAIL = answer.error_code, HINT = answer.error_field;
    END IF;
    RETURN answer.attachment_id;
END $$;

-- What is wrong with the attachments of an emit, as {code, field, expected}; NULL where they fit.
-- Together they are small enough for every provider: Postmark takes 10 MB of mail, a third of which
-- base64 is.
CREATE OR REPLACE FUNCTION notifier.attachments_problem(tenant uuid, attachments jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    item record;
    size int;
    total int := 0;
BEGIN
    IF jsonb_typeof(attachments) <> 'array' OR jsonb_array_length(attachments) > 10 THEN
        RETURN ARRAY['invalid_option', 'attachments', 'a list of at most 10 ids'];
    END IF;
    FOR item IN SELECT n - 1 AS n, v FROM jsonb_array_elements_text(attachments) WITH ORDINALITY AS x(v, n) LOOP
        SELECT length(a.content) INTO size FROM notifier.attachments a
        WHERE a.tenant_id = tenant AND a.id = CASE WHEN pg_input_is_valid(item.v, 'uuid') THEN item.v::uuid END;
        IF NOT FOUND THEN
            RETURN ARRAY['invalid_option', format('attachments[%s]', item.n), 'the id of an attachment of this tenant'];
        END IF;
        total := total + size;
        IF total > 7000000 THEN
            RETURN ARRAY['invalid_option', 'attachments', 'at most 7000000 bytes together'];
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
