-- How many deliveries one dispatch of a channel carries at most; a test holds it equal to
-- notifier.words.TRAITS.
CREATE OR REPLACE FUNCTION notifier.chunk_size(channel text) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE channel
    WHEN 'email' THEN 500 WHEN 'sms' THEN 100 WHEN 'push' THEN 100 WHEN 'inapp' THEN 1000
    WHEN 'slack' THEN 50 WHEN 'teams' THEN 50 WHEN 'voice' THEN 50 WHEN 'webhook' THEN 500
    WHEN 'apprise' THEN 25
END;
