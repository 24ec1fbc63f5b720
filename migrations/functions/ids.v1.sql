-- Ids are UUIDv7 (RFC 9562): time-ordered, so that tables can be partitioned by them.

CREATE OR REPLACE FUNCTION notifier.id_floor(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid;

CREATE OR REPLACE FUNCTION notifier.id_time(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_timestamp(('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0);

-- The lowest and highest id a delivery of an event can have: both carry the event's milliseconds.
CREATE OR REPLACE FUNCTION notifier.id_low(event uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (left(event::text, 13) || '-0000-0000-000000000000')::uuid;

CREATE OR REPLACE FUNCTION notifier.id_high(event uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (left(event::text, 13) || '-ffff-ffff-ffffffffffff')::uuid;

-- A delivery's id is the event's milliseconds and a hash of what makes the delivery unique, so
-- the primary key is the idempotency of the fan-out. `seed` hashes event, channel and step.
CREATE OR REPLACE FUNCTION notifier.delivery_seed(event uuid, channel text, step int) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN uuid_hash_extended(event, hashtextextended(channel, step::bigint));

-- `target` is the recipient (or a digest of an explicit address), `point` its contact point. All
-- hashing is of whole uuids: hashint8extended folds its input to 32 bits, and two in a hundred
-- thousand recipients then share an id.
CREATE OR REPLACE FUNCTION notifier.delivery_id(event uuid, seed bigint, target uuid, point uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (left(event::text, 14) || '7'
        || left(lpad(to_hex(uuid_hash_extended(target, ~uuid_hash_extended(coalesce(point, target), seed))), 16, '0'), 3)
        || '-8'
        || left(lpad(to_hex(uuid_hash_extended(target, uuid_hash_extended(coalesce(point, target), seed))), 16, '0'), 15))::uuid;
