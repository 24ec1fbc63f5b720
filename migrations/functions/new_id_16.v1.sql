-- For servers without uuidv7(): a random UUID whose first 48 bits are the milliseconds and whose
-- version bits are raised from 4 to 7.
CREATE OR REPLACE FUNCTION notifier.new_id() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN encode(
    set_bit(
        set_bit(
            overlay(
                uuid_send(gen_random_uuid())
                PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                FROM 1 FOR 6),
            52, 1),
        53, 1),
    'hex')::uuid;
