-- Use a state up: for whom a connection was begun, once; no row where it is not good any more. Whoever
-- comes back from the vendor brings no key: the API does not know yet whose rows it may see.
CREATE OR REPLACE FUNCTION notifier.use_pending_connection(hash bytea, provider text)
RETURNS TABLE (id uuid, tenant_id uuid, verifier text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE notifier.pending_connections p SET used_at = clock_timestamp()
    WHERE p.hash = use_pending_connection.hash AND p.provider = use_pending_connection.provider
      AND p.used_at IS NULL AND p.expires_at > clock_timestamp()
    RETURNING p.id, p.tenant_id, p.verifier
$$;
