-- Weekly partitions of one table, from the week of `since` to the one that holds `until`.
-- Made stand-alone and attached, so that writers of the table are not blocked meanwhile.
CREATE OR REPLACE FUNCTION notifier.ensure_partitions(since timestamptz, until timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent record;
    week timestamptz;
    child text;
    made int := 0;
BEGIN
    PERFORM set_config('lock_timeout', '2s', true);
    PERFORM pg_advisory_xact_lock(hashtextextended('notifier.ensure_partitions', 0));
    FOR parent IN
        SELECT c.relname, pg_get_partkeydef(c.oid) = 'RANGE (id)' AS by_id
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'notifier' AND c.relkind = 'p' ORDER BY c.relname
    LOOP
        week := date_trunc('week', since, 'UTC');
        WHILE week <= until LOOP
            child := parent.relname || '_' || to_char(week AT TIME ZONE 'UTC', 'YYYYMMDD');
            IF to_regclass('notifier.' || child) IS NULL THEN
                -- Outcomes update whole pages in one transaction: half a page must be free for
                -- the new row versions to stay in it.
                EXECUTE format('CREATE TABLE notifier.%I (LIKE notifier.%I INCLUDING ALL) WITH (fillfactor = %s)',
                    child, parent.relname,
                    CASE parent.relname WHEN 'notification_deliveries' THEN 50 ELSE 100 END);
                EXECUTE format('ALTER TABLE notifier.%I ATTACH PARTITION notifier.%I FOR VALUES FROM (%L) TO (%L)',
                    parent.relname, child, notifier.id_floor(week), notifier.id_floor(week + interval '7 days'));
                made := made + 1;
            END IF;
            week := week + interval '7 days';
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
