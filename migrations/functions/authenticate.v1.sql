-- Whose API key this is, by the SHA-256 of its token; no row where it is unknown, revoked or
-- expired. The API can read the keys of one tenant only, and does not know yet which one.
CREATE OR REPLACE FUNCTION notifier.authenticate(hash bytea)
RETURNS TABLE (key_id uuid, tenant_id uuid, expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.id, k.tenant_id, k.expires_at FROM notifier.api_keys k
    WHERE k.hash = authenticate.hash AND k.revoked_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
$$;
