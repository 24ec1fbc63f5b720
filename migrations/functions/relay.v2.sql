-- Merge small fresh dispatches bound for the same queue into chunks; how many chunks that made.
-- Only what was never rung or claimed is packed: a claimed dispatch keeps its identity and its
-- count, or a chunk that kills its workers would start counting anew. Nor is what has to stay with
-- a provider.
CREATE OR REPLACE FUNCTION notifier.pack() RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    made int;
BEGIN
    WITH fresh AS MATERIALIZED (
        SELECT d.id, d.channel, d.lane, d.tenant_id, d.due_at, cardinality(d.delivery_ids) AS carried
        FROM notifier.dispatches d
        WHERE d.due_at <= clock_timestamp() AND d.kind = 'deliver' AND d.attempts = 0 AND d.rings = 0
          AND d.provider IS NULL
          AND cardinality(d.delivery_ids) <= greatest(notifier.chunk_size(d.channel) / 10, 1)
          AND notifier.chunk_size(d.channel) > 1
        ORDER BY d.due_at LIMIT 5000
        FOR UPDATE SKIP LOCKED
    ), placed AS (
        -- A member is at most a tenth of a chunk, so nine tenths and one member still fit in it.
        SELECT f.id, f.channel, f.lane, CASE WHEN f.lane = 'bulk' THEN f.tenant_id END AS owner,
               (sum(f.carried) OVER (
                    PARTITION BY f.channel, f.lane, CASE WHEN f.lane = 'bulk' THEN f.tenant_id END
                    ORDER BY f.due_at, f.id) - 1)
               / greatest(notifier.chunk_size(f.channel) * 9 / 10, 1) AS place
        FROM fresh f
    ), grouped AS (
        SELECT p.*, count(*) OVER (PARTITION BY p.channel, p.lane, p.owner, p.place) AS members
        FROM placed p
    ), taken AS (
        DELETE FROM notifier.dispatches d USING grouped g WHERE d.id = g.id AND g.members > 1
        RETURNING d.delivery_ids, d.tenant_id, d.event_id, d.due_at, g.channel, g.lane, g.owner, g.place
    )
    INSERT INTO notifier.dispatches (kind, tenant_id, event_id, channel, lane, delivery_ids, due_at)
    SELECT 'deliver',
           CASE WHEN count(DISTINCT t.tenant_id) = 1 AND count(t.tenant_id) = count(*)
                THEN (array_agg(t.tenant_id))[1] END,
           CASE WHEN count(DISTINCT t.event_id) = 1 AND count(t.event_id) = count(*)
                THEN (array_agg(t.event_id))[1] END,
           t.channel, t.lane, array_agg(id ORDER BY t.due_at, id), min(t.due_at)
    FROM taken t CROSS JOIN LATERAL unnest(t.delivery_ids) AS carried(id)
    GROUP BY t.channel, t.lane, t.owner, t.place;
    GET DIAGNOSTICS made = ROW_COUNT;
    RETURN made;
END $$;

-- Mark what is due as rung, and return it. Chooses per queue, tenants in turn, and never more than
-- the queue has room for: Redis holds only work that is ready. Of what is small and could still be
-- packed none is rung while so many chunks (`partial`) that are not full wait in its queue, on bulk its
-- tenant's own, so that under load the rest gathers here, for half a second at most. Chunks that have
-- waited for as long count no more: their message may have been lost.
-- What was rung and not claimed for `again` is rung again; after a second where the last claim's lease
-- ran out, because a worker that is frozen, not dead, still takes one message out of Redis.
CREATE OR REPLACE FUNCTION notifier.ring_due(again interval, room int, partial int)
RETURNS TABLE (id uuid, kind text, channel text, lane text, rings int, due_at timestamptz, is_small bool)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    -- A ring that a crash of the server forgets is rung again; nobody need wait for the disk.
    PERFORM set_config('synchronous_commit', 'off', true);
    IF (SELECT count(*) FROM (
            SELECT FROM notifier.dispatches d
            WHERE d.due_at <= clock_timestamp() AND d.kind = 'deliver' AND d.attempts = 0 AND d.rings = 0
              AND d.provider IS NULL
              AND cardinality(d.delivery_ids) <= greatest(notifier.chunk_size(d.channel) / 10, 1)
            LIMIT 2) fresh) = 2 THEN
        PERFORM notifier.pack();
    END IF;
    RETURN QUERY
    WITH due AS MATERIALIZED (
        -- Each queue's oldest, so that no queue's backlog hides what is due on another.
        SELECT d.id, d.kind, d.channel, d.lane, d.tenant_id, d.due_at, d.last_rung_at,
               CASE WHEN d.lane = 'bulk' THEN d.tenant_id END AS owner,
               d.kind = 'deliver' AND cardinality(d.delivery_ids) * 10 < notifier.chunk_size(d.channel) * 9
                   AS is_partial,
               d.kind = 'deliver' AND cardinality(d.delivery_ids) * 10 <= notifier.chunk_size(d.channel)
                   AND d.attempts = 0 AND d.rings = 0 AND d.provider IS NULL
                   AS is_packable,
               w.is_waiting,
               (d.lease_until IS NULL OR d.lease_until < clock_timestamp()) AND NOT w.is_waiting AS is_ready
        FROM unnest(ARRAY['critical', 'normal', 'bulk']) AS l(lane)
        CROSS JOIN unnest(ARRAY['', 'email', 'sms', 'push', 'inapp', 'slack', 'teams', 'voice',
                                'webhook', 'apprise']) AS c(channel)
        CROSS JOIN LATERAL (
            SELECT q.* FROM notifier.dispatches q
            WHERE q.lane = l.lane AND coalesce(q.channel, '') = c.channel
              AND q.due_at <= clock_timestamp()
            ORDER BY q.due_at LIMIT 5000) d
        CROSS JOIN LATERAL (
            SELECT coalesce(
                d.last_rung_at > clock_timestamp()
                    - CASE WHEN d.lease_until IS NULL THEN again ELSE least(again, interval '1 s') END
                AND (d.lease_until IS NULL OR d.lease_until < d.last_rung_at), false) AS is_waiting) w
    ), gathered AS (
        SELECT due.*,
               count(*) FILTER (WHERE is_waiting) OVER (PARTITION BY kind, channel, lane) AS rung,
               count(*) FILTER (WHERE NOT is_ready) OVER (PARTITION BY kind, channel, lane, tenant_id)
                   AS in_hand,
               is_packable AND due_at > clock_timestamp() - interval '0.5 s'
                   AND row_number() OVER (PARTITION BY kind, channel, lane, owner, is_packable
                                          ORDER BY due_at, id)
                     + count(*) FILTER (WHERE is_partial AND is_waiting
                                          AND last_rung_at > clock_timestamp() - interval '0.5 s')
                           OVER (PARTITION BY kind, channel, lane, owner) > partial AS is_kept_back
        FROM due
    ), ready AS (
        -- A tenant's turns go on after what is rung or being sent of it already: counted anew at
        -- every look, the tenant with the oldest work would get each place that becomes free.
        SELECT g.*, in_hand + row_number() OVER (
            PARTITION BY kind, channel, lane, tenant_id ORDER BY due_at, id) AS turn
        FROM gathered g
        WHERE is_ready AND NOT is_kept_back
    ), chosen AS MATERIALIZED (
        SELECT p.id, p.last_rung_at
        FROM (SELECT r.*, row_number() OVER (
                  PARTITION BY kind, channel, lane ORDER BY turn, due_at, id) AS place
              FROM ready r) p
        WHERE p.place + p.rung <= room
    ), locked AS MATERIALIZED (
        -- The second look at last_rung_at is for two relays that chose the same row.
        SELECT d.id FROM notifier.dispatches d JOIN chosen c ON c.id = d.id
        WHERE d.last_rung_at IS NOT DISTINCT FROM c.last_rung_at
        FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE notifier.dispatches d SET last_rung_at = clock_timestamp(), rings = least(d.rings + 1, 32000)
    FROM locked WHERE d.id = locked.id
    RETURNING d.id, d.kind, d.channel, d.lane, d.rings::int, d.due_at,
              d.kind = 'deliver' AND cardinality(d.delivery_ids) * 10 <= notifier.chunk_size(d.channel);
END $$;
